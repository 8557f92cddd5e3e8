#!/usr/bin/env bats
# WB_TRACE: what the tools tell of themselves is what strace sees of them.

load lib/common

setup () {
  wb_setup
}

teardown () {
  wb ps -aq 2>/dev/null | xargs -r wb rm -f >/dev/null 2>&1 || true
  wb_teardown
}

# agree COMMAND…: every call that the trace must show is in strace's output and in the trace, process by process in the
# same order with the same arguments, and the trace shows nothing else. What agrees is counted in $output.
agree () {
  require_program strace python3
  start_traced "$@"
  end_traced
}

start_traced () {
  rm -rf traced trace.txt && mkdir traced
  timeout $((60 * ${WB_TEST_SLOW:-1})) strace -ff -y --decode-pids=pidns -s 65535 -o traced/process \
    env WB_TRACE="$PWD/trace.txt" "$@" >traced.out 2>&1 </dev/null &
  traced=$!
}

end_traced () {
  wait "$traced" || {
    cat traced.out >&2
    return 1
  }
  run python3 "$WB_CHECKOUT/tests/lib/strace_compare.py" traced/process trace.txt
  [ "$status" -eq 0 ] || {
    printf '%s\n' "$output" >&2
    return 1
  }
}

# The comparison has to have had something to compare.
at_least () {
  [ "${output%% *}" -ge "$1" ] || {
    echo "$output, which is less than $1" >&2
    return 1
  }
}

@test "strace and the trace: run" {
  make_busybox_image
  agree wb run --rm -m 64m -p 127.0.0.1:18473:80 -v data:/data --tmpfs /t -u 65534 --init busybox echo hello
  grep -qx hello traced.out
  at_least 150
  # The whole chain has told, the clean-up too.
  for tool in wb-rootfs wb-ipam wb-netns wb-cgroup wb-monitor wb-unshare wb-confine; do
    grep -q "^$tool\[" trace.txt
  done
  grep -q '^wb-rootfs\[1\] pivot_root("\.", "\.") = 0 <' trace.txt
  grep -q '^wb-rootfs\[[0-9]*\] umount2(' trace.txt
  grep -q '^wb-cgroup.* write("/sys/fs/cgroup/.*/memory[^"]*", "67108864") = 8 <' trace.txt
  grep -q '^wb-netns.* sendto(NETLINK_ROUTE, \[RTM_NEWLINK wb[0-9a-f]* .*type veth peer eth0' trace.txt
  # Rules as nft takes and prints them.
  grep -q '^wb-netns.* sendto(NETLINK_NETFILTER, \[NFNL_MSG_BATCH_BEGIN; NFT_MSG_NEWSETELEM inet wb-[0-9a-f]* host4 { 127.0.0.1 . tcp . 18473 : 10[.0-9]* . 80 }; ' trace.txt
  grep -q '^ *add rule inet wb-[0-9a-f]* postrouting ip saddr @masquerade4 oifname != @bridges masquerade$' trace.txt
}

@test "strace and the trace: exec, stop, rm of a detached container" {
  make_busybox_image
  start_traced wb run -d --name box --net none --cap-drop ALL --read-only busybox sleep 1000
  eventually 30 test -s traced.out
  WB_TRACE='' within 30 wb kill box
  end_traced
  at_least 100
  wb start box
  agree wb exec -u 1000 box echo inside
  grep -qx inside traced.out
  at_least 20
  agree wb exec -t --privileged box true
  agree wb stop -t 1 box
  at_least 1
  grep -q 'pidfd_send_signal(.*, SIGTERM, NULL, 0) = 0 ' trace.txt
  agree wb rm box
  at_least 1
}

@test "strace and the trace: network create and rm, a privileged container in it" {
  make_busybox_image
  agree wb network create --subnet 10.98.7.0/24 lab
  at_least 1
  agree wb run --rm --net lab --privileged busybox true
  at_least 100
  agree wb network rm lab
  at_least 1
}

