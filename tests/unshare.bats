#!/usr/bin/env bats
# wb-unshare: namespaces as the kernel sees them.

load lib/common

setup () { wb_setup; }

teardown () {
  # What a creation leaves for wb-state to remove.
  rm -rf "${WB_SCRATCH:?}/run/containers/two"
  wb_teardown
}

# The chain as wb-unshare create runs it, with the parts that are wanted.
root_document () {
  local tar root=$WB_SCRATCH/bb
  tar=$(busybox_tar)
  mkdir "$root"
  tar -C "$root" -xf "$tar"
  jq -n --arg root "$root" --arg out "$WB_SCRATCH" '{ociVersion: "1.2.0",
    process: {args: ["sh", "-c", "echo in; sleep 60"], cwd: "/", env: ["PATH=/bin"], user: {uid: 0, gid: 0}},
    root: {path: $root}, hostname: "two", mounts: [{destination: "/proc", type: "proc", source: "proc"}],
    linux: {namespaces: [{type: "pid"}, {type: "uts"}, {type: "mount"}, {type: "ipc"}, {type: "network"}]},
    wb: {id: "two"}}'
}

chain=(wb-rootfs enter --doc 3 --status-fd 4 -- wb-confine --doc 3 --status-fd 4 --start-fd 5)

@test "each flag makes its namespace and leaves the others alone" {
  local kind flag other
  while read -r flag kind; do
    wb-unshare "$flag" -- sh -c 'for n in cgroup ipc mnt net pid user uts; do echo $n $(readlink /proc/self/ns/$n); done' >inside
    for other in cgroup ipc mnt net pid user uts; do
      if [ "$other" = "$kind" ]; then
        [ "$(awk -v n=$other '$1 == n {print $2}' inside)" != "$(readlink /proc/self/ns/$other)" ]
      else
        [ "$(awk -v n=$other '$1 == n {print $2}' inside)" = "$(readlink /proc/self/ns/$other)" ]
      fi
    done
  done <<'END'
--cgroup cgroup
--ipc ipc
--mount mnt
--net net
--pid pid
--user user
--uts uts
END
}

@test "the command is process 1 and its status comes back" {
  [ "$(wb-unshare --pid -- sh -c 'echo $$')" = 1 ]
  must_fail 7 wb-unshare --pid -- sh -c 'exit 7'
  must_fail 143 wb-unshare --pid -- sh -c 'sh -c "kill -TERM \$\$"; exit $?'
  must_fail 3 wb-unshare --uts -- sh -c 'exit 3'
}

@test "a signal reaches the command, and its end comes back" {
  wb-unshare --pid -- sh -c 'trap "exit 9" TERM; echo up >up; while :; do sleep 0.05; done' &
  local pid=$!
  eventually 5 test -s up
  kill -TERM $pid
  local status=0
  wait $pid || status=$?
  [ "$status" = 9 ]
}

@test "the command ends when wb-unshare is killed" {
  wb-unshare --pid -- sleep 4711 &
  local pid=$! child
  eventually 5 pgrep -P $pid
  child=$(pgrep -P $pid)
  kill -KILL $pid
  wait $pid || true
  gone () { [ ! -e "/proc/$child" ] || grep -q '^State:.Z' "/proc/$child/status"; }
  eventually 5 gone
}

@test "names, loopback, /proc and clocks are the namespace's own" {
  [ "$(wb-unshare --hostname lab -- hostname)" = lab ]
  [ "$(hostname)" != lab ]
  wb-unshare --net -- ip -brief address show lo | grep -q 127.0.0.1/8
  [ "$(wb-unshare --pid --mount-proc -- sh -c 'ls -d /proc/[0-9]*' | head -n 1)" = /proc/1 ]
  local before after
  before=$(cut -d. -f1 /proc/uptime)
  after=$(wb-unshare --boottime 500000 -- cut -d. -f1 /proc/uptime)
  [ $((after - before)) -ge 500000 ]
  [ $((after - before)) -lt 500060 ]
}

@test "a mount made inside does not reach the host" {
  mkdir there
  wb-unshare --mount -- mount -t tmpfs inside "$WB_SCRATCH/there"
  must_fail 1 grep -q "$WB_SCRATCH/there" /proc/self/mountinfo
}

@test "user namespaces: root without being root, and whole ranges" {
  [ "$(wb-unshare --map-root-user -- cat /proc/self/uid_map | tr -s ' ')" = " 0 0 1" ]
  # The place is root's alone.
  cp "$(command -v wb-unshare)" /tmp/wb-unshare.$$
  run su nobody -s /bin/sh -c "/tmp/wb-unshare.$$ --user --map-root-user --pid -- sh -c 'id -u; cat /proc/self/setgroups'"
  rm -f /tmp/wb-unshare.$$
  [ "$status" = 0 ]
  [ "${lines[0]}" = 0 ]
  [ "${lines[1]}" = deny ]
  [ "$(wb-unshare --uid-map 0:100000:65536 --gid-map 0:100000:65536 -- cat /proc/self/uid_map | tr -s ' ')" = " 0 100000 65536" ]
  [ "$(wb-unshare --uid-map 0:100000:65536 --gid-map 0:100000:65536 -- id -u)" = 0 ]
}

