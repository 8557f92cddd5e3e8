#!/usr/bin/env bats
# wb exec as a person types it, and what it finds inside; sysctls of the container's own namespaces.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

start () {
  wb run -d --name "$1" "${@:2}" busybox sleep 1000 >/dev/null
}
host_pid () { wb inspect "$1" | jq '.[0].wb.state.pid'; }
cgroup_of () { cat "/proc/$1/cgroup"; }
# The capabilities and the seccomp mode of a process, as the kernel tells them.
held () { grep -E '^(Cap|Seccomp:|NoNewPrivs)'; }

@test "user, directory and variables are those asked for" {
  start c --net none -e COLOUR=red
  printf 'A=1\nB=two words\n# none\nHOSTS\n' >env
  HOSTS=5 wb exec --env-file env -e C=3 -w /tmp -u nobody c sh -c 'echo "$A,$B,$C,$HOSTS,$COLOUR"; pwd; id -un' >seen
  printf '1,two words,3,5,red\n/tmp\nnobody\n' | cmp - seen
  [ "$(wb exec -u 1234:5678 c sh -c 'id -u; id -g; echo $HOME')" = "1234
5678
/" ]
  must_fail 125 wb exec -u nosuch c true
  [[ $stderr == *nosuch* ]]
  must_fail 125 wb exec --nosuch c true
}

@test "it is where the container is: namespaces, cgroup, capabilities, seccomp" {
  start c --net none -m 32m --cap-drop CHOWN --security-opt no-new-privileges
  pid=$(host_pid c)
  wb exec -d c sleep 777
  found () { other=$(pgrep -f '^sleep 777$'); }
  eventually 5 found
  for ns in pid mnt uts ipc net cgroup; do
    [ "$(readlink "/proc/$pid/ns/$ns")" = "$(readlink "/proc/$other/ns/$ns")" ]
  done
  cmp <(cgroup_of "$pid") <(cgroup_of "$other")
  cmp <(held <"/proc/$pid/status") <(held <"/proc/$other/status")
  [ "$(readlink "/proc/$other/fd/0")" = /dev/null ]
  must_fail 137 wb exec c sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1'
  [ "$(wb ps -q | wc -l)" = 1 ]
}

@test "statuses are the command's, or docker's" {
  start c --net none
  must_fail 3 wb exec c sh -c 'exit 3'
  must_fail 143 wb exec c sh -c 'kill -TERM $$'
  must_fail 127 wb exec c nosuch
  must_fail 126 wb exec c /etc/passwd
  must_fail 1 wb exec nosuch true
  [[ $stderr == *'no such container: nosuch'* ]]
  wb pause c >/dev/null
  must_fail 1 wb exec c true
  [[ $stderr == *'is paused'* ]]
  wb unpause c >/dev/null
  wb stop -t 0 c >/dev/null
  must_fail 1 wb exec c true
  [[ $stderr == *'is not running'* ]]
}

@test "--privileged gives every capability, to this process only" {
  start c --net none
  all=$(awk '$1 == "CapBnd:" { print $2 }' /proc/self/status)
  [ "$(wb exec --privileged c grep CapEff /proc/self/status | tr -d '\t ')" = "CapEff:$all" ]
  [ "$(wb exec c grep CapEff /proc/self/status | tr -d '\t ')" = CapEff:00000000a80425fb ]
}

@test "it leaves no record, no process and no file behind" {
  start c --net none
  files () { find "$WB_ROOT/containers" "$WB_RUN" -not -path '*/merged/*' -not -path '*/upper/*' 2>/dev/null | sort; }
  wb exec c true
  before=$(files)
  wb exec c true
  wb exec -d c true
  eventually 5 [ "$(wb exec c sh -c 'ls -d /proc/[0-9]*' | wc -l)" -le 3 ]
  [ "$(files)" = "$before" ]
}

@test "a user namespace: as its root, with capabilities over what is the container's" {
  start c --userns auto --net none
  pid=$(host_pid c)
  [ "$(wb exec c id -u)" = 0 ]
  [ "$(wb exec -u nobody c id -un)" = nobody ]
  wb exec c sh -c 'touch /tmp/made && chown 5:6 /tmp/made'
  [ "$(wb exec c stat -c '%u:%g' /tmp/made)" = 5:6 ]
  cmp <(wb exec c cat /proc/self/status | held) <(held <"/proc/$pid/status")
  root=$(awk '$1 == 0 { print $2 }' "/proc/$pid/uid_map")
  wb exec -d c sleep 778
  found () { other=$(pgrep -f '^sleep 778$'); }
  eventually 5 found
  [ "$(stat -c %u "/proc/$other")" = "$root" ]
  must_fail 3 wb exec c sh -c 'exit 3'
}

@test "sysctls are the container's own, the host's stay" {
  before=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax /proc/sys/net/core/somaxconn)
  wb run --rm --net none --sysctl kernel.shmmax=77777 --sysctl net.core.somaxconn=99 busybox sh -c '
    cd /proc/sys; cat kernel/shmmax net/core/somaxconn net/ipv4/ip_unprivileged_port_start' >seen
  [ "$(tr '\n' ' ' <seen)" = '77777 99 0 ' ]
  # On a network, and with a user namespace, which does not own it.
  wb run --rm --userns auto --sysctl net.core.somaxconn=98 --sysctl kernel.shmmax=77778 busybox sh -c '
    cd /proc/sys; cat net/core/somaxconn kernel/shmmax net/ipv4/ip_unprivileged_port_start' >seen
  [ "$(tr '\n' ' ' <seen)" = '98 77778 0 ' ]
  must_fail 125 wb run --rm --net none --sysctl net.ipv4.nosuch=1 busybox true
  must_fail 125 wb run --rm --net host --sysctl net.core.somaxconn=97 busybox true
  [ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax /proc/sys/net/core/somaxconn)" = "$before" ]
}

@test "a document of the host's network changes no sysctl of it" {
  mkdir -p raw/proc raw/bin
  wb-spec -n run --id raw --net none --rootfs "$WB_SCRATCH/raw" true |
    jq '.linux.namespaces |= map(select(.type != "network"))' >raw.json
  must_fail 1 unshare -m -p -f wb-rootfs enter --doc raw.json -- wb-confine
  [[ $stderr == *"not the container's own"* ]]
}