@test "strace and the trace: a user namespace, a filter of one's own, what belongs to the process" {
  make_busybox_image
  mkdir data
  agree wb run --rm --userns 0:231072:65536 --net none -v "$PWD/data:/data" busybox echo hello
  grep -qx hello traced.out
  at_least 100
  grep -q '^wb-.* write("/proc/[0-9]*/uid_map", "0 231072 65536\\n") = 15 <' trace.txt
  grep -q '^wb-rootfs.* prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) = 0 <' trace.txt
  echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}' >filter.json
  agree wb run --rm --net none --security-opt "seccomp=$PWD/filter.json" --security-opt no-new-privileges --oom-score-adj 200 \
    --sysctl kernel.msgmax=1000 --group-add 5 --hostname box --cpus 0.5 --cpuset-cpus 0 --pids-limit 50 busybox echo hello
  at_least 100
  grep -q '^wb-confine.* prctl(PR_SET_NO_NEW_PRIVS, 1' trace.txt
  agree wb run --rm --network host --pid host --ipc host --uts host --security-opt seccomp=unconfined busybox echo hello
  at_least 100
}

@test "strace and the trace: what is done to containers meanwhile" {
  make_busybox_image
  wb network create --subnet 10.98.8.0/24 lab >/dev/null
  wb create --name box busybox sleep 1000 >/dev/null
  start_traced wb start box
  eventually 30 grep -qx box traced.out
  eventually 30 sh -c 'wb inspect box | jq -e ".[0].wb.state.status == \"running\"" >/dev/null'
  WB_TRACE='' within 30 wb kill box >/dev/null
  end_traced
  at_least 100
  wb start box
  for line in 'pause box' 'unpause box' 'update -m 32m --pids-limit 20 box' 'commit box kept'; do
    # shellcheck disable=SC2086 # words
    agree wb $line
    at_least 1
  done
  # The tools behind wb-image have told, though it reads their standard error.
  grep -q '^wb-rootfs\[' trace.txt
  # The resolver of names stays, and strace with it.
  start_traced wb network connect lab box
  eventually 30 sh -c 'grep -l "^execve(\"[^\"]*/env\"" traced/process.* | xargs tail -qn 1 | grep -q "^+++ exited with 0"'
  within 30 wb network disconnect lab box
  end_traced
  at_least 10
}

@test "strace and the trace: as another engine's runtime" {
  mkdir -p bundle/rootfs
  tar -xf "$(busybox_tar)" -C bundle/rootfs
  wb-spec -n run --rootfs "$PWD/bundle/rootfs" --net none echo hello | wb-pull | jq 'del(.wb)' >bundle/config.json
  agree wb-oci --root "$PWD/oci" run --bundle bundle box
  grep -qx hello traced.out
  at_least 100
}

@test "strace and the trace: what fails is told too" {
  make_busybox_image
  start_traced wb run --rm --net none busybox /etc/passwd
  wait "$traced" && return 1
  run python3 "$WB_CHECKOUT/tests/lib/strace_compare.py" traced/process trace.txt
  echo "$output"
  [ "$status" -eq 0 ]
  at_least 100
}

@test "the comparison finds what is missing, made up or different" {
  compare () { python3 "$WB_CHECKOUT/tests/lib/strace_compare.py" p/s trace; }
  mkdir p
  line='wb-x[5] sethostname("a", 1) = 0 <0.000001>  # why'
  printf '%s\n' 'execve("/b/wb-x", ["wb-x"], 0x1 /* 2 vars */) = 0' 'sethostname("a", 1) = 0' \
    "write(7</t>, \"${line//\"/\\\"}\\n\", 40) = 40" >p/s.5
  echo "$line" >trace
  [ "$(compare)" = '1 calls agree' ]
  echo 'unshare(CLONE_NEWNS) = 0' >>p/s.5
  must_fail 1 compare
  [[ $output = 'unseen   wb-x[5] unshare(CLONE_NEWNS) = 0' ]]
  sed -i '/^unshare/d; s/^sethostname("a"/sethostname("b"/' p/s.5
  must_fail 1 compare
  [[ $output = differs* ]]
  sed -i '/^sethostname/d' p/s.5
  must_fail 1 compare
  [[ $output = unmade* ]]
}