@test "a command that is not there is 127, one that cannot be executed 126, nonsense 2" {
  must_fail 127 wb-unshare --uts -- nosuch
  [ "$stderr" = "wb-unshare: exec nosuch: No such file or directory (ENOENT)" ]
  must_fail 127 wb-unshare --pid -- nosuch
  must_fail 126 wb-unshare --pid -- /etc/passwd
  must_fail 2 wb-unshare --nosuch
  must_fail 2 wb-unshare --uid-map 0:1 --user -- true
}

@test "run: a document's namespaces, joined and made" {
  ip netns add "wbt$$"
  local inode
  inode=$(stat -L -c %i "/run/netns/wbt$$")
  jq -n --arg path "/run/netns/wbt$$" '{hostname: "doc", domainname: "dom",
    linux: {namespaces: [{type: "pid"}, {type: "uts"}, {type: "network", path: $path}]}}' >doc.json
  run wb-unshare run --doc doc.json -- sh -c 'echo $$; uname -n; cat /proc/sys/kernel/domainname; readlink /proc/self/ns/net'
  ip netns delete "wbt$$"
  [ "$status" = 0 ]
  [ "${lines[0]}" = 1 ]
  [ "${lines[1]}" = doc ]
  [ "${lines[2]}" = dom ]
  [ "${lines[3]}" = "net:[$inode]" ]
}

@test "run: the document travels on, and the start is reported" {
  echo '{"linux":{"namespaces":[{"type":"pid"}]}}' >doc.json
  wb-unshare run --doc 3 --status-fd 4 -- sh -c 'cat <&3 >seen; echo $$ >pid; exec 4>&-; sleep 2' 3<doc.json 4>status
  eventually 5 test -s pid
  cmp seen doc.json
  [ "$(cat pid)" = 1 ]
  local pid
  pid=$(jq -r 'select(.pid).pid' status)
  [ "$(jq -r 'select(.pid).startTime' status)" = "$(awk '{print $22}' "/proc/$pid/stat")" ]
  eventually 5 test ! -e "/proc/$pid"
}

@test "run: a failure goes down the status pipe and not to standard error" {
  echo '{"linux":{"namespaces":[{"type":"pid"}]}}' >doc.json
  run --separate-stderr wb-unshare run --doc 3 --status-fd 4 -- nosuch 3<doc.json 4>status
  eventually 5 grep -q error status
  [ "$stderr" = "" ]
  [ "$(jq -r 'select(.error).error.code' status)" = 127 ]
  [ "$(jq -r 'select(.error).error.tool' status)" = wb-unshare ]
}

@test "run: the cgroup is joined, and is the root of what is seen" {
  wb-cgroup -n create --id g --pids-limit 20 |
    jq '.linux.namespaces = [{type: "pid"}, {type: "cgroup"}, {type: "mount"}]' >doc.json
  wb-unshare run --doc doc.json -- sh -c 'cat /proc/self/cgroup >inside; cat /proc/1/cgroup >/dev/null; sleep 4' &
  local pid=$! child
  eventually 5 test -s inside
  child=$(pgrep -P $pid)
  local machine=wb-$WB_MACHINE_HASH
  # From outside its cgroup has our name, from inside it is the root.
  grep -q "/$machine/g" "/proc/$child/cgroup"
  must_fail 1 grep -q "/$machine/g" inside
  # Who made it counts for nothing inside.
  must_fail 1 grep -q "/$machine/g" "/proc/$pid/cgroup"
  wait $pid
  wb-cgroup delete <doc.json >delete.json
}

@test "run: what would touch the whole machine is refused before anything is made" {
  refused () {
    echo "$1" >doc.json
    must_fail 1 wb-unshare run --doc doc.json -- true
    [[ $stderr = *"$2"* ]]
  }
  refused '{"hostname":"x"}' 'the host would be renamed'
  refused '{"linux":{"namespaces":[{"type":"network"}],"sysctl":{"kernel.panic":"1"}}}' "the whole machine's"
  refused '{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}' 'needs a network namespace'
  refused '{"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}' 'twice'
  refused '{"linux":{"namespaces":[{"type":"nosuch"}]}}' 'unknown type'
  refused '{"linux":{"namespaces":[{"type":"network","path":"/proc/self/ns/uts"}]}}' 'join the network namespace'
  refused '{"linux":{"namespaces":[{"type":"user"}]}}' 'uidMappings'
  must_fail 1 wb-unshare run --doc /nosuch -- true
  must_fail 2 wb-unshare run -- true
}

