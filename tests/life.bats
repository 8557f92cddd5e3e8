#!/usr/bin/env bats
# The life of containers: restarts, limits and accounts while they run, boots, and what is true after kill -9.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

start () { wb run -d --net none "$@" >/dev/null; }
config () { echo "$WB_ROOT/containers/$(readlink "$WB_ROOT/names/$1")/config.json"; }
state () { jq -r ".wb.state.$2" "$(config "$1")"; }
has_state () { [ "$(state "$1" "$2")" = "$3" ]; }
gone () { ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
is_v2 () { [ -e /sys/fs/cgroup/cgroup.controllers ]; }
# control NAME CONTROLLER V1-FILE V2-FILE: what stands in a container's control file.
control () {
  local id parent=wb-$WB_MACHINE_HASH
  id=$(readlink "$WB_ROOT/names/$1")
  if is_v2; then cat "/sys/fs/cgroup/$parent/$id/$4"; else cat "/sys/fs/cgroup/$2/$parent/$id/$3"; fi
}
# edit NAME FILTER: changes a record behind the tools' back.
edit () {
  jq -c "$2" "$(config "$1")" >edited && cat edited >"$(config "$1")"
}
# What a reboot leaves: nothing alive, and records that tell of another boot.
reboot () {
  local name monitor pid
  for name; do
    monitor=$(state "$name" monitor.pid) pid=$(state "$name" pid)
    kill -9 "$monitor"
    eventually 5 gone "$monitor"
    kill -9 "$pid"
    eventually 5 gone "$pid"
    edit "$name" '.wb.state.bootId = "00000000-0000-0000-0000-000000000000" | del(.wb.state.claim)'
  done
}

@test "start and restart name the containers; files and name stay, the process is new" {
  start --name a --stop-signal KILL busybox sh -c 'echo run >>/runs; exec sleep 1000'
  old=$(state a pid)
  [ "$(wb restart -t 5 a)" = a ]
  gone "$old"
  [ "$(state a pid)" != "$old" ]
  [ "$(wb exec a cat /runs)" = $'run\nrun' ]
  wb stop a
  [ "$(wb restart a)" = a ]
  has_state a status running
  wb stop a
  [ "$(wb start a)" = a ]
  start --rm --name r busybox sleep 1000
  must_fail 1 wb restart r
  [[ $stderr == *'made with --rm'* ]]
  has_state r status running
  must_fail 1 wb restart nosuch
  must_fail 1 wb restart
}

@test "top: the container's processes with the host's numbers" {
  start --name a busybox sh -c 'sleep 1001 & exec sleep 1002'
  pid=$(state a pid)
  wb top a >all
  head -n 1 all | grep -q 'PID .*CMD'
  [ "$(grep -c 'sleep 100[12]$' all)" = 2 ]
  [ "$(wc -l <all)" = 3 ]
  awk '{ print $2 }' all | grep -qx "$pid"
  [ "$(wb top a -o pid,args | awk -v pid="$pid" '$1 == pid { print $2, $3 }')" = 'sleep 1002' ]
  must_fail 1 wb top a -o args
  wb pause a
  [ "$(wb top a | wc -l)" = 3 ]
  wb rm -f a
  must_fail 1 wb top a
  [[ $stderr == *'no such container'* ]]
  wb create --name b --net none busybox true
  must_fail 1 wb top b
  [ "$stderr" = 'wb-cgroup: container b is not running' ]
}

@test "stats: the numbers of the control files, as a table and as JSON" {
  start --name busy -m 64m busybox sh -c 'while :; do :; done'
  start --name idle busybox sleep 1000
  wb stats --no-stream >table
  [ "$(head -n 1 table | tr -s ' ')" = 'CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS' ]
  grep -qE ' busy +[0-9.]+% .* / 64MiB ' table
  grep -qE ' idle +0\.0.% ' table
  wb stats --no-stream --json >all.json
  [ "$(jq -r '[.[].name] | join(" ")' all.json)" = 'idle busy' ]
  jq -e '.[1] | .cpuPercent > 5 and .memoryLimit == 67108864 and .memoryUsage > 0 and .pids.current == 1' all.json
  [ "$(jq '.[1].pids.limit' all.json)" = "$(control busy pids pids.max pids.max)" ]
  [ "$(wb stats --no-stream --format '{{.Name}}={{.PIDs}}' idle)" = idle=1 ]
  # Once a second, until nobody reads.
  [ "$(wb stats --format '{{.Name}}' idle | head -n 2)" = $'idle\nidle' ]
  must_fail 1 wb stats nosuch
  wb create --name c --net none busybox true
  wb stats -a --no-stream | grep -qE ' c +0.00% +0B / '
}

@test "stats on a terminal: the table stands, and new containers come into it" {
  tmux=(tmux -L "wb$WB_MACHINE_HASH" -f /dev/null)
  "${tmux[@]}" new-session -d -x 120 -y 20 -s t 'wb stats'
  shows () { "${tmux[@]}" capture-pane -p -t t | grep -q -- "$1"; }
  eventually 5 shows 'CONTAINER ID'
  start --name late busybox sleep 1000
  eventually 5 shows ' late '
  wb rm -f late
  vanished () { ! shows ' late '; }
  eventually 5 vanished
  [ "$("${tmux[@]}" capture-pane -p -t t | grep -c 'CONTAINER ID')" = 1 ]
  "${tmux[@]}" kill-server
}

@test "update: on the living container, limits and restart policy" {
  start --name a -m 64m busybox sh -c 'until [ -e /go ]; do sleep 0.1; done; exit 3'
  start --name b -m 64m busybox sleep 1000
  [ "$(wb update -m 96m --memory-swap -1 --cpus 0.5 --pids-limit 33 --restart always a b | sort)" = $'a\nb' ]
  for name in a b; do
    [ "$(control $name memory memory.limit_in_bytes memory.max)" = 100663296 ]
    [ "$(control $name pids pids.max pids.max)" = 33 ]
  done
  if is_v2; then
    [ "$(control b cpu '' cpu.max)" = '50000 100000' ]
  else
    [ "$(control b cpu cpu.cfs_quota_us '')" = 50000 ]
  fi
  # A device of before is still there.
  wb exec b sh -c ': </dev/null && head -c 1 /dev/zero >/dev/null'
  wb exec a touch /go
  restarted () { [ "$(state a restartCount)" -ge 1 ]; }
  eventually 10 restarted
  wb stop -t 0 b
  [ "$(wb update --pids-limit 44 b)" = b ]
  wb start b
  [ "$(control b pids pids.max pids.max)" = 44 ]
  must_fail 1 wb update --pids-limit 5 nosuch
  [ -z "$output" ]
}

@test "what is paused can be stopped, killed and removed" {
  for name in a b c; do start --name $name busybox sleep 1000; done
  wb pause a b c
  wb ps | grep -c '(Paused)' | grep -qx 3
  within 10 wb stop -t 1 a
  within 10 wb kill b
  eventually 5 has_state b status exited
  within 10 wb rm -f c
  [ "$(wb ps -a --format '{{.Names}} {{.State}}' | sort)" = $'a exited\nb exited' ]
}

@test "sizes: what was written, and the whole" {
  start --name a busybox sh -c 'head -c 5000 /dev/zero >/new; exec sleep 1000'
  eventually 5 wb exec a test -s /new
  wb ps -s >table
  grep -qE 'NAMES +SIZE$' table
  grep -qE ' a +5kB \(virtual [0-9.]+MB\)$' table
}

@test "no log where none was asked for" {
  [ "$(wb run --name a --net none --log-driver none busybox echo seen)" = seen ]
  [ ! -e "$(dirname "$(config a)")/log" ]
  must_fail 1 wb logs a
  [[ $stderr == *'--log-driver none'* ]]
}

@test "anonymous volumes go with rm -v, named ones stay" {
  wb create --name a --net none -v /anonymous -v named:/named busybox true
  wb start a
  wb wait a
  [ "$(ls "$WB_ROOT/volumes" | wc -l)" = 2 ]
  wb rm -v a
  [ "$(ls "$WB_ROOT/volumes")" = named ]
  wb volume rm named
}

@test "the files with id and pid, and a cgroup below a given one" {
  start --name a --cidfile id --pidfile pid --cgroup-parent "/wb-$WB_MACHINE_HASH/given" busybox sleep 1000
  [ "$(cat id)" = "$(readlink "$WB_ROOT/names/a")" ]
  [ "$(cat pid)" = "$(state a pid)" ]
  grep -q "pids.*:/wb-$WB_MACHINE_HASH/given/$(cat id)\$\|^0::/wb-$WB_MACHINE_HASH/given/$(cat id)\$" "/proc/$(cat pid)/cgroup"
  wb rm -f a
  [ ! -e pid ]
  # A parent that was named is its owner's.
  rmdir /sys/fs/cgroup/{,*/}"wb-$WB_MACHINE_HASH/given" 2>/dev/null || true
}

@test "the monitor asked to end ends its container, and that is no wish for ever" {
  start --name a --restart unless-stopped busybox sh -c 'trap "exit 7" TERM; while :; do sleep 0.1; done'
  start --name deaf --stop-timeout 1 --restart unless-stopped busybox sh -c 'trap "" TERM; while :; do sleep 0.1; done'
  sleep 0.3
  kill -TERM "$(state a monitor.pid)" "$(state deaf monitor.pid)"
  eventually 5 has_state a status exited
  has_state a exitCode 7
  has_state a stopped null
  eventually 8 has_state deaf status exited
  has_state deaf exitCode 137
}

@test "a restart that fails is tried again" {
  mkdir bound
  start --name r --restart always -v "$PWD/bound:/b" busybox sh -c 'echo run; while [ ! -e /b/end ]; do sleep 0.05; done; exit 4'
  mv bound away
  touch away/end
  failed () { state r error | grep -q 'No such file or directory' && has_state r status restarting; }
  eventually 10 failed
  wb ps | grep -q 'Restarting (125)'
  rm away/end
  mv away bound
  eventually 20 has_state r status running
  has_state r error null
  [ "$(state r restartCount)" -ge 2 ]
  wb exec r true
  # Also while it waits for the next time.
  mv bound away
  touch away/end
  eventually 10 failed
  within 10 wb stop r
  has_state r status exited
  has_state r stopped true
  wb rm r
}

@test "who stops it is heard before its end, however late the monitor is" {
  start --name r --restart always busybox sleep 1000
  for _ in 1 2 3; do
    monitor=$(state r monitor.pid) pid=$(state r pid)
    kill -STOP "$monitor"
    within 20 wb stop -t 0 r &
    eventually 5 gone "$pid"
    kill -CONT "$monitor"
    wait $!
    has_state r status exited
    has_state r stopped true
    eventually 5 gone "$monitor"
    wb start r
  done
}

@test "kill -9 of the monitor while it waits to restart: exited, and removed" {
  start --name r --restart always busybox false
  eventually 20 has_state r status restarting
  monitor=$(state r monitor.pid)
  kill -9 "$monitor"
  eventually 5 gone "$monitor"
  ended () { wb ps -a --format '{{.State}}' | grep -qx exited; }
  eventually 5 ended
  wb gc
  wb rm r
}

@test "a pid that was used again by another program is never signalled" {
  # In a pid namespace of its own the next number can be chosen.
  cat >story <<'END'
set -e
wb run -d --name s --net none busybox sleep 1000 >/dev/null
pid=$(wb inspect --format '{{.State.Pid}}' s)
kill -9 "$(wb inspect s | jq '.[0].wb.state.monitor.pid')" "$pid"
while [ -e "/proc/$pid" ]; do sleep 0.05; done
echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
sleep 7777 &
[ $! = "$pid" ]
[ "$(wb ps -a --format '{{.State}}')" = exited ]
wb stop -t 1 s
! wb kill s 2>said || exit 1
grep -q 'not running' said
! wb exec s true 2>/dev/null || exit 1
wb rm -f s
# Not even the monitor's number.
wb run -d --name m --net none busybox sleep 1000 >/dev/null
monitor=$(wb inspect m | jq '.[0].wb.state.monitor.pid')
kill -9 "$monitor"
while [ -e "/proc/$monitor" ]; do sleep 0.05; done
echo $((monitor - 1)) >/proc/sys/kernel/ns_last_pid
sleep 8888 &
[ $! = "$monitor" ]
wb stop -t 0 m
wb rm -f m
kill -0 "$pid" "$monitor"
[ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" = 'sleep 7777 ' ]
[ "$(tr '\0' ' ' <"/proc/$monitor/cmdline")" = 'sleep 8888 ' ]
kill "$pid" "$monitor"
END
  within 60 unshare --pid --fork --mount-proc sh story
}

@test "events: a life, as it is lived" {
  wb events --filter type=container --format '{{.Action}} {{.Actor.Attributes.name}}' >seen &
  watcher=$!
  wb events --json --filter event=die >deaths &
  deaths=$!
  watches () { grep -qs 'inotify wd' "/proc/$1/fdinfo/"* && grep -q '^State:.S' "/proc/$1/status"; }
  eventually 5 watches "$watcher"
  eventually 5 watches "$deaths"
  start --name e -m 16m --memory-swap 16m busybox \
    sh -c '[ ! -e /ran ] || exec sleep 1000; touch /ran; exec dd if=/dev/zero of=/dev/null bs=64M count=1'
  wb wait e >/dev/null
  wb start e
  wb pause e
  wb unpause e
  wb stop -t 0 e
  wb rename e f
  wb rm f
  eventually 5 grep -q destroy seen
  eventually 5 grep -q 137 deaths
  kill "$watcher" "$deaths"
  cut -d' ' -f1 seen | paste -sd' ' >actions
  [ "$(cat actions)" = 'create start oom die start pause unpause die stop rename destroy' ]
  grep -qx 'rename f' seen
  [ "$(jq -r '.attributes.exitCode' deaths | sort -u)" = 137 ]
}

@test "events of images, volumes and networks; what was earlier; an end" {
  wb events --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}' >seen &
  watcher=$!
  wb events --json --filter type=volume --filter event=destroy >volumes &
  volumes=$!
  watches () { grep -qs 'inotify wd' "/proc/$1/fdinfo/"* && grep -q '^State:.S' "/proc/$1/status"; }
  eventually 5 watches "$watcher"
  eventually 5 watches "$volumes"
  wb volume create data >/dev/null
  wb network create --subnet 10.213.61.0/24 lan >/dev/null
  eventually 5 grep -q 'network create lan' seen
  wb run -d --name v --net lan -v data:/data busybox sleep 1000 >/dev/null
  eventually 5 grep -q 'container start v' seen
  wb rm -f v
  eventually 5 grep -q 'network disconnect lan' seen
  wb network rm lan
  eventually 5 grep -q 'network destroy' seen
  wb volume rm data
  eventually 5 grep -q 'volume destroy' seen
  wb tag busybox again:2
  eventually 5 grep -q 'image tag again:2' seen
  wb rmi again:2
  eventually 5 grep -q 'image untag again:2' seen
  wb import --change 'LABEL a=b' "$(busybox_tar)" second >/dev/null
  eventually 5 grep -q 'image tag second' seen
  wb rmi second
  eventually 5 grep -q 'image delete' seen
  eventually 5 grep -q destroy volumes
  kill "$watcher" "$volumes"
  grep -v '^container \(die\|stop\|create\)' seen | sed 's/sha256:.*/ID/; s/<no value>//; s/ *$//' >told
  printf '%s\n' 'volume create' 'network create lan' 'network create bridge' 'network connect lan' 'volume mount' 'container start v' \
    'container destroy v' 'network disconnect lan' 'volume unmount' 'network destroy lan' 'volume destroy' \
    'image tag again:2' 'image untag again:2' 'image create second:latest' 'image tag second:latest' \
    'image untag second:latest' 'image delete ID' | sort >expected
  sort told | diff expected -
  [ "$(jq -c '[.type, .action, .id]' volumes)" = '["volume","destroy","data"]' ]
  # What the records still tell, in its order, and an end of it.
  start --name one busybox true
  wb wait one >/dev/null
  wb volume create old >/dev/null
  say=(--since 1h --until 0s --format '{{.Type}} {{.Action}}')
  [ "$(within 10 wb events "${say[@]}" | paste -sd' ')" = 'network create container create container start container die volume create' ]
  [ "$(within 10 wb events "${say[@]}" --filter container=one --filter event=die)" = 'container die' ]
  [ -z "$(within 10 wb events --since "$(date -d '1 hour' +%s)" --until 0s)" ]
  [ -z "$(within 10 wb events --since 1h --until 2001-01-01)" ]
  end=$(($(date +%s) + 1))
  [ -z "$(within 30 wb events --until "$end")" ]
  [ "$(date +%s)" -ge "$end" ]
  must_fail 1 wb events --since soon
  must_fail 1 wb events --filter nosuch=x
  wb volume rm old
}

@test "at boot: what is to run runs again, what was stopped or never wanted does not" {
  start --name always --restart always busybox sleep 1000
  start --name stopped --restart always busybox sleep 1000
  start --name unless --restart unless-stopped busybox sleep 1000
  start --name quiet --restart unless-stopped busybox sleep 1000
  start --name never busybox sleep 1000
  wb create --name new --restart always --net none busybox sleep 1000
  wb stop -t 0 stopped quiet
  reboot always unless never
  [ -z "$(wb ps -q)" ]
  [ "$(wb ps -a --format '{{.Names}} {{.Status}}' | grep -c 'Exited (unknown)')" = 3 ]
  wb start --boot
  [ "$(wb ps --format '{{.Names}}' | sort | tr '\n' ' ')" = 'always stopped unless ' ]
  [ "$(wb exec always echo up)" = up ]
  wb start --boot
  [ "$(wb ps -q | wc -l)" = 3 ]
}

@test "after a boot everything of before is given back" {
  wb run -d --name a -p 18473:80 busybox sleep 1000
  id=$(readlink "$WB_ROOT/names/a")
  reboot a
  grep -q "$WB_SCRATCH.*merged" /proc/self/mountinfo
  wb ps -a | grep -q 'Exited (unknown)'
  wb gc
  run -1 grep -q "$WB_SCRATCH.*merged" /proc/self/mountinfo
  [ ! -e "/run/netns/$id" ]
  [ -z "$(wb_cgroups)" ]
  has_state a status exited
  has_state a exitCode null
  wb start a
  [ "$(wb exec a echo up)" = up ]
}

# A directory with the tools, of which one kills itself (or does $3) where it is called with the word $2.
deadly () {
  rm -rf deadly
  mkdir deadly
  for tool in "$WB_BIN"/wb-*; do [ ! -x "$tool" ] || [ -d "$tool" ] || ln -s "$tool" deadly/; done
  rm "deadly/$1"
  cat >"deadly/$1" <<EOF
#!/bin/sh
case "\$1 " in
"$2 "*) ${3-kill -9 \$\$} ;;
esac
exec $WB_BIN/$1 "\$@"
EOF
  chmod +x "deadly/$1"
}