@test "a trace goes to standard error, colourless unless that is a terminal, and holds nobody up" {
  make_busybox_image
  # Through a pipe: its end comes as soon as the client has left, though the monitor stays.
  within 30 bash -c 'set -o pipefail; wb --trace run -d --init --name box --net none busybox sleep 1000 2>&1 >id | cat' >trace
  grep -q '^wb-confine\[1\] ' trace
  must_fail 1 grep -q $'\033' trace
  within 30 wb rm -f box
  within 30 script -qec 'wb --trace run --rm --net none busybox true' /dev/null >trace </dev/null
  grep -q $'^\033\[36mwb-confine\[1\]\033\[0m \033\[1mexecve\033\[0m(' trace
  NO_COLOR=1 within 30 script -qec 'wb --trace run --rm --net none busybox true' /dev/null >trace </dev/null
  grep -q '^wb-confine\[1\] execve(' trace
  # A slow machine's progress bar moves the cursor.
  must_fail 1 grep -q $'\033\[[0-9;]*m' trace
  # Every line begins at the left, also while the terminal is raw.
  NO_COLOR=1 within 30 script -qec 'wb --trace run -it --rm --net none busybox true' /dev/null >trace </dev/null
  grep -q '^wb-confine\[1\] execve(' trace
  must_fail 1 grep -q '# .*[^'$'\r'']$' trace
}

@test "the container has neither the trace nor its descriptor" {
  make_busybox_image
  within 30 env WB_TRACE="$PWD/trace" wb run --rm --net none busybox sh -c 'ls -l /proc/self/fd; env' >out
  must_fail 1 grep -qi trace out
  [ "$(grep -c -e '->' out)" -le 4 ]
  WB_TRACE=$PWD/trace within 30 wb-unshare --mount -- wb-rootfs enter / -- sh -c 'echo $WB_TRACE; ls -l /proc/self/fd' >out
  grep -qx "$PWD/trace" out
  must_fail 1 grep -q -e '-> .*trace' out
  grep -q '^wb-rootfs.*pivot_root' trace
}

@test "the timeline has a lane for every program of the flow, from its beginning to its end" {
  make_busybox_image
  wb trace run --rm --net none busybox true 2>table
  for tool in wb-spec wb-state wb-pull wb-rootfs wb-ipam wb-netns wb-cgroup wb-monitor wb-unshare wb-confine; do
    grep -q " $tool " table
  done
  within 30 env WB_TRACE="json:$PWD/trace" wb run --rm --net none busybox true
  jq -es 'map(select(.tool == "wb-spec")) | map(.name) == ["execve", "exit_group"]
    and (.[0].call | contains("\"--net\", \"none\"")) and .[0].time < .[1].time' trace
}

@test "nothing to tell is said in a line" {
  must_fail 1 wb trace -o picture.svg rnu
  [ "$stderr" = $'wb: "rnu" is not a command\nhint: did you mean run?\nwb: trace: no tool made a call that is told' ]
  [ ! -e picture.svg ]
  must_fail 1 wb --trce run
  [ "$stderr" = $'wb: "--trce" is not a command\nhint: did you mean --trace?' ]
}

@test "json: every line an object, times in order in each process" {
  make_busybox_image
  within 30 env WB_TRACE="json:$PWD/trace" wb run --rm --net none busybox true
  jq -es 'length > 100 and all(.[]; (.time | type) == "number" and .tool and .pid and .name and .call and .why)' trace
  jq -es 'group_by([.tool, .pid]) | all(.[]; map(select(.seconds)) | [.[].time] == ([.[].time] | sort))' trace
}