@test "create leaves a process that has not run the program, start runs it, once" {
  root_document >doc.json
  exec 6</dev/null 7>out
  wb-unshare create --doc doc.json --stdio 6,7,2 -- "${chain[@]}" >created.json
  exec 6<&- 7>&-
  local pid
  pid=$(jq .wb.state.pid created.json)
  [ "$(jq -r .wb.state.status created.json)" = created ]
  [ "$(jq .wb.state.startTime created.json)" = "$(awk '{print $22}' "/proc/$pid/stat")" ]
  [ "$(cat "/proc/$pid/comm")" = wb-confine ]
  [ ! -s out ]
  # An id that is there already is refused.
  must_fail 1 wb-unshare create --doc doc.json -- "${chain[@]}"
  [ "$stderr" = "wb-unshare: create: the container exists already" ]

  wb-unshare start <created.json >running.json
  [ "$(jq -r .wb.state.status running.json)" = running ]
  eventually 5 grep -qx in out
  must_fail 1 wb-unshare start --doc created.json
  [ "$stderr" = "wb-unshare: start: the container is not waiting to be started" ]
  kill -KILL "$pid"
  eventually 5 test ! -e "/proc/$pid/ns/pid"
  must_fail 1 wb-unshare start --doc created.json
}

@test "a container that is killed before it is started ends, and cannot be started" {
  root_document >doc.json
  wb-unshare create --doc doc.json -- "${chain[@]}" >created.json
  local pid
  pid=$(jq .wb.state.pid created.json)
  kill -KILL "$pid"
  ended () { [ ! -e "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status"; }
  eventually 5 ended
  must_fail 1 wb-unshare start --doc created.json
  [ "$stderr" = "wb-unshare: start: the container has ended" ]
}

@test "a creation that fails says why and leaves nothing" {
  root_document | jq '.process.args = ["nosuch"]' >doc.json
  must_fail 127 wb-unshare create --doc doc.json -- "${chain[@]}"
  [[ $stderr = *'exec: "nosuch": executable file not found in PATH' ]]
  [ "$(jq -r .wb.error.code <<<"$output")" = 127 ]
  [ ! -e "$WB_RUN/containers/two" ]
}

@test "hooks run at their moments, in order, with the state on standard input" {
  hook () { jq -n --arg say "$1" --arg out "$WB_SCRATCH/hooks" '[{path: "/bin/sh", args: ["sh", "-c",
    ("echo " + $say + " $(cat | tr -d \"\\n\") >>" + $out)], env: ["PATH=/bin:/usr/bin"]}]'; }
  root_document | jq --argjson a "$(hook prestart)" --argjson b "$(hook createRuntime)" \
    --argjson c "$(hook createContainer)" --argjson d "$(hook poststart)" --argjson e "$(hook poststop)" \
    '.hooks = {prestart: $a, createRuntime: $b, createContainer: $c, poststart: $d, poststop: $e}
     | .hooks.startContainer = [{path: "/bin/sh", args: ["sh", "-c", "cat >/hooked"]}]' >doc.json
  wb-unshare create --doc doc.json -- "${chain[@]}" >created.json
  local pid
  pid=$(jq .wb.state.pid created.json)
  [ "$(cut -d' ' -f1 hooks | paste -sd,)" = prestart,createRuntime,createContainer ]
  [ "$(sed 's/^[^ ]* //' hooks | jq -s -c '[.[] | .status, .pid]')" = "[\"creating\",$pid,\"creating\",$pid,\"creating\",$pid]" ]
  [ ! -e bb/hooked ]
  wb-unshare start <created.json >running.json
  eventually 5 test -s bb/hooked
  eventually 5 grep -q '^poststart {.*"status":"running"' hooks
  kill -KILL "$pid"
  wb-unshare hook poststop <running.json >/dev/null
  grep -q '^poststop {.*"status":"stopped"' hooks
}

@test "a hook that fails or takes too long ends the creation" {
  root_document | jq '.hooks.createRuntime = [{path: "/bin/false"}]' >doc.json
  must_fail 1 wb-unshare create --doc doc.json -- "${chain[@]}"
  [ "$stderr" = "wb-unshare: create: hook /bin/false: exit status 1" ]
  jq '.hooks.createRuntime = [{path: "/bin/sleep", args: ["sleep", "30"], timeout: 1}]' doc.json >slow.json
  must_fail 1 wb-unshare create --doc slow.json -- "${chain[@]}"
  [ "$stderr" = "wb-unshare: create: hook /bin/sleep: killed after 1 seconds" ]
}

@test "the trace agrees with strace" {
  require_program strace
  WB_TRACE=1 strace -f -qq -e trace=clone3,unshare,setns,sethostname -o calls \
    wb-unshare --pid --hostname x -- true 2>trace
  [ "$(grep -c 'clone3(' trace)" = "$(grep -c 'clone3(' calls)" ]
  grep -q 'clone3({flags=CLONE_NEWUTS|CLONE_NEWPID, exit_signal=SIGCHLD' trace
  grep -q 'sethostname("x", 1) *= 0' trace
  grep -q 'sethostname("x", 1) *= 0' calls
}
