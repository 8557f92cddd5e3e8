#!/usr/bin/env bats
# An ordinary user's limits, in a cgroup that root has given away (cgroup-v2.rst, "Delegation"). The virtual machine has
# its controllers in version 2, where they can be given.

load lib/common
load lib/net
load lib/rootless

# give CONTROLLER…: a cgroup with these controllers is the user's.
give () {
  require_hardware '[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]' "the controllers are not in cgroup v2"
  top=/sys/fs/cgroup/wbt-$PERSON group=/sys/fs/cgroup/wbt-$PERSON/given
  mkdir -p "$group"
  local controller
  for controller; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    echo "+$controller" >"$top/cgroup.subtree_control"
  done
  mkdir "$group/shell"
  chown "$PERSON" "$group" "$group/cgroup.procs" "$group/cgroup.subtree_control" "$group/cgroup.threads" \
    "$group/shell" "$group/shell/cgroup.procs"
}

# The user, whose shell is in the cgroup that was given.
delegated () { (echo "$BASHPID" >"$group/shell/cgroup.procs" && person "$@"); }

# Takes it back once nobody is in it.
take_back () {
  gone () { find "$top" -depth -type d -exec rmdir {} + 2>/dev/null; [ ! -d "$top" ]; }
  eventually 10 gone
}

teardown () {
  local status=0
  rootless_teardown || status=1
  if [ -d "${top:-/none}" ]; then find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
  return "$status"
}

@test "a delegated cgroup holds the user's limits, and the kernel keeps them" {
  give memory pids cpu
  images
  id=$(delegated wb run -d --name c --net none -m 64m --pids-limit 50 --cpus 0.5 busybox sleep 1000)
  found=$(find "$group" -name "$id")
  [ "$(cat "$found/memory.max"):$(cat "$found/pids.max"):$(cat "$found/cpu.max")" = "67108864:50:50000 100000" ]
  pid=$(person wb inspect --format '{{.State.Pid}}' c)
  grep -qx "$pid" "$found/cgroup.procs"
  [ "$(cut -d: -f3 "/proc/$pid/cgroup")" = "${found#/sys/fs/cgroup}" ]
  # What belongs to the user all of it belongs to.
  [ "$(stat -c %u "$found/memory.max")" = "$PERSON_UID" ]
  delegated wb update --pids-limit 60 c >/dev/null
  [ "$(cat "$found/pids.max")" = 60 ]
  # The kernel says no, and counts that it did.
  run delegated wb exec c sh -c 'i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i + 1)); done'
  grep -qE '^max [1-9]' "$found/pids.events"
  # From a shell that is elsewhere it is the same container.
  person wb rm -f c
  [ ! -d "$found" ]
  run delegated wb run --rm --net none -m 16m busybox sh -c 'x=x; while :; do x=$x$x; done'
  [ "$status" = 137 ]
  person wb-unshare keep --end
  take_back
}

@test "a controller that was not given is refused by name" {
  give pids
  images
  must_fail 125 delegated wb run --rm --net none -m 64m busybox true
  [[ $stderr = "wb-cgroup: create: "*memory* ]]
  delegated wb run --rm --net none --pids-limit 50 busybox true
  person wb-unshare keep --end
  take_back
}
