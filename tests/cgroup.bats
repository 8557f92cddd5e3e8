#!/usr/bin/env bats
# wb-cgroup: limits as the kernel sees them, on v1, hybrid and v2.

load lib/common

setup () { wb_setup; }
teardown () { wb_teardown; }

# The directory of container $1 that holds the files of controller $2, found without asking the tool.
group_dir () {
  local parent=wb-$WB_MACHINE_HASH dir
  for dir in "/sys/fs/cgroup/$2/$parent/$1" "/sys/fs/cgroup/$parent/$1"; do
    if [ -d "$dir" ]; then
      echo "$dir"
      return
    fi
  done
  return 1
}

is_v2 () { [ -e /sys/fs/cgroup/cgroup.controllers ]; }

@test "limits given as flags stand in the control files" {
  wb-cgroup -n create --id a --memory 100m --cpus 0.25 --cpu-shares 512 --pids-limit 64 --cpuset-cpus 0 >a.json
  if is_v2; then
    [ "$(cat "$(group_dir a memory)/memory.max")" = 104857600 ]
    [ "$(cat "$(group_dir a cpu)/cpu.max")" = "25000 100000" ]
    [ "$(cat "$(group_dir a cpu)/cpu.weight")" = 59 ]
  else
    [ "$(cat "$(group_dir a memory)/memory.limit_in_bytes")" = 104857600 ]
    [ "$(cat "$(group_dir a cpu)/cpu.cfs_quota_us")" = 25000 ]
    [ "$(cat "$(group_dir a cpu)/cpu.cfs_period_us")" = 100000 ]
    [ "$(cat "$(group_dir a cpu)/cpu.shares")" = 512 ]
  fi
  [ "$(cat "$(group_dir a pids)/pids.max")" = 64 ]
  [ "$(cat "$(group_dir a cpuset)/cpuset.cpus")" = 0 ]
  wb-cgroup delete <a.json >/dev/null
  must_fail 1 group_dir a memory
}

@test "a fraction of a CPU is not rounded" {
  wb-cgroup -n create --id a --cpus 0.04 >a.json
  [ "$(jq .linux.resources.cpu.quota a.json)" = 4000 ]
  wb-cgroup delete <a.json >/dev/null
  must_fail 2 wb-cgroup -n create --id a --cpus 0.001
}

@test "the document passes through, unknown members and all" {
  echo '{"zeta":[1],"wb":{"id":"a","x":null},"linux":{"resources":{"pids":{"limit":9}},"y":1}}' >in.json
  wb-cgroup create <in.json >a.json
  [ "$(jq -c 'del(.wb.cgroup)' a.json)" = "$(jq -c . in.json)" ]
  [ "$(jq -r '.wb.cgroup.paths | has("pids") or has("unified")' a.json)" = true ]
  wb-cgroup delete <a.json | jq -e '.wb | has("cgroup") | not'
}

@test "a process that enters is in the cgroup in every hierarchy" {
  wb-cgroup -n create --id a >a.json
  wb-cgroup enter a -- cat /proc/self/cgroup >seen
  grep -q ":/wb-$WB_MACHINE_HASH/a\$" seen
  is_v2 || grep -q "memory.*:/wb-$WB_MACHINE_HASH/a\$" seen
  must_fail 127 wb-cgroup enter a -- /no/such/program
  must_fail 125 wb-cgroup enter nosuch -- true
  wb-cgroup delete <a.json >/dev/null
}

@test "set changes a living group, also by a controller it did not use" {
  last=$(($(nproc) - 1))
  wb-cgroup -n create --id a --memory 64m >a.json
  wb-cgroup enter a -- sleep 60 &
  pid=$!
  eventually 2 grep -q "/a\$" "/proc/$pid/cgroup"
  wb-cgroup set --memory 128m --cpuset-cpus "$last" <a.json >b.json
  if is_v2; then
    [ "$(cat "$(group_dir a memory)/memory.max")" = 134217728 ]
  else
    [ "$(cat "$(group_dir a memory)/memory.limit_in_bytes")" = 134217728 ]
  fi
  grep -qx "$last" <(sed -n 's/^Cpus_allowed_list:\t//p' "/proc/$pid/status")
  kill "$pid"
  wb-cgroup delete <b.json >/dev/null
}

