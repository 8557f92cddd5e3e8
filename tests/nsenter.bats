#!/usr/bin/env bats
# wb-nsenter: into what is running, as the kernel sees it.

load lib/common

setup () { wb_setup; }

teardown () {
  local pid
  for pid in ${started:-}; do kill -KILL "$pid" 2>/dev/null || true; done
  wb_teardown
}

# A process in namespaces of its own; its pid is in $target.
run_target () {
  wb-unshare --pid --mount --mount-proc --uts --ipc --net --hostname target "$@" -- sleep 300 &
  started="${started:-} $!"
  local front=$!
  eventually 5 pgrep -P $front
  target=$(pgrep -P $front)
  named () { [ "$(tr '\0' ' ' <"/proc/$target/cmdline")" = "sleep 300 " ]; }
  eventually 5 named
}

# The target as a running container's document.
document () {
  jq -n --argjson pid "$target" --argjson start "$(awk '{print $22}' "/proc/$target/stat")" \
    --arg boot "$(cat /proc/sys/kernel/random/boot_id)" --args '{process: {args: $ARGS.positional, cwd: "/",
    env: ["PATH=/bin:/usr/bin"]}, linux: {namespaces: ["pid", "mount", "uts", "ipc", "network"] | map({type: .})},
    wb: {id: "target", name: "web", seccomp: "unconfined",
    state: {status: "running", pid: $pid, startTime: $start, bootId: $boot}}}' -- "$@"
}

enter () { wb-nsenter run --doc 3 -- wb-confine --doc 3 3<doc.json; }

@test "each flag joins its namespace and no other" {
  run_target
  local kind flag other
  while read -r flag kind; do
    wb-nsenter --target "$target" "$flag" -- sh -c 'for n in ipc net uts; do echo $n $(readlink /proc/self/ns/$n); done' >inside
    for other in ipc net uts; do
      if [ "$other" = "$kind" ]; then
        [ "$(awk -v n=$other '$1 == n {print $2}' inside)" = "$(readlink "/proc/$target/ns/$other")" ]
      else
        [ "$(awk -v n=$other '$1 == n {print $2}' inside)" = "$(readlink /proc/self/ns/$other)" ]
      fi
    done
  done <<'END'
--ipc ipc
--net net
--uts uts
END
  [ "$(wb-nsenter -t "$target" --all -- hostname)" = target ]
  [ "$(wb-nsenter -t "$target" --all -- ps -o comm= 1)" = sleep ]
}

@test "a namespace by its file" {
  run_target
  [ "$(wb-nsenter "--uts=/proc/$target/ns/uts" -- hostname)" = target ]
  must_fail 1 wb-nsenter "--uts=/proc/$target/ns/net" -- hostname
  must_fail 1 wb-nsenter --net=/nosuch -- true
}

@test "a user namespace is entered as its root" {
  run_target --uid-map 0:200000:1000 --gid-map 0:200000:1000
  run wb-nsenter -t "$target" --all -- sh -c 'id -u; cat /proc/self/uid_map'
  [ "${lines[0]}" = 0 ]
  [[ ${lines[1]} = *200000* ]]
}

@test "statuses and signals come back" {
  run_target
  must_fail 7 wb-nsenter -t "$target" --all -- sh -c 'exit 7'
  must_fail 127 wb-nsenter -t "$target" --all -- nosuch
  must_fail 2 wb-nsenter -t "$target" -- true
  must_fail 2 wb-nsenter --net -- true
  must_fail 1 wb-nsenter -t 2147483647 --net -- true
  wb-nsenter -t "$target" --all -- sh -c "trap 'exit 9' TERM; echo up >$WB_SCRATCH/up; while :; do sleep 0.05; done" &
  local pid=$! status=0
  eventually 5 test -s up
  kill -TERM $pid
  wait $pid || status=$?
  [ "$status" = 9 ]
}

@test "run: all namespaces of the document's container, and its document" {
  run_target
  document sh -c 'hostname; for n in ipc mnt net pid uts; do echo $n $(readlink /proc/self/ns/$n); done' >doc.json
  enter >out
  [ "$(head -n 1 out)" = target ]
  local kind
  for kind in ipc mnt net pid uts; do
    [ "$(awk -v n=$kind '$1 == n {print $2}' out)" = "$(readlink "/proc/$target/ns/$kind")" ]
  done
  document sh -c 'exit 42' >doc.json
  must_fail 42 enter
  document nosuch >doc.json
  must_fail 127 enter
  document sh -c 'kill -KILL $$' >doc.json
  must_fail 137 enter
}