# The bridge and its rules belong to the network.
nothing_left () {
  local left
  left=$(wb_leftovers)
  left=$(grep -v '^interface wb\|^nft table' <<<"$left") || true
  [ -z "$left" ] || {
    echo "$left" >&2
    return 1
  }
}

@test "kill -9 of any tool on the way up: an error, and gc gives everything back" {
  wb run --rm busybox true
  for stage in 'wb-spec -n' 'wb-state create' 'wb-pull ' 'wb-rootfs mount' 'wb-ipam add' 'wb-netns add' \
    'wb-cgroup create' 'wb-monitor run' 'wb-unshare run'; do
    echo "$stage" >&2
    deadly "${stage%% *}" "${stage#* }"
    status=0
    WB_BIN=$PWD/deadly within 20 wb run --rm busybox echo ran >out 2>err || status=$?
    [ "$status" -ge 1 ]
    [ ! -s out ]
    [ -z "$(wb ps -q)" ]
    wb gc
    ids=$(wb ps -aq)
    [ -z "$ids" ] || wb rm -f $ids
    nothing_left
  done
  # This one is process 1 already, and cannot kill itself.
  deadly wb-rootfs enter 'exec sleep 7654'
  WB_BIN=$PWD/deadly wb run --rm busybox echo ran >out 2>err &
  client=$!
  eventually 10 pgrep -xf 'sleep 7654' >victim
  kill -9 "$(cat victim)"
  status=0
  wait "$client" || status=$?
  [ "$status" = 137 ]
  [ ! -s out ]
  nothing_left
}

@test "kill -9 of any tool on the way down: the status is true, and gc gives everything back" {
  for stage in 'wb-state get' 'wb-cgroup delete' 'wb-netns del' 'wb-ipam del' 'wb-rootfs umount' 'wb-state finish'; do
    echo "$stage" >&2
    deadly "${stage%% *}" "${stage#* }"
    status=0
    WB_BIN=$PWD/deadly within 20 wb run --name a busybox sh -c 'exit 5' 2>err || status=$?
    [ "$status" = 5 ]
    has_state a status exited
    has_state a exitCode 5
    wb gc
    wb rm a
    nothing_left
  done
}
