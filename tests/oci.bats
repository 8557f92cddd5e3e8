#!/usr/bin/env bats
# wb-oci: the command line that engines write, and a container's life (runtime.md).

load lib/common
load lib/oci

setup () {
  wb_setup
  oci_bundle
}
teardown () {
  oci_clean
  wb_teardown
}

sleeper () { configure '.process.args = ["sleep", "300"]'; }
command_of () { tr '\0' ' ' <"/proc/$(pid_of "$1")/cmdline"; }

@test "run: the program's output and exit status, and nothing is left" {
  configure '.process.args = ["sh", "-c", "echo $$; hostname; exit 7"]'
  must_fail 7 run_it one
  [ "$output" = $'1\nwb' ]
  [ -z "$stderr" ]
  [ -z "$(wb-oci list -q)" ]
  [ -z "$(wb_cgroups)" ]
}

@test "create, start, state, kill, delete" {
  sleeper
  create one --pid-file pid
  has_status one created
  [ "$(cat pid)" = "$(pid_of one)" ]
  # What waits there is none of the user's: it has not been executed.
  [ "$(command_of one)" != 'sleep 300 ' ]
  wb-oci start one
  has_status one running
  [ "$(command_of one)" = 'sleep 300 ' ]
  must_fail 1 wb-oci delete one
  [[ $stderr = *'cannot delete container one that is not stopped: running' ]]
  has_status one running
  wb-oci kill one KILL
  eventually 5 has_status one stopped
  [ "$(pid_of one)" = 0 ]
  wb-oci delete one
  must_fail 1 wb-oci state one
  [ -z "$(wb_cgroups)" ]
}

@test "a container's state is the specification's" {
  sleeper
  configure '.annotations = {"org.example.key": "value"}'
  create one
  wb-oci state one >state
  [ "$(jq -c '[.ociVersion, .id, .status, .bundle, .annotations, (.pid | type)]' state)" = \
    "[\"1.2.0\",\"one\",\"created\",\"$bundle\",{\"org.example.key\":\"value\"},\"number\"]" ]
  # Whatever becomes of config.json afterwards is no matter.
  configure '.annotations = {} | .process.args = ["true"]'
  wb-oci start one
  [ "$(wb-oci state one | jq -c .annotations)" = '{"org.example.key":"value"}' ]
  [ "$(command_of one)" = 'sleep 300 ' ]
}

@test "errors of the life cycle, each without an effect" {
  sleeper
  must_fail 1 wb-oci start nosuch
  [[ $stderr = *'container does not exist: nosuch' ]]
  for verb in state kill delete pause resume 'exec nosuch true' ps 'update --pids-limit 5' 'events --stats'; do
    case $verb in
    exec*) must_fail 1 wb-oci exec nosuch true ;;
    *) must_fail 1 wb-oci $verb nosuch ;;
    esac
  done
  wb-oci delete --force nosuch
  create one
  local pid
  pid=$(pid_of one)
  must_fail 1 wb-oci create --bundle "$bundle" one
  [[ $stderr = *'container with given ID already exists: one' ]]
  [ "$(pid_of one)" = "$pid" ]
  must_fail 1 wb-oci delete one
  [[ $stderr = *'not stopped: created' ]]
  wb-oci start one
  must_fail 1 wb-oci start one
  [[ $stderr = *'cannot start an already running container' ]]
  [ "$(pid_of one)" = "$pid" ]
  wb-oci kill one 9
  eventually 5 has_status one stopped
  must_fail 1 wb-oci start one
  must_fail 1 wb-oci kill one
  [[ $stderr = *'container not running' ]]
  must_fail 1 wb-oci exec one true
  must_fail 1 wb-oci pause one
  wb-oci delete one
  for id in '' . .. a/b 'a b' ../x; do must_fail 1 wb-oci create --bundle "$bundle" "$id"; done
  for verb in create start state kill delete; do must_fail 2 wb-oci "$verb"; done
}

@test "a kill before the start ends it" {
  sleeper
  create one
  wb-oci kill one KILL
  eventually 5 has_status one stopped
  must_fail 1 wb-oci start one
  wb-oci delete one
}

