#!/usr/bin/env bats
# wb-confine: privileges as /proc and the kernel's own answers show them.

load lib/common

setup () { wb_setup; }
teardown () { wb_teardown; }

# The value of a line of /proc/self/status under wb-confine with these flags.
status_line () {
  local line=$1
  shift
  wb-confine "$@" -- awk -v line="$line:" '$1 == line {print $2}' /proc/self/status
}

# What a capability set can at most be here.
bounding=$(awk '$1 == "CapBnd:" {print $2}' /proc/self/status)

@test "docker's capabilities, and none inheritable or ambient" {
  [ "$(status_line CapBnd)" = 00000000a80425fb ]
  [ "$(status_line CapPrm)" = 00000000a80425fb ]
  [ "$(status_line CapEff)" = 00000000a80425fb ]
  [ "$(status_line CapInh)" = 0000000000000000 ]
  [ "$(status_line CapAmb)" = 0000000000000000 ]
}

@test "capabilities are added and dropped as docker does" {
  [ "$(status_line CapEff --cap-drop ALL)" = 0000000000000000 ]
  [ "$(status_line CapEff --cap-drop ALL --cap-add net_admin)" = 0000000000001000 ]
  [ "$(status_line CapEff --cap-drop CAP_KILL)" = 00000000a80425db ]
  [ "$(status_line CapBnd --cap-add ALL)" = "$bounding" ]
  must_fail 2 wb-confine --cap-add nosuch -- true
}

@test "another user has no capabilities in force, and its own groups" {
  [ "$(status_line CapEff --user nobody)" = 0000000000000000 ]
  [ "$(status_line CapBnd --user nobody)" = 00000000a80425fb ]
  [ "$(wb-confine --user nobody -- id -u)" = 65534 ]
  [ "$(wb-confine --user 12:34 -- sh -c 'id -u; id -g; id -G' | paste -sd' ')" = "12 34 34" ]
  must_fail 125 wb-confine --user nosuch -- true
}

@test "sets of a document are the process's, ambient ones survive the change of user" {
  jq -n '{process: {args: ["cat", "/proc/self/status"], cwd: "/", env: ["PATH=/bin:/usr/bin"],
    user: {uid: 1000, gid: 1000, additionalGids: [7]}, noNewPrivileges: true,
    capabilities: {bounding: ["CAP_KILL", "CAP_CHOWN", "CAP_OF_THE_FUTURE"], permitted: ["CAP_KILL"],
      effective: ["CAP_KILL"], inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"]}}}' >doc.json
  wb-confine --doc doc.json >status
  grep -qx $'CapBnd:\t0000000000000021' status
  grep -qx $'CapEff:\t0000000000000020' status
  grep -qx $'CapAmb:\t0000000000000020' status
  grep -qx $'NoNewPrivs:\t1' status
  grep -qx $'Uid:\t1000\t1000\t1000\t1000' status
  grep -q $'^Groups:\t7 ' status
  # A document without the member has none.
  jq 'del(.process.capabilities)' doc.json >none.json
  wb-confine --doc none.json | grep -qx $'CapBnd:\t0000000000000000'
}

@test "no_new_privs: a setuid program gives nothing" {
  /usr/bin/install -m 4755 /bin/id "$WB_SCRATCH/suid-id"
  chmod 755 "$WB_SCRATCH"
  [ "$(wb-confine --user nobody -- "$WB_SCRATCH/suid-id" -u)" = 0 ]
  [ "$(wb-confine --user nobody --no-new-privs -- "$WB_SCRATCH/suid-id" -u)" = 65534 ]
}

@test "limits are set, and one that may not be raised is clamped" {
  [ "$(wb-confine --rlimit nofile=64:128 -- sh -c 'ulimit -Sn; ulimit -Hn' | paste -sd' ')" = "64 128" ]
  prlimit --nofile=500:500 wb-confine --cap-drop ALL -- true
  run --separate-stderr wb-confine --rlimit core=0 -- sh -c 'ulimit -c'
  [ "$output" = 0 ]
  [ "$stderr" = "" ]
  if ! capsh --has-p=cap_sys_resource 2>/dev/null; then
    run --separate-stderr prlimit --nofile=500:500 wb-confine --verbose --rlimit nofile=1000:1000 -- sh -c 'ulimit -n'
    [ "$output" = 500 ]
    [[ $stderr = *"RLIMIT_NOFILE 1000:1000: set to 500:500"* ]]
  fi
  must_fail 2 wb-confine --rlimit nosuch=1 -- true
  must_fail 2 wb-confine --rlimit nofile=2:1 -- true
}

@test "umask, oom score and scheduler" {
  [ "$(wb-confine -- sh -c umask)" = 0022 ]
  [ "$(wb-confine --umask 077 -- sh -c umask)" = 0077 ]
  [ "$(wb-confine --oom-score-adj 300 -- cat /proc/self/oom_score_adj)" = 300 ]
  jq -n '{process: {args: ["sh", "-c", "chrt -p $$; ionice -p $$; uname -m"], cwd: "/", env: ["PATH=/bin:/usr/bin"],
    scheduler: {policy: "SCHED_BATCH", nice: 5}, ioPriority: {class: "IOPRIO_CLASS_IDLE"}},
    linux: {personality: {domain: "LINUX32"}}}' >doc.json
  wb-confine --doc doc.json >out
  grep -q SCHED_BATCH out
  grep -qi idle out
  if [ "$(uname -m)" = x86_64 ]; then grep -q i686 out; fi
}