@test "freeze stops and thaw goes on" {
  wb-cgroup -n create --id a >a.json
  wb-cgroup enter a -- sh -c 'while :; do echo x; sleep 0.02; done' >ticks &
  eventually 2 test -s ticks
  wb-cgroup freeze <a.json >/dev/null
  before=$(stat -c %s ticks)
  sleep 0.3
  [ "$(stat -c %s ticks)" = "$before" ]
  wb-cgroup thaw <a.json >/dev/null
  eventually 2 sh -c "[ \$(stat -c %s ticks) -gt $before ]"
  wb-cgroup delete <a.json >/dev/null
}

@test "freeze -- COMMAND: frozen while the command runs, and no longer, whoever kills it" {
  wb-cgroup -n create --id a >a.json
  wb-cgroup enter a -- sh -c 'while :; do echo x; sleep 0.02; done' >ticks &
  eventually 2 test -s ticks
  goes_on () { eventually 5 sh -c "[ \$(stat -c %s ticks) -gt $(stat -c %s ticks) ]"; }
  is_at_rest () {
    before=$(stat -c %s ticks)
    sleep 0.2
    [ "$(stat -c %s ticks)" = "$before" ]
  }
  # The command has the status, the words and the process; what it reads of the ticks is at rest.
  run -7 wb-cgroup freeze --doc a.json -- sh -c 'stat -c %s ticks; sleep 0.2; stat -c %s ticks; exit 7'
  [ "${lines[0]}" = "${lines[1]}" ]
  goes_on
  wb-cgroup freeze --doc a.json -- sleep 60 &
  pid=$!
  eventually 5 grep -q sleep "/proc/$pid/comm"
  is_at_rest
  kill -9 "$pid"
  wait "$pid" || true
  goes_on
  # Its watcher killed, the command goes on, and the cgroup after it.
  for victims in 1 2; do
    wb-cgroup freeze --doc a.json -- sleep 60 &
    pid=$!
    eventually 5 grep -q sleep "/proc/$pid/comm"
    watchers=$(pgrep -P "$pid" | paste -sd' ')
    [ "$(wc -w <<<"$watchers")" = 2 ]
    kill -9 "$(cut -d' ' -f"$victims" <<<"$watchers")"
    is_at_rest
    kill -9 "$pid"
    wait "$pid" || true
    goes_on
  done
  must_fail 127 wb-cgroup freeze --doc a.json -- /no/such/program
  [ "$stderr" = "wb-cgroup: freeze: /no/such/program: No such file or directory (ENOENT)" ]
  goes_on
  # A cgroup that goes away meanwhile is not missed.
  run -0 wb-cgroup freeze --doc a.json -- wb-cgroup delete --doc a.json
  must_fail 1 wb-cgroup freeze --doc a.json -- true
  [[ $stderr == "wb-cgroup: freeze: the container has no cgroup"* ]]
}

@test "delete kills what still runs, frozen or not" {
  wb-cgroup -n create --id a >a.json
  wb-cgroup enter a -- sh -c 'sleep 100 & sleep 100' &
  pid=$!
  eventually 2 grep -q "/a\$" "/proc/$pid/cgroup"
  wb-cgroup freeze <a.json >/dev/null
  within 5 wb-cgroup delete <a.json >/dev/null
  must_fail 1 kill -0 "$pid"
  must_fail 1 group_dir a pids
}

@test "undoing is idempotent and goes on through a failed document" {
  wb-cgroup -n create --id a >a.json
  jq -c '.wb.error={tool:"x",verb:"y",message:"z",code:7}' a.json >failed.json
  must_fail 7 sh -c 'wb-cgroup delete <failed.json'
  must_fail 1 group_dir a memory
  wb-cgroup delete <a.json >/dev/null
}