@test "the status is true whoever is killed" {
  sleeper
  create one
  wb-oci start one
  kill -KILL "$(pid_of one)"
  eventually 5 has_status one stopped
  wb-oci delete one
  # The one who waits for the end.
  wb-oci run --bundle "$bundle" two >/dev/null 2>&1 3>&- </dev/null &
  local runner=$!
  running () { [ "$(status_of two 2>/dev/null)" = running ]; }
  eventually 10 running
  kill -KILL $runner
  wait $runner || true
  has_status two running
  wb-oci delete --force two
  [ -z "$(wb-oci list -q)" ]
  [ -z "$(wb_cgroups)" ]
}

# What a killed maker has started may be on its way still.
is_settled () {
  case $(status_of "$1" 2>/dev/null) in
  created | stopped | '') ;;
  *) false ;;
  esac
}

@test "one who makes a container is killed: nothing runs, and delete --force takes the rest away" {
  sleeper
  local n
  for n in 1 2 3 4 5 6; do
    wb-oci create --bundle "$bundle" "c$n" >/dev/null 2>&1 3>&- </dev/null &
    local maker=$!
    sleep 0.0$n
    kill -KILL $maker 2>/dev/null || true
    wait $maker || true
    eventually 5 is_settled "c$n"
    wb-oci delete --force "c$n"
  done
  [ -z "$(wb-oci list -q)" ]
  [ -z "$(wb_cgroups)" ]
}

@test "exec: streams, status, user, environment, directory, and a process from a file" {
  sleeper
  create one
  wb-oci start one
  [ "$(wb-oci exec one sh -c 'echo out; echo err >&2' 2>err)" = out ]
  [ "$(cat err)" = err ]
  [ "$(echo in | wb-oci exec one cat)" = in ]
  must_fail 5 wb-oci exec one sh -c 'exit 5'
  [ "$(wb-oci exec --user 7:8 --additional-gids 9,10 one id -G)" = '8 9 10' ]
  # shellcheck disable=SC2016 # the container's variable
  [ "$(wb-oci exec one --env A=b --cwd /tmp sh -c 'echo $A $PWD')" = 'b /tmp' ]
  [ "$(wb-oci exec --cap CAP_SYS_ADMIN one grep CapBnd /proc/self/status)" != "$(wb-oci exec one grep CapBnd /proc/self/status)" ]
  jq '.process | .args = ["sh", "-c", "echo $B; id -u"] | .env += ["B=c"] | .user.uid = 33' "$bundle/config.json" >process.json
  [ "$(wb-oci exec --process process.json one)" = $'c\n33' ]
  must_fail 127 wb-oci exec one nosuch
  [[ $stderr = *'executable file not found in PATH'* ]]
  # In its namespaces and its cgroup.
  [ "$(wb-oci exec one readlink /proc/self/ns/pid)" = "$(readlink "/proc/$(pid_of one)/ns/pid")" ]
  wb-oci exec --detach --pid-file pid one sleep 200 >/dev/null 2>&1 </dev/null
  [ "$(tr '\0' ' ' <"/proc/$(cat pid)/cmdline")" = 'sleep 200 ' ]
  [ "$(grep -v ^0: "/proc/$(cat pid)/cgroup")" = "$(grep -v ^0: "/proc/$(pid_of one)/cgroup")" ]
  [ "$(wb-oci ps --format json one | jq length)" = 2 ]
  wb-oci ps one | grep -q 'sleep 200'
}

@test "pause and resume; a paused container takes no exec" {
  sleeper
  create one
  wb-oci start one
  wb-oci pause one
  has_status one paused
  must_fail 1 wb-oci exec one true
  [[ $stderr = *'cannot exec in a paused container'* ]]
  must_fail 1 wb-oci pause one
  wb-oci resume one
  has_status one running
  wb-oci exec one true
  must_fail 1 wb-oci resume one
  # A killed one dies though it is frozen, and so does a deleted one.
  wb-oci pause one
  wb-oci kill one KILL
  eventually 5 has_status one stopped
  wb-oci delete one
  create two
  wb-oci start two
  wb-oci pause two
  wb-oci delete --force two
}

