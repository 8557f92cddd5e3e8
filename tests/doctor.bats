#!/usr/bin/env bats
# wb doctor: what is lacking is said, with what mends it, and mended it is no longer lacking.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  [ -z "${listener:-}" ] || kill "$listener" 2>/dev/null || true
  wb_teardown
}

# What a `wb run` with these words lacks, one a line.
lacks () { wb-spec -n run "$@" | wb doctor --json | jq -r '.wb.lacks[] | select(.level == "lacks") | .what'; }
# The whole entry of one thing: member, cause, mend.
entry () {
  local what=$1
  shift
  wb-spec -n run "$@" | wb doctor --json | jq -r --arg what "$what" '.wb.lacks[] | select(.what == $what) | [.level, .member, .cause, .mend] | join("; ")'
}

@test "this machine lacks nothing for what these tests run" {
  [ "$(wb doctor </dev/null)" = 'nothing is lacking' ]
  [ "$(wb doctor -n)" = 'nothing is lacking' ]
  for line in 'busybox true' '-m 64m --cpus 0.5 --pids-limit 10 -p 127.0.0.1::80 busybox true' \
    "-v $PWD/new:/new -v named:/named --userns auto --net none busybox true"; do
    # shellcheck disable=SC2086 # words
    wb-spec -n run $line | wb doctor >out
    grep -qx 'nothing is lacking' out || grep -q '^ note ' out
    # It has told the truth.
    # shellcheck disable=SC2086 # words
    within 30 wb run --rm $line
  done
}

