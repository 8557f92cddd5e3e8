#!/usr/bin/env bats
# wb-monitor: streams, terminals, logs, exit status, clean-up. Checked through /proc, tmux and the files on disk.

load lib/common

setup () {
  wb_setup
  make_busybox_image
  tmux=(tmux -L "wb$WB_MACHINE_HASH" -f /dev/null)
}
teardown () {
  "${tmux[@]}" kill-server 2>/dev/null || true
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

run_it () { wb run --rm --net none "$@"; }
start () { wb run -d --net none "$@" >/dev/null; }
state () { jq -r ".wb.state.$2" "$WB_ROOT/containers/$(readlink "$WB_ROOT/names/$1")/config.json"; }
log_of () { echo "$WB_ROOT/containers/$(readlink "$WB_ROOT/names/$1")/log"; }
# Ended, even if nobody has waited for it yet.
gone () { ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
# A shell in a terminal of 100 by 30.
terminal () { "${tmux[@]}" new-session -d -x 100 -y 30 -s t "$@"; }
type_keys () { "${tmux[@]}" send-keys -t t "$@"; }
screen () { "${tmux[@]}" capture-pane -p -t t; }
shows () { screen | grep -q -- "$1"; }

@test "streams arrive apart, whole and in order, and the status with them" {
  must_fail 7 run_it busybox sh -c 'echo out; echo err >&2; printf tail; exit 7'
  [ "$output" = $'out\ntail' ]
  [ "$stderr" = err ]
  start --name killed busybox sleep 100
  kill -9 "$(state killed pid)"
  [ "$(wb wait killed)" = 137 ]
}

@test "a long tail is not lost when the process ends" {
  for _ in 1 2 3; do
    run_it busybox sh -c 'seq 1 200000; echo end >&2' >out 2>err
    seq 1 200000 | cmp - out
    [ "$(cat err)" = end ]
  done
}

@test "binary input to its end, through a pipe and from a file" {
  head -c 20000000 /dev/urandom >blob
  cat blob | run_it -i busybox cat | cmp - blob
  run_it -i busybox cat <blob | cmp - blob
  run_it -i busybox cat <blob >copy && cmp blob copy
  : >appended
  run_it -i busybox cat <blob >>appended && cmp blob appended
  [ "$(printf 'a\nb' | run_it -i busybox wc -c)" = 3 ]
}

@test "without -i there is no input" {
  [ "$(echo typed | run_it busybox cat)" = '' ]
  [ "$(run_it busybox readlink /proc/self/fd/0 </dev/null)" = /dev/null ]
}

@test "an unprivileged user can open its own streams" {
  [ "$(run_it -u 1234 busybox sh -c 'echo a >/dev/stdout; echo b >/dev/stderr' 2>err)" = a ]
  [ "$(cat err)" = b ]
  [ "$(echo c | run_it -i -u 1234 busybox sh -c 'cat </dev/stdin')" = c ]
}

@test "signals of the client are the container's" {
  wb run --rm --name s --net none busybox sh -c 'trap "echo got; exit 9" USR1; echo up; while :; do sleep 0.05; done' >out &
  client=$!
  eventually 5 grep -q up out
  pid=$(pgrep -f -- 'wb-monitor run .*wb-unshare' | while read -r p; do
    [ "$(awk '/^PPid/ { print $2 }' "/proc/$p/status")" = "$$" ] && echo "$p"
  done | head -n 1)
  kill -USR1 "$client"
  status=0
  wait "$client" || status=$?
  [ "$status" = 9 ]
  grep -q got out
}

@test "a reader that leaves ends the program, as in any pipeline" {
  within 10 wb run --name y --net none busybox yes | head -n 1 | grep -qx y
  eventually 5 [ "$(state y status)" = exited ]
}

@test "-d holds nothing of the caller" {
  id=$(wb run -d --name quiet --net none busybox sleep 100 2>err | cat)
  [[ $id =~ ^[0-9a-f]{64}$ ]]
  monitor=$(state quiet monitor.pid)
  for fd in 0 1 2; do [ "$(readlink "/proc/$monitor/fd/$fd")" = /dev/null ]; done
  [ "$(ps -o sid= -p "$monitor" | tr -d ' ')" = "$monitor" ]
}

@test "a monitor keeps less than 1 MiB for itself" {
  start --name small busybox sh -c 'head -c 30000000 /dev/zero; echo; echo done; sleep 100'
  eventually 10 grep -q 'F done' "$(log_of small)"
  # A second later it has given back what it needs only when there is something to do.
  sleep 1.5
  sync
  awk '/^Private_(Clean|Dirty)/ { sum += $2 } END { print sum " KiB"; exit sum >= 1024 }' \
    "/proc/$(state small monitor.pid)/smaps_rollup"
}

@test "the log: the Kubernetes format, both streams, parts of lines" {
  start --name l busybox sh -c 'echo one; echo two >&2; printf "no newline"'
  [ "$(wb wait l)" = 0 ]
  time='[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z'
  grep -qE "^$time stdout F one$" "$(log_of l)"
  grep -qE "^$time stderr F two$" "$(log_of l)"
  grep -qE "^$time stdout P no newline$" "$(log_of l)"
  [ "$(wc -l <"$(log_of l)")" = 3 ]
  wb logs l >out 2>err
  [ "$(od -c out)" = "$(printf 'one\nno newline' | od -c)" ]
  [ "$(cat err)" = two ]
  wb logs -t l 2>&1 >/dev/null | grep -qE "^$time two$"
}

@test "logs: the end, since, until, and nonsense" {
  start --name n busybox sh -c 'seq 1 5; sleep 1; seq 6 10; head -c 40000 /dev/zero | tr "\0" x; echo; echo last'
  [ "$(wb wait n)" = 0 ]
  [ "$(wb logs --tail 1 n)" = last ]
  [ "$(wb logs -n 3 n | wc -c)" = $((3 + 40001 + 5)) ]
  [ "$(wb logs -n 0 n)" = '' ]
  [ "$(wb logs -n all n | wc -l)" = 12 ]
  sixth=$(wb logs -t n | awk '$2 == 6 { print $1 }')
  [ "$(wb logs --until "$sixth" n)" = "$(seq 1 5)" ]
  [ "$(wb logs --since "$sixth" n | head -n 1)" = 6 ]
  [ "$(wb logs --since 1h n | head -n 1)" = 1 ]
  must_fail 1 wb logs --since nonsense n
  must_fail 1 wb logs --tail x n
  must_fail 1 wb logs nosuch
  [[ $stderr == *'no such container: nosuch'* ]]
}

@test "logs -f goes on until the container ends, also where it is removed" {
  wb run -d --rm --name f --net none busybox sh -c 'for i in 1 2 3 4; do echo $i; sleep 0.2; done' >/dev/null
  within 10 wb logs -f f >out
  [ "$(cat out)" = "$(seq 1 4)" ]
  [ -z "$(wb ps -aq)" ]
}

@test "logs -f ends when its container is removed" {
  start --name gone busybox sh -c 'seq 1 3; exec sleep 1000'
  within 10 wb logs -f gone >out &
  job=$!
  eventually 5 grep -q 3 out
  wb rm -f gone
  wait "$job"
  [ "$(cat out)" = "$(seq 1 3)" ]
}

@test "logs -f goes on in the next file, and the files stay small" {
  start --name r --log-opt max-size=60k --log-opt max-file=3 busybox \
    sh -c 'sleep 0.3; i=0; while [ $i -lt 3000 ]; do echo "line $i"; i=$((i + 1)); done'
  within 20 wb logs -f r >out
  [ "$(cat out)" = "$(seq -f 'line %g' 0 2999)" ]
  [ "$(ls "$(log_of r)"* | wc -l)" = 3 ]
  for file in "$(log_of r)"*; do [ "$(stat -c %s "$file")" -le 61440 ]; done
  [ "$(wb logs --tail 1500 r)" = "$(seq -f 'line %g' 1500 2999)" ]
  wb logs r | tail -n 1 | grep -qx 'line 2999'
}

@test "a line of 100 MB does not grow the monitor" {
  start --name long busybox sh -c 'head -c 100000000 /dev/zero; echo; echo done; sleep 100'
  eventually 20 grep -q 'F done' "$(log_of long)"
  [ "$(awk '/^VmHWM/ { print $2 }' "/proc/$(state long monitor.pid)/status")" -lt 4096 ]
  awk '{ if (length($0) > 16500) exit 1 }' "$(log_of long)"
}

@test "attach: several at once, and input" {
  start -i --name a busybox sh -c 'read -r go; echo "out $go"; echo "err $go" >&2; sleep 0.2; exit 4'
  must_fail_later () { status=0; wait "$1" || status=$?; [ "$status" = "$2" ]; }
  wb attach --no-stdin a >one 2>one.err &
  first=$!
  { sleep 0.5; echo now; } | wb attach a >two 2>two.err &
  second=$!
  must_fail_later "$first" 4
  must_fail_later "$second" 4
  for name in one two; do
    [ "$(cat $name)" = 'out now' ]
    [ "$(cat $name.err)" = 'err now' ]
  done
  must_fail 1 wb attach a
  [[ $stderr == *'not running'* ]]
}

@test "a client that stalls blocks neither the log nor others, and loses nothing" {
  start --name stall busybox sh -c "sleep ${WB_TEST_SLOW:-0.5}; "'head -c 30000000 /dev/zero | tr "\0" "z"; echo; echo end'
  { sleep 0.1; wb attach --no-stdin stall; } > >(sleep 3; wc -c >slow) &
  wb attach --no-stdin stall | wc -c >quick
  [ "$(cat quick)" = 30000005 ]
  [ "$(state stall status)" = exited ]
  wait
  eventually 8 test -s slow
  [ "$(cat slow)" = 30000005 ]
}

@test "kill -9 of the client leaves the container alone" {
  wb run --name k --net none busybox sh -c 'while :; do echo tick; sleep 0.1; done' >out &
  eventually 5 grep -q tick out
  kill -9 $!
  sleep 0.3
  [ "$(state k status)" = running ]
  before=$(stat -c %s "$(log_of k)")
  sleep 0.3
  [ "$(stat -c %s "$(log_of k)")" -gt "$before" ]
  wb rm -f k
}

@test "kill -9 of the monitor: the exit is not invented, and the client says so" {
  wb run --name o --net none busybox sh -c 'echo up; exec sleep 1000' >out 2>err &
  client=$!
  eventually 5 grep -q up out
  kill -9 "$(state o monitor.pid)"
  status=0
  wait $client || status=$?
  [ "$status" = 125 ]
  grep -q 'monitor has gone' err
  wb ps | grep -q ' o$'
  pid=$(state o pid)
  wb stop -t 0 o >/dev/null
  gone "$pid"
  must_fail 1 wb wait o
  [[ $stderr == *'not known'* ]]
  wb rm o
}

@test "a stale pid is never signalled" {
  start --name stale busybox sleep 1000
  config=$WB_ROOT/containers/$(readlink "$WB_ROOT/names/stale")/config.json
  pid=$(state stale pid)
  sleep 1000 &
  innocent=$!
  # The same number, another start time: as after the pid was used again.
  jq -c ".wb.state.pid = $innocent" "$config" >changed
  for verb in 'stop -t 1' 'kill'; do wb-monitor $verb <changed >/dev/null 2>&1 || true; done
  jq -c ".wb.state.bootId = \"another\"" "$config" >changed
  wb-monitor stop -t 0 <changed >/dev/null
  kill -0 $innocent
  kill -0 "$pid"
  kill $innocent
  wb rm -f stale
}

@test "wait: also for what is removed at its end" {
  wb run -d --rm --name w --net none busybox sh -c "sleep ${WB_TEST_SLOW:-1}; exit 6" >/dev/null
  start --name w2 busybox sh -c 'exit 3'
  [ "$(wb wait w w2)" = $'6\n3' ]
}

@test "--rm: the client returns when everything is gone" {
  run_it --name gone busybox true
  [ ! -e "$WB_ROOT/names/gone" ]
  [ -z "$(find "$WB_ROOT/containers" "$WB_RUN/containers" -mindepth 1)" ]
}

@test "the finish pipeline gets the document and a clean environment, and its failure is said" {
  cat >finish <<'EOF'
#!/bin/sh
env >"${0%/*}/environment"
ls -l /proc/self/fd >"${0%/*}/descriptors"
read -r id
echo "cannot clean $1 $id" >&2
exit 1
EOF
  chmod +x finish
  wb create --name fin --net none busybox true >/dev/null
  id=$(readlink "$WB_ROOT/names/fin")
  # A chain of one, which does nothing but say that it is there.
  SECRET=1 wb-monitor run --attach --finish "jq -r .wb.id | $PWD/finish up" "$id" -- sh -c '
    read -r pid rest </proc/self/stat
    set -- ${rest##*)}
    echo "{\"pid\":$$,\"startTime\":${20}}" >&4' 2>err
  grep -q "cannot clean up $id" err
  run -1 grep -q SECRET environment
  # Its own three and the directory that ls reads.
  [ "$(grep -c ' [0-9]* -> ' descriptors)" -eq 4 ]
  wb rm fin
}

@test "a document becomes the record with the start, and only one whose id is claimed" {
  wb-spec -n run --name given --net none busybox true >doc
  must_fail 1 wb-monitor run --doc doc -- touch "$PWD/ran"
  [[ $stderr == *"no such container"* ]]
  wb-state create <doc | jq -c '.process.args = ["changed"]' >made
  edited=$WB_ROOT/containers/$(readlink "$WB_ROOT/names/given")/config.json
  cp "$edited" before
  jq -c '.wb.state.status = "removing"' before >"$edited"
  must_fail 1 wb-monitor run --doc made --finish "tee $PWD/undone" -- touch "$PWD/ran"
  [[ $stderr == *"is being removed"* ]]
  [ ! -e ran ]
  # What its removal did not know of is given back.
  diff <(jq -S . made) <(jq -S . undone)
  must_fail 2 wb-monitor run --take --doc 3 -- touch "$PWD/ran" 3<made
  cp before "$edited"
  cp made again
  # What does not start is there all the same, with the reason.
  must_fail 125 wb-monitor run --take --doc made -- true
  [ ! -e made ]
  [ "$(state given status) $(jq -r '.process.args[0]' "$edited")" = 'created changed' ]
  report='read -r pid rest </proc/self/stat; set -- ${rest##*)}; echo "{\"pid\":$$,\"startTime\":${20}}" >&4'
  wb-monitor run --doc again -- sh -c "$report"
  [ "$(state given status) $(state given exitCode)" = 'exited 0' ]
  [ -e again ]
  # What is in the making has a monitor, if nobody else.
  jq -c '.wb.state = {status: "creating"}' before >"$edited"
  wb-monitor run --doc again -- sh -c "until [ -e '$PWD/go' ]; do sleep 0.05; done; $report" &
  client=$!
  eventually 5 test -s "$WB_RUN/containers/$(readlink "$WB_ROOT/names/given")/monitor.lock"
  kill -9 "$client"
  [ -z "$(wb-state gc)" ]
  touch go
  has_ended () { [ "$(state given status)" = exited ]; }
  eventually 5 has_ended
  # One whose record goes meanwhile ends, and all it has is given back.
  jq -c '.wb.state = {status: "creating"}' before >"$edited"
  WB_COMMAND_TIMEOUT=20 must_fail 125 wb-monitor run --doc again --finish "tee $PWD/undone" -- \
    sh -c "rm -r '${edited%/*}'; $report; exec sleep 5"
  diff <(jq -S . again) <(jq -S . undone)
  wb-state rm <undone >removed
  [ ! -e "$WB_RUN/containers/$(jq -r .wb.id removed)" ]
  rm "$WB_ROOT/names/given"
}

@test "a full disk ends neither the monitor nor the container" {
  mkdir -p "$WB_ROOT/containers"
  mount -t tmpfs -o size=512k,mode=700 tmpfs "$WB_ROOT/containers"
  start --name disk busybox sh -c 'sleep 0.3; yes | head -c 1000000; sleep 0.5; exit 8'
  monitor=$(state disk monitor.pid)
  log=$(log_of disk)
  eventually 5 sh -c "[ \"\$(df --output=avail '$log' | tail -n 1)\" -lt 64 ]"
  kill -0 "$monitor"
  # What is there is whole.
  awk '!/^[^ ]+Z stdout [FP] / { exit 1 }' "$log"
  [ "$(tail -c 1 "$log" | od -An -c | tr -d ' ')" = '\n' ]
  [ "$(wb wait disk)" = 8 ]
  wb ps -a | grep -q ' disk$'
  wb rm -f disk
  umount "$WB_ROOT/containers"
}

@test "a terminal: its size, its changes, its keys, and its mode afterwards" {
  terminal sh
  type_keys "stty -a | grep -o '[-]*icanon' ; wb run --rm -it --net none busybox sh" Enter
  eventually 10 shows '/ #'
  type_keys 'stty size; tty; test -t 0 && echo is-a-tty' Enter
  eventually 5 shows '^30 100'
  eventually 5 shows is-a-tty
  "${tmux[@]}" resize-window -t t -x 90 -y 25
  type_keys 'clear; stty size' Enter
  eventually 5 shows '^25 90'
  type_keys 'sleep 100' Enter
  sleep 0.3
  type_keys C-c
  type_keys 'echo interrupted-$?' Enter
  eventually 5 shows 'interrupted-130'
  type_keys 'clear; exit 5' Enter
  # What is typed before the client has left is the container's.
  eventually 5 shows '^# *$'
  type_keys 'echo status-$?; stty -a | grep -o "[-]*icanon"' Enter
  eventually 5 shows 'status-5'
  eventually 5 shows '^icanon'
}

@test "a terminal: detach keys, attach again, and a killed client" {
  terminal sh
  type_keys 'wb run -it --name d --net none busybox sh' Enter
  eventually 10 shows '/ #'
  type_keys C-p
  type_keys C-q
  type_keys 'echo "left-$?"' Enter
  eventually 5 shows 'left-0'
  [ "$(state d status)" = running ]
  type_keys 'clear; wb attach d' Enter
  sleep 0.3
  type_keys 'echo $((6 * 7))' Enter
  eventually 5 shows '^42'
  # Not the guard of the terminal, which came after it.
  client=$(pgrep -f '^wb-monitor attach d$' -o)
  kill -TERM "$client"
  # What is typed while it lives goes into the container.
  eventually 5 gone "$client"
  type_keys 'echo "term-$?"; stty -a | grep -o "[-]*icanon"' Enter
  eventually 5 shows 'term-143'
  eventually 5 shows '^icanon'
  [ "$(state d status)" = running ]
  wb logs d | grep -q 42
}

@test "a terminal: kill -9 of the client leaves it as it was" {
  terminal sh
  tty=$("${tmux[@]}" display-message -p -t t '#{pane_tty}')
  shell=$("${tmux[@]}" display-message -p -t t '#{pane_pid}')
  is_raw () { stty -F "$tty" -a | grep -q -- -icanon; }
  is_sane () { stty -F "$tty" -a | grep -q ' icanon.* echo '; }
  wb run -d --name e --net none busybox sleep 1000 >/dev/null
  for command in 'wb run -it --name k --net none busybox sh' 'wb attach k' 'wb exec -it e sh'; do
    echo "$command" >&2
    eventually 5 is_sane
    type_keys "$command" Enter
    eventually 10 is_raw
    # The client and the shell's whole job: only the guard has a session of its own.
    kill -9 -- "-$(ps -o tpgid= -p "$shell" | tr -d ' ')"
    eventually 5 is_sane
  done
  [ "$(state k status)" = running ]
  # A client that leaves in order needs no guard, and leaves none.
  type_keys 'clear; wb exec -it e true; echo "left-$?"' Enter
  eventually 10 shows '^left-0'
  is_sane
  left () {
    for pid in $(pgrep -f '^wb-monitor (exec|attach)'); do
      ! grep -qzsxF -- "WB_ROOT=$WB_ROOT" "/proc/$pid/environ" || return 1
    done
  }
  eventually 5 left
}

@test "a terminal: attach and exec follow its size, too" {
  terminal sh
  wb run -dit --name w --net none busybox sh >/dev/null
  for command in 'wb attach w' 'wb exec -it w sh'; do
    "${tmux[@]}" resize-window -t t -x 100 -y 30
    type_keys "clear; $command" Enter
    sleep 0.5
    type_keys 'clear; stty size' Enter
    eventually 5 shows '^30 100'
    "${tmux[@]}" resize-window -t t -x 80 -y 20
    sleep 0.2
    type_keys 'clear; stty size' Enter
    eventually 5 shows '^20 80'
    type_keys C-p C-q
    sleep 0.3
  done
}

@test "exec ends when the container does, whatever it was doing" {
  runs_inside () { wb top x -eo pid,args | grep -q 'sleep 999$'; }
  for how in '' '-i' '-d'; do
    start --name x busybox sleep 1000
    # An input that stays open.
    exec 7<> <(:)
    within 20 wb exec $how x sleep 999 <&7 >/dev/null 2>&1 &
    job=$!
    exec 7<&-
    eventually 5 runs_inside
    wb rm -f x
    status=0
    wait "$job" || status=$?
    case $how in
    -d) [ "$status" = 0 ] ;;
    *) [ "$status" = 137 ] ;;
    esac
  done
  # At the very moment of the end: any status, but no hang and nothing left.
  for wait in 0 0.02 0.04 0.06 0.08; do
    start --name x busybox sleep 1000
    { sleep $wait; wb kill x >/dev/null; } &
    for _ in 1 2 3 4; do
      status=0
      within 20 wb exec x true 2>/dev/null || status=$?
      [ "$status" != 124 ]
    done
    wait $!
    within 10 wb rm -f x
  done
}

@test "an end that is quicker than the word of it is not lost" {
  # A chain whose process ends at once, and that says half a second later which one it was.
  late='read -r pid rest </proc/self/stat; set -- ${rest##*)}
    { sleep 0.5; echo "{\"pid\":$$,\"startTime\":${20}}" >&4; } & exec sh -c "exit 7"'
  wb create --name late --net none busybox true >/dev/null
  WB_COMMAND_TIMEOUT=20 must_fail 7 wb-monitor run --attach late -- sh -c "$late"
  [ "$(state late exitCode)" = 7 ]
  echo '{"process":{"args":["x"]}}' >doc
  WB_COMMAND_TIMEOUT=20 must_fail 7 wb-monitor exec --doc doc -- sh -c "$late"
  wb rm late
}

@test "stop and the end of the container at the same moment" {
  for wait in 0.1 0.14 0.18 0.22; do
    start --name s busybox sh -c "sleep $wait; exit 3"
    sleep 0.1
    within 10 wb stop s
    [[ $(state s exitCode) =~ ^(3|143|137)$ ]]
    wb rm s
  done
}

@test "-it without a terminal is refused" {
  must_fail 1 wb run --rm -it --net none busybox true </dev/null
  [[ $stderr == *'not a terminal'* ]]
}

@test "exec: status, input, apart streams, a terminal, detached" {
  start --name e busybox sleep 1000
  must_fail 3 wb exec e sh -c 'echo out; echo err >&2; exit 3'
  [ "$output/$stderr" = out/err ]
  head -c 5000000 /dev/urandom >blob
  wb exec -i e cat <blob | cmp - blob
  must_fail 127 wb exec e nosuch
  [[ $stderr == *nosuch* ]]
  must_fail 126 wb exec e /etc/passwd
  wb exec -d e sh -c 'sleep 0.2; echo later >/tmp/later'
  must_fail 127 wb exec -d e nosuch
  eventually 5 wb exec e test -s /tmp/later
  # A child that keeps the stream does not keep the client.
  [ "$(within 5 wb exec e sh -c 'sleep 100 & echo now')" = now ]
  terminal sh
  type_keys 'wb exec -it e sh; echo "ended-$?"' Enter
  eventually 5 shows '/ #'
  type_keys 'clear; stty size; exit 9' Enter
  eventually 5 shows '^30 100'
  eventually 5 shows 'ended-9'
}

@test "restart: on failure, so often, and not when it was stopped" {
  start --name again --restart on-failure:2 busybox sh -c 'echo run; exit 1'
  eventually 10 sh -c "[ \"\$(jq -r .wb.state.status $WB_ROOT/containers/$(readlink "$WB_ROOT/names/again")/config.json)\" = exited ]"
  [ "$(wb logs again | wc -l)" = 3 ]
  [ "$(state again restartCount)" = 2 ]
  start --name always --restart always busybox sh -c 'echo run; sleep 0.1'
  eventually 5 sh -c '[ "$(wb logs always | wc -l)" -ge 3 ]'
  wb stop -t 0 always >/dev/null
  [ "$(state always status)" = exited ]
  [ "$(state always stopped)" = true ]
}

@test "health: starting, healthy, unhealthy, and what was said" {
  health () { [ "$(state h "health.$1")" = "$2" ]; }
  start --name h --health-cmd 'echo "is $(cat /tmp/well)"; test -e /tmp/well' --health-interval 300ms \
    --health-retries 2 busybox sh -c 'sleep 0.1; echo good >/tmp/well; exec sleep 1000'
  health status starting
  wb ps | grep -q 'health: starting'
  eventually 5 health status healthy
  wb ps | grep -q '(healthy)'
  [ "$(state h 'health.log[-1].Output')" = 'is good' ]
  wb exec h rm /tmp/well
  eventually 5 health status unhealthy
  [ "$(state h health.failingStreak)" -ge 2 ]
  [ "$(state h 'health.log[-1].ExitCode')" = 1 ]
  wb exec h touch /tmp/well
  eventually 5 health status healthy
  [ "$(state h 'health.log|length')" -le 5 ]
}

@test "health: a check that does not answer is killed" {
  start --name slow --health-cmd 'sleep 777' --health-interval 200ms --health-timeout 300ms --health-retries 1 \
    busybox sleep 1000
  eventually 5 [ "$(state slow health.status)" != '' ]
  eventually 5 sh -c "[ \"\$(jq -r .wb.state.health.status $WB_ROOT/containers/$(readlink "$WB_ROOT/names/slow")/config.json)\" = unhealthy ]"
  [ "$(state slow 'health.log[-1].ExitCode')" = -1 ]
  wb rm -f slow
  ! pgrep -f 'sleep 777' || return 1
}

@test "two monitors of one container: the second is refused" {
  start --name once busybox sleep 100
  id=$(readlink "$WB_ROOT/names/once")
  must_fail 125 wb-monitor run "$id" -- true
  [[ $stderr == *'has a monitor already'* ]]
}

@test "stop and kill: filters that say what they did" {
  start --name one busybox sleep 1000
  start --name two busybox sleep 1000
  { wb-state get one; wb-state get two; } | wb-monitor stop -t 0 | jq -r .wb.state.status >seen
  [ "$(cat seen)" = $'exited\nexited' ]
  wb-state get one | wb-monitor stop >/dev/null
  must_fail 1 sh -c 'wb-state get one | wb-monitor kill'
  [[ $stderr == *'not running'* ]]
  must_fail 2 sh -c 'wb-state get one | wb-monitor kill --signal NOSUCH'
}