@test "a cgroup that is somebody's, or frozen, is refused and left alone" {
  sleeper
  configure '.linux.cgroupsPath = "shared"'
  create one
  wb-oci start one
  must_fail 1 wb-oci create --bundle "$bundle" two
  [[ $stderr = *'the cgroup is there, with 1 processes in it' ]]
  has_status one running
  [ "$(wb-oci list -q)" = one ]
  wb-oci pause one
  must_fail 1 wb-oci create --bundle "$bundle" two
  [[ $stderr = *frozen* ]]
}

@test "exec --cgroup: into a cgroup below the container's, of all controllers or of those named" {
  test -d /sys/fs/cgroup/pids || skip "hardware: cgroup v1"
  sleeper
  create one
  wb-oci start one
  local pid controller
  pid=$(pid_of one)
  own () { awk -F: -v name="$1" '$2 == name { print $3 }' "$2"; }
  for controller in pids memory; do mkdir "/sys/fs/cgroup/$controller$(own "$controller" "/proc/$pid/cgroup")/below"; done
  # Whose number is the host's: the container sees its own cgroup as the root.
  wb-oci exec --detach --pid-file inner --cgroup pids,memory:below one sleep 300 >/dev/null 2>&1 </dev/null
  for controller in pids memory; do
    [ "$(own "$controller" "/proc/$(cat inner)/cgroup")" = "$(own "$controller" "/proc/$pid/cgroup")/below" ]
  done
  [ "$(own freezer "/proc/$(cat inner)/cgroup")" = "$(own freezer "/proc/$pid/cgroup")" ]
  wb-oci exec --detach --pid-file inner --cgroup pids:/below one sleep 300 >/dev/null 2>&1 </dev/null
  [ "$(own pids "/proc/$(cat inner)/cgroup")" = "$(own pids "/proc/$pid/cgroup")/below" ]
  [ "$(own memory "/proc/$(cat inner)/cgroup")" = "$(own memory "/proc/$pid/cgroup")" ]
  # Who is below is one of the container's, and goes with it.
  [ "$(wb-oci ps --format json one | jq length)" = 3 ]
  must_fail 1 wb-oci exec --cgroup below one true
  [[ $stderr = *'is missing' ]]
  must_fail 2 wb-oci exec --cgroup ../below one true
  wb-oci delete --force one
  [ ! -e "/proc/$(cat inner)" ]
}

@test "events: the accounts again and again, to the container's end" {
  sleeper
  create one
  wb-oci start one
  wb-oci events --interval 50ms one >events 2>events.err </dev/null 3>&- &
  local watcher=$! status=0
  three () { [ "$(wc -l <events)" -ge 3 ]; }
  eventually 20 three
  kill -0 $watcher
  wb-oci kill one KILL
  ended () { ! kill -0 $watcher 2>/dev/null; }
  eventually 20 ended
  wait $watcher || status=$?
  [ "$status" = 0 ] && [ ! -s events.err ]
  [ "$(jq -r '[.type, .id, (.data.pids.current | type)] | join(" ")' events | sort -u)" = 'stats one number' ]
  must_fail 1 wb-oci events --interval 50ms one
  [[ $stderr = *'container not running' ]]
  must_fail 2 wb-oci events --interval 0s one
}

