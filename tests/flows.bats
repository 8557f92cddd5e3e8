#!/usr/bin/env bats
# The main flows, as a person types them, checked by other programs than ours.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

inside () { wb run --rm --net none busybox "$@"; }
host_pid () { wb inspect "$1" | jq '.[0].wb.state.pid'; }
status_of () { wb inspect "$1" | jq -r '.[0].wb.state.status'; }

@test "the exit status comes back" {
  must_fail 7 wb run --rm busybox sh -c 'exit 7'
  wb run -d --name killed --net none busybox sleep 100 >/dev/null
  wb kill killed
  [ "$(wb wait killed)" = 137 ]
  wb rm killed
  wb run --rm busybox true
}

@test "the command is process 1 and sees only its own" {
  wb run --rm busybox ps >seen
  awk 'NR == 2 { exit !($1 == 1 && $NF == "ps") }' seen
  [ "$(wc -l <seen)" = 2 ]
}

@test "inside, everything is the container's own" {
  wb run --rm --hostname kiste busybox sh -c 'hostname; ip -o addr; mount; id; cat /proc/self/cgroup' >seen
  [ "$(head -n 1 seen)" = kiste ]
  grep -q 'eth0' seen
  grep -q '^overlay on / type overlay' seen
  grep -q '^uid=0(root)' seen
  run -1 grep -q "wb-$WB_MACHINE_HASH" seen
  for ns in pid mnt uts ipc net cgroup; do
    [ "$(inside readlink "/proc/self/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
  done
}

@test "a file written in one container is in no other, and not in the image" {
  wb run --name a --net none busybox sh -c 'echo mine >/etc/mine; rm /etc/group'
  inside sh -c '[ ! -e /etc/mine ] && [ -e /etc/group ]'
  wb rm a
  inside sh -c '[ ! -e /etc/mine ]'
}

@test "argv arrives exactly as typed" {
  wb run --rm --net none busybox printf '<%s>' 'a b' '' '*' "it's" -m '$HOME' "$(printf 'x\ny')" >seen
  [ "$(cat seen)" = "<a b><><*><it's><-m><\$HOME><x
y>" ]
}

@test "the environment is the container's: the host's does not leak" {
  SECRET=leak wb run --rm --net none -e A=1 -e B busybox env >seen
  run -1 grep -q SECRET seen
  run -1 grep -qE '^(WB_|BATS|SHELL=)' seen
  grep -qx A=1 seen
  grep -q '^PATH=/usr/local/sbin:' seen
  B=2 wb run --rm --net none -e B busybox env | grep -qx B=2
  # Nor by way of an init of ours, which was a tool before.
  SECRET=x wb run --rm --init --privileged busybox cat /proc/1/environ >environ
  grep -qzx 'WB_ROOT=.*' environ
  run -1 grep -qa SECRET environ
  # Nor can others read what the pipeline has made on its way.
  [ "$(stat -c %a "$WB_RUN/made")" = 700 ]
  [ -z "$(ls "$WB_RUN/made")" ]
}

@test "the image's configuration is honoured, and flags go before it" {
  tar=$(busybox_tar)
  wb import --change 'ENTRYPOINT ["echo","entry"]' --change 'CMD ["cmd"]' --change 'ENV E=1' \
    --change 'WORKDIR /tmp/deep' "$tar" configured >/dev/null
  [ "$(wb run --rm --net none configured)" = 'entry cmd' ]
  [ "$(wb run --rm --net none configured mine)" = 'entry mine' ]
  [ "$(wb run --rm --net none --entrypoint sh configured -c 'echo $E $PWD')" = '1 /tmp/deep' ]
  [ "$(wb run --rm --net none --entrypoint pwd -w /etc configured)" = /etc ]
  wb rmi configured
}

@test "users by name and by number" {
  [ "$(inside id -u)" = 0 ]
  [ "$(wb run --rm --net none -u nobody busybox id -un)" = nobody ]
  [ "$(wb run --rm --net none -u 1234:5678 busybox sh -c 'id -u; id -g')" = "1234
5678" ]
  must_fail 125 wb run --rm --net none -u nosuch busybox true
}

@test "volumes: bound, read-only, and never deleted" {
  mkdir data
  echo hello >data/file
  [ "$(wb run --rm --net none -v "$PWD/data:/mnt" busybox cat /mnt/file)" = hello ]
  wb run --rm --net none -v "$PWD/data:/mnt" busybox sh -c 'echo more >/mnt/new'
  [ "$(cat data/new)" = more ]
  must_fail 1 wb run --rm --net none -v "$PWD/data:/mnt:ro" busybox sh -c 'echo x >/mnt/no'
  wb run -d --name v -v "$PWD/data:/mnt" --net none busybox sleep 100 >/dev/null
  wb rm -f v
  [ "$(cat data/file)" = hello ]
}

@test "a read-only root" {
  must_fail 1 wb run --rm --net none --read-only busybox touch /x
  wb run --rm --net none --read-only busybox touch /dev/shm/x
}

@test "a detached container: ps, exec, logs, stop, rm" {
  id=$(wb run -d --name web -e COLOUR=red busybox sh -c 'echo out; echo err >&2; exec sleep 1000')
  [[ $id =~ ^[0-9a-f]{64}$ ]]
  pid=$(host_pid web)
  [ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" = 'sleep 1000 ' ]
  wb ps | grep -q "^${id:0:12} .*Up .*web$"
  [ "$(wb exec web sh -c 'echo $COLOUR; hostname')" = "red
${id:0:12}" ]
  must_fail 3 wb exec web sh -c 'exit 3'
  echo typed | wb exec -i web cat | grep -qx typed
  wb logs web >out 2>err
  [ "$(cat out)" = out ] && [ "$(cat err)" = err ]
  [ "$(wb stop -t 1 web)" = web ]
  [ ! -e "/proc/$pid" ]
  [ "$(status_of web)" = exited ]
  wb ps -a | grep -q 'Exited (137)'
  [ "$(wb rm web)" = web ]
  [ -z "$(wb ps -aq)" ]
}

@test "stop sends the stop signal first, and waits" {
  wb run -d --name polite --net none busybox sh -c 'trap "echo bye; exit 5" TERM; while :; do sleep 0.1; done' >/dev/null
  eventually 3 sh -c 'wb exec polite true'
  start=$SECONDS
  wb stop polite >/dev/null
  [ $((SECONDS - start)) -lt 5 ]
  wb logs polite | grep -qx bye
  [ "$(wb inspect polite | jq '.[0].wb.state.exitCode')" = 5 ]
  wb rm polite
}

@test "the status is true when the process dies by itself" {
  wb run -d --name short --net none busybox sh -c 'sleep 2; exit 4' >/dev/null
  [ "$(status_of short)" = running ]
  [ "$(wb wait short)" = 4 ]
  [ "$(status_of short)" = exited ]
  wb rm short
}

@test "the status is true after kill -9 of the monitor, and everything can be removed" {
  wb run -d --name orphan --net none busybox sleep 1000 >/dev/null
  pid=$(host_pid orphan)
  monitor=$(wb inspect orphan | jq '.[0].wb.state.monitor.pid')
  kill -9 "$monitor"
  [ "$(status_of orphan)" = running ]
  wb exec orphan true
  kill -9 "$pid"
  # Its new parent may leave it a zombie for a while: that is ended, too.
  ended () { [ "$(status_of orphan)" = exited ]; }
  eventually 2 ended
  [ "$(wb inspect orphan | jq '.[0].wb.state.exitCode')" = null ]
  wb rm orphan
}

@test "create, start, start again" {
  wb create --name twice --net none busybox sh -c 'echo run >>/count; cat /count' >/dev/null
  [ "$(status_of twice)" = created ]
  [ "$(wb start -a twice)" = run ]
  [ "$(wb start -a twice)" = "run
run" ]
  wb rm twice
}

@test "bad input: one clear line, the right status, and nothing left" {
  must_fail 125 wb run --rm nosuch-image true
  [ "$(grep -c '^wb-' <<<"$stderr")" = 1 ]
  must_fail 125 wb run --rm --nosuch-flag busybox true
  must_fail 127 wb run --rm --net none busybox nosuch-command
  [[ $stderr == *nosuch-command* ]]
  must_fail 126 wb run --rm --net none busybox /etc/passwd
  must_fail 125 wb run --rm 127.0.0.1:1/none true
  wb run -d --name taken --net none busybox sleep 100 >/dev/null
  must_fail 125 wb run --rm --name taken busybox true
  [[ $stderr == *taken* ]]
  must_fail 1 wb stop nosuch
  must_fail 1 wb rm taken
  wb rm -f taken
  must_fail 1 wb frobnicate
}

@test "without root: one clear line" {
  must_fail 125 setpriv --reuid 65534 --regid 65534 --clear-groups env WB_ROOT=/var/lib/wb WB_RUN=/run/wb wb run --rm busybox true
  [[ $stderr == *"Permission denied"* ]]
}

@test "two containers reach each other, and the host" {
  wb run -d --name a busybox sleep 1000 >/dev/null
  address=$(wb inspect a | jq -r '.[0].wb.network.result.ips[0].address')
  wb run --rm busybox ping -c 1 -W 2 "${address%/*}"
  ping -c 1 -W 2 "${address%/*}"
  wb rm -f a
}

@test "memory: what exceeds the limit is killed, and the record says so" {
  must_fail 137 wb run --name hog --net none -m 16m --memory-swap 16m busybox \
    sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1'
  [ "$(wb inspect hog | jq '.[0].wb.state.oomKilled')" = true ]
  wb ps -a | grep -q 'Exited (137) .* (OOM killed)'
  wb rm hog
}

@test "a fork bomb stops at the limit" {
  wb run --rm --net none --pids-limit 20 busybox sh -c 'for i in $(seq 40); do sleep 1 & done; wait' 2>errors || true
  grep -q "can't fork" errors
}

@test "a quarter of a CPU holds within ten per cent" {
  wb run -d --name quarter --net none --cpus 0.25 busybox sh -c 'while :; do :; done' >/dev/null
  pid=$(host_pid quarter)
  ticks () { awk '{ print $14 + $15 }' "/proc/$pid/stat"; }
  sleep 0.3
  before=$(ticks)
  sleep 4
  used=$(($(ticks) - before))
  echo "$used ticks of 400" >&2
  [ "$used" -ge 90 ] && [ "$used" -le 110 ]
  wb rm -f quarter
}

@test "at any joint the document passes jq, and runc runs it" {
  require_program runc
  mkdir bundle
  wb-spec -n run --id joint --net none busybox echo from runc | jq -c . | wb-pull | jq -c . | wb-rootfs mount |
    jq 'del(.wb, .linux.cgroupsPath, .linux.resources)' >bundle/config.json
  [ "$(runc --root "$WB_SCRATCH/runc" run --bundle bundle "joint-$WB_MACHINE_HASH")" = 'from runc' ]
  wb-rootfs -n umount --id joint --purge >/dev/null
}

@test "ten at once" {
  for i in $(seq 10); do wb run --rm busybox echo "n$i" & done >seen
  wait
  [ "$(sort -u seen | wc -l)" = 10 ]
}