@test "exactly the document's environment, and HOME" {
  jq -n '{process: {args: ["env"], cwd: "/", env: ["PATH=/bin:/usr/bin", "A=b c"], user: {uid: 0, gid: 0}}}' >doc.json
  SECRET=1 wb-confine --doc doc.json >env
  [ "$(sort env | paste -sd,)" = "A=b c,HOME=/root,PATH=/bin:/usr/bin" ]
}

@test "nothing but the standard descriptors is inherited" {
  exec 7</etc 9</etc/passwd
  run wb-confine -- sh -c 'ls /proc/$$/fd'
  exec 7<&- 9<&-
  [ "$(paste -sd' ' <<<"$output")" = "0 1 2" ]
}

@test "a leaked descriptor is no working directory (CVE-2024-21626)" {
  local n
  exec 7</etc
  for n in 3 4 5 6 7 8 9 10 15 20; do
    run wb-confine --cwd "/proc/self/fd/$n" -- pwd
    [ "$status" = 1 ]
    run wb-confine --cwd "/proc/self/fd/$n/../.." -- pwd
    [ "$status" = 1 ]
  done
  exec 7<&-
}

@test "a missing working directory is made, and not through a link that leads nowhere" {
  [ "$(wb-confine --cwd "$WB_SCRATCH/a/b" -- pwd)" = "$WB_SCRATCH/a/b" ]
  ln -s /nosuch/there dangling
  must_fail 1 wb-confine --cwd "$WB_SCRATCH/dangling/x" -- pwd
  [ ! -e /nosuch ]
  echo >file
  must_fail 1 wb-confine --cwd "$WB_SCRATCH/file" -- pwd
}

@test "127 and 126 in docker's words" {
  must_fail 127 wb-confine nosuch
  [ "$stderr" = 'wb-confine: exec: "nosuch": executable file not found in PATH' ]
  must_fail 127 wb-confine /nosuch
  [ "$stderr" = 'wb-confine: exec: "/nosuch": No such file or directory (ENOENT)' ]
  must_fail 126 wb-confine /etc/passwd
  [ "$stderr" = 'wb-confine: exec: "/etc/passwd": Permission denied (EACCES)' ]
  must_fail 126 wb-confine /etc
  echo 'no program' >text
  chmod +x text
  must_fail 126 wb-confine ./text
  must_fail 2 wb-confine
}

@test "the session keyring is its own" {
  require_program keyctl
  [ "$(wb-confine -- keyctl show @s 2>/dev/null | grep -c _uid)" = 0 ]
}

@test "the default profile: what docker's containers cannot call, they cannot" {
  [ "$(status_line Seccomp --seccomp default)" = 2 ]
  [ "$(status_line Seccomp --seccomp default --user nobody)" = 2 ]
  [ "$(status_line Seccomp --seccomp default --user nobody --no-new-privs)" = 2 ]
  [ "$(status_line Seccomp)" = 0 ]
  must_fail 1 wb-confine --cap-add ALL --cap-drop SYS_ADMIN --seccomp default -- unshare --uts true
  must_fail 1 wb-confine --seccomp default -- unshare --user true
  wb-confine --cap-add SYS_ADMIN --seccomp default -- unshare --uts true
  wb-confine --seccomp default -- sh -c 'ls / | wc -l >/dev/null; (sleep 0 &); id >/dev/null'
}

# call NUMBER ARGS…: the errno of a system call under the default profile.
call () {
  wb-confine --seccomp default -- python3 -c '
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
args = [ctypes.c_ulong(int(word, 0)) for word in sys.argv[1:]]
result = libc.syscall(*args)
print(0 if result >= 0 else ctypes.get_errno())' "$@"
}