@test "update: flags and a file" {
  sleeper
  create one
  wb-oci start one
  local id
  id=$(wb-oci state one | jq -r .id)
  wb-oci update --memory 64m --pids-limit 33 one
  group=$(awk -F: '$2 == "memory" || $1 == 0 && !found { found = $2; path = $3 } END { print path }' "/proc/$(pid_of one)/cgroup")
  if [ -d "/sys/fs/cgroup/memory$group" ]; then
    [ "$(cat "/sys/fs/cgroup/memory$group/memory.limit_in_bytes")" = $((64 << 20)) ]
    [ "$(cat "/sys/fs/cgroup/pids$group/pids.max")" = 33 ]
  fi
  # What engines write: 0 for what is to stay.
  echo '{"memory": {"limit": 0, "reservation": 0}, "cpu": {"shares": 512, "quota": 0, "cpus": ""}, "pids": {"limit": 44}}' |
    wb-oci update --resources - one
  wb-oci events --stats one >stats
  [ "$(jq -r '[.type, .id, .data.pids.limit, .data.memory.usage.limit] | @csv' stats)" = '"stats","one",44,67108864' ]
  must_fail 1 wb-oci update --l3-cache-schema x one
}

@test "list: a table, JSON, ids" {
  [ "$(wb-oci list --format json)" = null ]
  sleeper
  create one
  create two
  [ "$(wb-oci list -q)" = $'one\ntwo' ]
  [ "$(wb-oci list --format json | jq -c 'map([.id, .status, .bundle])')" = "[[\"one\",\"created\",\"$bundle\"],[\"two\",\"created\",\"$bundle\"]]" ]
  wb-oci list | head -n 1 | grep -qE '^ID +PID +STATUS +BUNDLE +CREATED +OWNER$'
}

@test "errors in a log as engines read them; silence where nothing fails" {
  sleeper
  create one
  wb-oci --log log --log-format json start one >out 2>&1
  [ ! -s out ] && [ ! -s log ]
  must_fail 1 wb-oci --log log --log-format json start one
  [ "$(jq -r '[.level, .msg] | join(" ")' log)" = 'error cannot start an already running container' ]
  jq -e '.time | fromdate' log
  must_fail 1 wb-oci --log log.txt start one
  grep -q '^time="[^"]*" level=error msg="cannot start an already running container"$' log.txt
  [ "$stderr" = 'wb-oci: start: cannot start an already running container' ]
  # Another place has other containers.
  must_fail 1 wb-oci --root "$WB_SCRATCH/other" state one
  [ "$(wb-oci --version | head -n 1 | cut -d' ' -f 1-2)" = 'wb-oci version' ]
  wb-oci --version | grep -qx 'spec: 1.2.0'
}

@test "the program that is not there: 127, before anything is started" {
  configure '.process.args = ["nosuch"]'
  must_fail 127 run_it one
  [[ $stderr = *'"nosuch": executable file not found in PATH'* ]]
  must_fail 127 wb-oci create --bundle "$bundle" one
  configure '.process.args = ["/etc/passwd"]'
  must_fail 126 run_it one
  [ -z "$(wb-oci list -q)" ]
  [ -z "$(wb_cgroups)" ]
}

@test "descriptors: those asked for, and none else" {
  configure '.process.args = ["sh", "-c", "cat <&3; ls /proc/self/fd | tr \"\\n\" \" \""]'
  echo hello >hello
  [ "$(within 60 wb-oci run --preserve-fds 1 --bundle "$bundle" one 3<hello 9</etc/passwd </dev/null)" = $'hello\n0 1 2 3 4 ' ]
  must_fail 1 wb-oci run --preserve-fds 30 --bundle "$bundle" one
  [[ $stderr = *'is not open' ]]
  # Socket activation hands them over without being asked.
  configure '.process.args = ["cat", "/proc/self/fd/3"]'
  [ "$(LISTEN_FDS=1 within 60 wb-oci run --bundle "$bundle" one 3<hello </dev/null)" = hello ]
}

@test "a terminal: its other end goes to a socket, with the size asked for" {
  configure '.process.terminal = true | .process.consoleSize = {height: 33, width: 111} | .process.args = ["sh", "-c", "stty size; tty; read x; echo got $x"]'
  must_fail 1 wb-oci create --bundle "$bundle" one
  [[ $stderr = *'--console-socket is missing' ]]
  python3 - console.sock >console.out <<'END' &
import array, os, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(sys.argv[1])
listener.listen()
connection, _ = listener.accept()
message, control, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
master = array.array('i', control[0][2])[0]
os.write(master, b'words\n')
data = b''
try:
    while chunk := os.read(master, 1000):
        data += chunk
except OSError:
    pass
sys.stdout.write(message.decode() + '\n' + data.decode())
END
  local receiver=$!
  eventually 10 test -S console.sock
  create one --console-socket console.sock
  wb-oci start one
  wait $receiver
  grep -q ptmx console.out
  grep -q '33 111' console.out
  grep -q '/dev/' console.out
  grep -q 'got words' console.out
  eventually 5 has_status one stopped
  # Without a terminal there is nothing to send.
  configure '.process.terminal = false'
  must_fail 1 wb-oci create --bundle "$bundle" --console-socket console.sock two
}