@test "the common parent goes, too, where a delete was killed right before that" {
  wb-cgroup -n create --id a >a.json
  jq -r '.wb.cgroup.paths[]' a.json | sort -u | xargs rmdir
  compgen -G "/sys/fs/cgroup/*/wb-$WB_MACHINE_HASH" >/dev/null || [ -d "/sys/fs/cgroup/wb-$WB_MACHINE_HASH" ]
  wb-cgroup delete <a.json >/dev/null
  [ -z "$(find /sys/fs/cgroup -maxdepth 2 -name "wb-$WB_MACHINE_HASH")" ]
}

@test "a doing verb leaves a failed document alone" {
  echo '{"wb":{"id":"a","error":{"tool":"x","verb":"y","message":"z","code":7}}}' >in.json
  must_fail 7 sh -c 'wb-cgroup create <in.json'
  [ "$output" = "$(cat in.json)" ]
  [ -z "$stderr" ]
  must_fail 1 group_dir a memory
}

@test "what cannot be honoured is an error that names it, and nothing stays" {
  must_fail 1 sh -c 'echo "{\"linux\":{\"resources\":{\"hugepageLimits\":[{\"pageSize\":\"3KB\",\"limit\":1}]}}}" | wb-cgroup create --id a'
  [[ $stderr == *hugetlb* ]]
  must_fail 1 group_dir a memory
  must_fail 2 wb-cgroup -n create --id ../a
  must_fail 2 wb-cgroup -n create --id a --memory lots
  [ "$stderr" = 'wb-cgroup: create: invalid size "lots": a number and one of b, k, m, g, t' ]
}

@test "the fork of a fork counts: the limit on tasks holds" {
  wb-cgroup -n create --id a --pids-limit 8 >a.json
  wb-cgroup enter a -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait' 2>errors || true
  grep -qi 'fork' errors
  [ "$(wb-cgroup stat <a.json | jq .wb.cgroup.stat.pids.limitHits)" -ge 1 ]
  wb-cgroup delete <a.json >/dev/null
}

@test "a quarter of a CPU is a quarter of a CPU, within ten per cent" {
  wb-cgroup -n create --id a --cpus 0.25 >a.json
  timeout 3 wb-cgroup enter a -- sh -c 'while :; do :; done' || true
  used=$(wb-cgroup stat <a.json | jq '.wb.cgroup.stat.cpu.usage / 1000000 | floor')
  echo "used $used ms of 3000" >&2
  [ "$used" -ge 675 ] && [ "$used" -le 850 ]
  wb-cgroup delete <a.json >/dev/null
}

@test "device rules hold" {
  echo '{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}]}}}' |
    wb-cgroup create --id a >a.json
  wb-cgroup enter a -- sh -c 'echo x >/dev/null'
  must_fail 1 wb-cgroup enter a -- head -c 1 /dev/zero
  must_fail 1 wb-cgroup enter a -- mknod "$WB_SCRATCH/null" c 1 3
  wb-cgroup delete <a.json >/dev/null
}

@test "fifty at once" {
  for i in $(seq 50); do wb-cgroup -n create --id "c$i" & done | jq -c . >all.json
  [ "$(wc -l <all.json)" = 50 ]
  [ "$(wb-cgroup delete <all.json | jq -s 'map(select(.wb.error)) | length')" = 0 ]
}