@test "the default profile, call by call" {
  require_program python3
  [ "$(uname -m)" = x86_64 ] || skip "hardware: the numbers are x86_64's"
  [ "$(call 39)" = 0 ]                          # getpid
  [ "$(call 41 2 1 0)" = 0 ]                    # socket AF_INET
  [ "$(call 41 38 5 0)" = 1 ]                   # socket AF_ALG
  [ "$(call 41 0x100000026 5 0)" = 1 ]          # AF_ALG with a bit that the kernel drops
  [ "$(call 41 40 1 0)" = 1 ]                   # socket AF_VSOCK
  [ "$(call 250 0 0 0)" = 1 ]                   # keyctl
  [ "$(call 323 0)" = 1 ]                       # userfaultfd
  [ "$(call 425 1 0)" = 1 ]                     # io_uring_setup
  [ "$(call 435 0 0)" = 38 ]                    # clone3
  [ "$(call 463 0)" != 1 ]                      # setxattrat, new and on the list
  [ "$(call 500)" = 38 ]                        # no call yet
  [ "$(call 135 1)" = 1 ]                       # personality, not the usual ones
  [ "$(call 16 0 0x5412 0)" = 5 ]               # ioctl TIOCSTI
  [ "$(call 16 0 0x100005412 0)" = 5 ]
}

@test "a filter's own words: arguments, errno, kill, and nonsense refused" {
  profile () { jq -n "{defaultAction: \"SCMP_ACT_ALLOW\", syscalls: [$1]}" >profile.json; }
  profile '{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28}'
  must_fail 1 wb-confine --seccomp profile.json -- mkdir x
  [[ $stderr = *"No space left on device"* ]]
  profile '{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_KILL_PROCESS"}'
  run wb-confine --seccomp profile.json -- mkdir x
  [ "$status" = 159 ]
  profile '{names: ["kill"], action: "SCMP_ACT_ERRNO", args: [{index: 1, value: 9, op: "SCMP_CMP_EQ"}]}'
  wb-confine --seccomp profile.json -- sh -c 'kill -0 $$'
  must_fail 1 wb-confine --seccomp profile.json -- sh -c 'kill -9 $$'
  profile '{names: ["kill"], action: "SCMP_ACT_NOSUCH"}'
  must_fail 1 wb-confine --seccomp profile.json -- true
  [[ $stderr = *'unknown action "SCMP_ACT_NOSUCH"'* ]]
  must_fail 1 wb-confine --seccomp /nosuch -- true
}

@test "a document of ours has the profile unless it says otherwise, any other what it says" {
  document () {
    jq -n "{process: {args: [\"awk\", \"/^Seccomp:/ {print \$2}\", \"/proc/self/status\"], cwd: \"/\",
      env: [\"PATH=/bin:/usr/bin\"]}} + $1" >doc.json
    wb-confine --doc doc.json
  }
  [ "$(document '{wb: {id: "x"}}')" = 2 ]
  [ "$(document '{wb: {id: "x", seccomp: "unconfined"}}')" = 0 ]
  [ "$(document '{}')" = 0 ]
  [ "$(document '{linux: {seccomp: {defaultAction: "SCMP_ACT_ALLOW"}}}')" = 2 ]
}

@test "a failure goes down the status pipe and not to standard error" {
  must_fail 127 wb-confine --status-fd 4 -- nosuch 4>status
  [ "$stderr" = "" ]
  [ "$(jq -r .error.message status)" = 'exec: "nosuch": executable file not found in PATH' ]
  # Success says nothing.
  wb-confine --status-fd 4 -- true 4>status
  [ ! -s status ]
}

@test "hostile documents are refused in one line" {
  local text
  while read -r text; do
    echo "$text" >doc.json
    must_fail 1 wb-confine --doc doc.json
    [ "$(wc -l <<<"$stderr")" = 1 ]
  done <<'END'
{}
{"process":3}
{"process":{"args":["true"],"cwd":"x"}}
{"process":{"args":["true"],"cwd":"/","rlimits":[{"type":"RLIMIT_NOSUCH","soft":1,"hard":1}]}}
{"process":{"args":["true"],"cwd":"/","user":{"uid":-1}}}
{"process":{"args":["true"],"cwd":"/","scheduler":{"policy":"x"}}}
{"process":{"args":["a\u0000b"],"cwd":"/"}}
{"process":{"args":["true"],"cwd":"/"},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOTIFY"}}}
END
}