@test "a terminal in the foreground is the caller's" {
  configure '.process.terminal = true | .process.args = ["sh", "-c", "tty; test -t 0 && echo terminal; exit 3"]'
  within 60 script -qec "wb-oci run --bundle $bundle one" /dev/null >out 2>&1 </dev/null 3>&- || [ $? = 3 ]
  grep -q terminal out
}

@test "--no-pivot: the root by chroot, over the host's, whose proc and sysfs are gone; runc's outcome" {
  configure '.process.args = ["sh", "-c", "ls / /..; cd /; ls ../../..; grep -c . /proc/self/mountinfo; (echo x >/sys/x) 2>/dev/null || echo refused"]'
  within 60 runc --root "$WB_SCRATCH/runc" run --no-pivot --bundle "$bundle" "wb-$WB_MACHINE_HASH" >out.runc 2>&1 3>&- </dev/null
  within 60 strace -f -qq -o trace -e trace=pivot_root,chroot,umount2 wb-oci run --no-pivot --bundle "$bundle" one >out.wb 2>&1 3>&- </dev/null
  diff <(grep -v '^[0-9]*$' out.runc) <(grep -v '^[0-9]*$' out.wb)
  ! grep -q pivot_root trace || false
  [ "$(grep -c 'chroot("\.") *= 0' trace)" = 1 ]
  grep -q 'umount2("/proc", MNT_DETACH) *= 0' trace
  grep -q 'umount2("/sys", MNT_DETACH) *= 0' trace
  # The namespace of the container alone: the host has its own still.
  test -d /proc/self && test -d /sys/kernel
  # exec goes where the container is.
  sleeper
  create one --no-pivot
  wb-oci start one
  [ "$(wb-oci exec one ls /)" = "$(ls "/proc/$(pid_of one)/root")" ]
  wb-oci delete --force one
  # Without the word there is no chroot.
  configure '.process.args = ["true"]'
  within 60 strace -f -qq -o trace -e trace=pivot_root,chroot wb-oci run --bundle "$bundle" two 3>&- </dev/null
  grep -q pivot_root trace
  ! grep -q chroot trace || false
}

@test "spec, features" {
  must_fail 1 wb-oci spec --bundle "$bundle"
  mkdir other
  wb-oci spec --rootless --bundle other
  [ "$(jq -c '[.linux.uidMappings[0].hostID, ([.linux.namespaces[].type] | index("user") != null)]' other/config.json)" = '[0,true]' ]
  wb-oci features >features
  [ "$(jq -c '[.ociVersionMin, .ociVersionMax, .linux.seccomp.enabled, .linux.intelRdt.enabled, .linux.cgroup.systemd]' features)" = \
    '["1.0.0","1.2.0",true,false,false]' ]
  [ "$(jq -c .hooks features)" = '["prestart","createRuntime","createContainer","startContainer","poststart","poststop"]' ]
}

@test "those of it that stay are smaller than 8 MiB" {
  sleeper
  create one
  peak () { awk '$1 == "VmHWM:" { exit !($2 < 8192) }' "/proc/$1/status"; }
  peak "$(pid_of one)"
  wb-oci run --bundle "$bundle" two >/dev/null 2>&1 3>&- </dev/null &
  running () { [ "$(status_of two 2>/dev/null)" = running ]; }
  eventually 10 running
  peak $!
  wb-oci kill two KILL
  wait $! || [ $? = 137 ]
}