@test "events come as they happen, and end with the cgroup" {
  wb-cgroup -n create --id a --pids-limit 6 --memory 16m --memory-swap 16m >a.json
  wb-cgroup events <a.json >events &
  events=$!
  waits () { [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$events/status")" = S ] && [ -n "$(find "/proc/$events/fd" -lname "*inotify*")" ]; }
  eventually 5 waits
  if is_v2; then
    # It waits for the kernel, and does not look again and again.
    sleep 1
    woken=$(awk '/^voluntary/ { print $2 }' "/proc/$events/status")
    sleep 2
    [ "$(awk '/^voluntary/ { print $2 }' "/proc/$events/status")" = "$woken" ]
  fi
  wb-cgroup enter a -- sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait' 2>errors || true
  eventually 5 grep -q '{"id":"a","event":"pids.max","count":[1-9]' events
  must_fail 1 grep -q oom events
  wb-cgroup kill <a.json >/dev/null
  must_fail 137 wb-cgroup enter a -- dd if=/dev/zero of=/dev/null bs=64M count=1
  # Whether that counts as meeting the limit depends on the kernel, on v1.
  for event in memory.oom memory.oom_kill $(if is_v2; then echo memory.max; fi); do
    eventually 5 grep -q "\"event\":\"$event\",\"count\":[1-9]" events
  done
  wb-cgroup delete <a.json >/dev/null
  ended () { [ ! -e "/proc/$events/fd/0" ]; }
  eventually 5 ended
  wait "$events"
  jq -es 'all(.[]; .id == "a" and .count >= 0)' events
}

@test "accounts: one document for both versions, with what the control files say" {
  wb-cgroup -n create --id a --cpus 0.1 --memory 64m --pids-limit 9 >a.json
  wb-cgroup enter a -- sh -c 'while :; do :; done' &
  burning=$!
  throttled () { [ "$(wb-cgroup stat <a.json | jq .wb.cgroup.stat.cpu.throttledPeriods)" -ge 3 ]; }
  eventually 10 throttled
  wb-cgroup freeze <a.json >/dev/null
  wb-cgroup stat <a.json | jq .wb.cgroup.stat >stat
  jq -e '.cpu | .usage > 0 and .periods >= .throttledPeriods and .throttledTime > 0 and .user > 0' stat
  [ "$(jq -c '[.pids.current, .pids.limit, .pids.limitHits, .memory.limit, .memory.oomKills]' stat)" = "[1,9,0,67108864,0]" ]
  jq -e '.memory | .usage > 0 and .peak >= .usage and .anon < .usage and .limitHits == 0' stat
  if is_v2; then
    [ "$(jq .cpu.usage stat)" = "$(($(awk '/^usage_usec/ { print $2 }' "$(group_dir a)/cpu.stat") * 1000))" ]
    if [ -e /proc/pressure/cpu ]; then jq -e '.cpu.pressure.some >= 0 and .memory.pressure.full >= 0 and .io.pressure.some >= 0' stat; fi
  else
    [ "$(jq .cpu.usage stat)" = "$(cat "$(group_dir a cpuacct)/cpuacct.usage")" ]
  fi
  # What processors hold in advance comes and goes.
  used=$(cat "$(group_dir a memory)"/memory.{current,usage_in_bytes} 2>/dev/null) || true
  [ $(($(jq .memory.usage stat) - used)) -lt 2097152 ] && [ $((used - $(jq .memory.usage stat))) -lt 2097152 ]
  kill -9 "$burning"
  wb-cgroup delete <a.json >/dev/null
}

@test "kill ends what forks meanwhile, and a frozen group, too" {
  wb-cgroup -n create --id a --pids-limit 40 >a.json
  for frozen in no yes; do
    wb-cgroup enter a -- sh -c 'for i in 1 2 3 4 5 6 7 8; do while :; do sleep 0.05; done & done; wait' &
    full () { [ "$(wc -l <"$(group_dir a pids)/cgroup.procs")" -ge 9 ]; }
    eventually 10 full
    if [ "$frozen" = yes ]; then wb-cgroup freeze <a.json >/dev/null; fi
    within 10 wb-cgroup kill <a.json >/dev/null
    empty () { [ -z "$(cat "$(group_dir a pids)/cgroup.procs")" ]; }
    eventually 5 empty
  done
  [ -z "$(wb-cgroup procs <a.json)" ]
  wb-cgroup kill <a.json >/dev/null
  wb-cgroup delete <a.json >/dev/null
  wb-cgroup kill <a.json >/dev/null
}