@test "run: the container's cgroup is joined, and by nobody else" {
  wb-cgroup -n create --id target --pids-limit 20 >group.json
  run_target
  document sh -c "echo up >$WB_SCRATCH/up; while [ -e $WB_SCRATCH/up ]; do sleep 0.05; done" | jq --slurpfile g group.json '.wb.cgroup = $g[0].wb.cgroup' >doc.json
  wb-nsenter run --doc 3 -- wb-confine --doc 3 3<doc.json &
  local pid=$!
  eventually 5 test -s up
  grep -q "/wb-$WB_MACHINE_HASH/target" "/proc/$(pgrep -P $pid)/cgroup"
  must_fail 1 grep -q "/wb-$WB_MACHINE_HASH/target" "/proc/$pid/cgroup"
  rm up
  wait $pid
  wb-cgroup delete <group.json >delete.json
}

@test "run: only the very process that is meant" {
  run_target
  refused () {
    document true | jq "$1" >doc.json
    must_fail 1 enter
    [[ $stderr = "wb-nsenter: run: web is $2"* ]]
  }
  refused '.wb.state.startTime += 1' 'not running'
  refused '.wb.state.bootId = "another"' 'not running'
  refused '.wb.state.pid = 2147483647' 'not running'
  refused '.wb.state.pid = 0' 'not running'
  refused '.wb.state.status = "exited"' 'not running'
  refused '.wb.state.status = "paused"' 'paused'
  refused 'del(.wb.state)' 'not running'
}

@test "run: a session of its own, no descriptor of the caller's, nothing to look into" {
  run_target
  document sh -c 'ls /proc/$$/fd; ps -o sid= -p $$; echo $$' >doc.json
  exec 7</etc
  enter >out
  exec 7<&-
  [ "$(head -n 3 out | paste -sd' ')" = "0 1 2" ]
  [ "$(sed -n 4p out | tr -d ' ')" = "$(sed -n 5p out)" ]
}

@test "run: a container that ptraces what enters gets nothing" {
  require_program python3
  # Inside: docker's root without CAP_SYS_PTRACE tries every new process.
  wb-unshare --pid --mount-proc -- wb-confine --seccomp default -- python3 -c '
import os
print("up", flush=True)
got = set()
while True:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or pid == "1": continue
        for name in ("environ", "mem", "fd/3", "fd/4", "cwd"):
            try:
                comm = open(f"/proc/{pid}/comm").read().strip()
                if not comm.startswith("wb-"): continue
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
                print("got", comm, name, flush=True)
            except OSError: pass
' >inside &
  started=$!
  eventually 5 grep -q up inside
  target=$(pgrep -P "$started")
  document true | jq '.linux.namespaces = [{type: "pid"}, {type: "mount"}]
    | .process.capabilities.bounding = ["CAP_KILL"]' >doc.json
  local n
  for n in $(seq 50); do enter; done
  must_fail 1 grep got inside
}

@test "run: what enters cannot type into the caller's terminal" {
  require_program python3
  run_target
  document python3 -c '
import fcntl
try:
    fcntl.ioctl(0, 0x5412, b"x")
    print("typed")
except OSError as error:
    print("refused", error.errno)' >doc.json
  # Standard input is a terminal that controls the caller's session.
  python3 - <<'END' >out
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "wb-nsenter run --doc 3 -- wb-confine --doc 3 3<doc.json"])
text = b""
try:
    while True:
        chunk = os.read(fd, 4096)
        if not chunk: break
        text += chunk
except OSError: pass
sys.stdout.write(text.decode())
END
  grep -q refused out
  must_fail 1 grep -q typed out
}

@test "run: the start and a failure are reported on the status pipe" {
  run_target
  document nosuch >doc.json
  run --separate-stderr wb-nsenter run --doc 3 --status-fd 4 -- wb-confine --doc 3 --status-fd 4 3<doc.json 4>status
  eventually 5 grep -q error status
  [ "$stderr" = "" ]
  [ "$(jq -r 'select(.error).error.code' status)" = 127 ]
  [ "$(jq -r 'select(.pid).startTime' status)" -gt 0 ]
}