@test "what is lacking: four lines each, status 1, and nothing was touched" {
  find "$WB_ROOT" "$WB_RUN" | sort >before
  must_fail 1 bash -c 'set -o pipefail; wb-spec -n run --pull never --network lab nosuch true | wb doctor'
  [ "$output" = 'lacks the image nosuch
  for wb.image.ref
cause it is not in the store
 mend wb pull nosuch

lacks the network lab
  for wb.network.name lab
cause there is none of that name
 mend wb network create lab' ]
  find "$WB_ROOT" "$WB_RUN" | sort | diff before -
}

@test "what mends it mends it" {
  [ "$(lacks --network lab busybox true)" = 'the network lab' ]
  wb network create lab >/dev/null
  [ -z "$(lacks --network lab busybox true)" ]
  source=$PWD/source
  [ "$(entry "$source" --net none --mount "type=bind,source=$source,target=/x" busybox true)" = \
    "lacks; wb.volumes; it does not exist, and --mount makes nothing; mkdir -p $source, or -v, which makes it" ]
  mkdir "$source"
  [ -z "$(lacks --net none --mount "type=bind,source=$source,target=/x" busybox true)" ]
  wb create --name taken --net none busybox true >/dev/null
  [[ $(entry 'the name taken' --net none --name taken busybox true) == *'; wb rm -f taken, or another --name' ]]
  wb rm taken >/dev/null
  [ -z "$(lacks --net none --name taken busybox true)" ]
}

@test "a port in use, and who holds it" {
  require_program nc
  nc -l 127.0.0.1 18497 </dev/null >/dev/null 2>&1 3>&- &
  listener=$!
  eventually 5 sh -c 'wb-spec -n run -p 18497:80 busybox true | wb doctor --json | jq -e ".wb.lacks | length > 0" >/dev/null'
  [ "$(entry port\ 18497/tcp -p 127.0.0.1:18497:80 busybox true)" = \
    "lacks; wb.network.ports; nc (pid $listener) holds 127.0.0.1:18497; another port, or kill $listener" ]
  must_fail 125 wb run --rm -p 127.0.0.1:18497:80 busybox true
  [ -z "$(lacks -p 127.0.0.2:18497:80 busybox true)" ]
  [ -z "$(lacks -p 127.0.0.1:18497:80/udp busybox true)" ]
  kill "$listener"
  wait "$listener" 2>/dev/null || true
  [ -z "$(lacks -p 127.0.0.1:18497:80 busybox true)" ]
}

@test "programs, parameters, file systems and controllers of the machine" {
  mkdir bin && ln -s "$WB_BIN"/wb-* bin/
  [[ $(PATH=$PWD/bin wb-doctor -n) == *'lacks nft'*'mend PATH=$PATH:/usr/sbin'* ]]
  [ "$(lacks --net none --sysctl net.core.nosuch=1 busybox true)" = 'the kernel parameter net.core.nosuch' ]
  must_fail 125 wb run --rm --net none --sysctl net.core.nosuch=1 busybox true
  # A kernel without overlayfs and with no more user namespaces, as files that cover its own.
  grep -v overlay /proc/filesystems >filesystems
  echo 0 >none
  mkdir empty
  wb-spec -n run --net none --userns auto busybox true >d.json
  wb-unshare --mount -- sh -c 'mount --bind filesystems /proc/filesystems && mount --bind empty /sys/module &&
    mount --bind none /proc/sys/user/max_user_namespaces && wb-doctor --json <d.json' 2>/dev/null | jq -r '.wb.lacks[].what' >out || true
  grep -qx 'user namespaces' out
  # Only where the kernel says nothing else of overlayfs.
  wb-unshare --mount -- sh -c 'umount -l /sys/fs/cgroup; wb-doctor --json <d.json' 2>/dev/null | jq -r '.wb.lacks[].mend' >out || true
  grep -q 'mount -t cgroup' out
}

@test "CPUs that there are not" {
  online=$(</sys/devices/system/cpu/online)
  [ "$(entry 'CPU 4000' --net none --cpuset-cpus 0,4000 busybox true)" = \
    "lacks; linux.resources.cpu.cpus; /sys/devices/system/cpu/online has $online; --cpuset-cpus $online" ]
  must_fail 125 wb run --rm --net none --cpuset-cpus 0,4000 busybox true
  [ -z "$(lacks --net none --cpuset-cpus "$online" busybox true)" ]
}

@test "capabilities that this process does not have" {
  require_program setpriv
  wb-spec -n run --net none --cap-add SYS_TIME busybox true >d.json
  must_fail 1 setpriv --bounding-set -sys_time,-setpcap --inh-caps -all env "PATH=$PATH" wb-doctor <d.json
  [[ $output == *'lacks CAP_SETPCAP'*'needed for: to give up capabilities for good'*'note CAP_SYS_TIME'* ]]
}

@test "what somebody else than root lacks" {
  chmod 755 "$WB_SCRATCH"
  must_fail 1 setpriv --reuid 65533 --regid 65533 --clear-groups env WB_ROOT="$PWD/his" WB_RUN="$PWD/his-run" PATH=/nonexistent "$WB_BIN/wb-doctor" -n
  [[ $output == *'lacks subuids'*'mend as root: usermod --add-subuids 100000-165535 65533'*'lacks newuidmap'*'apt-get install uidmap'* ]]
  [[ $output == *"lacks WB_ROOT, $PWD/his"*'may not be written to'*'lacks pasta'*'apt-get install passt'* ]]
}

@test "a container by its name; a failed document; colour only on a terminal" {
  wb create --name box --net none busybox true >/dev/null
  [ "$(wb doctor box)" = 'nothing is lacking' ]
  must_fail 1 wb doctor nosuch
  must_fail 125 bash -c 'set -o pipefail; wb-spec -n run --nosuch | wb doctor'
  [ -z "$output" ]
  wb-spec -n run --net lab busybox true >d.json
  must_fail 1 wb-doctor <d.json
  [[ $output != *$'\033'* ]]
  script -qec 'wb-doctor --doc d.json' /dev/null </dev/null >out || true
  grep -q $'^\033\[31mlacks\033\[0m' out
  NO_COLOR=1 script -qec 'wb-doctor --doc d.json' /dev/null </dev/null >out || true
  must_fail 1 grep -q $'\033' out
}
