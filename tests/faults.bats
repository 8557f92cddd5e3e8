#!/usr/bin/env bats
# What the machine refuses: a full disk, a directory that cannot be written, no descriptors, kernel calls that fail,
# an nft that fails. Each is one clear error, and everything is undone.

load lib/common
load lib/traces

setup () {
  wb_setup
  make_busybox_image
  wb run --rm busybox true
  remember
}

teardown () {
  umount "$WB_ROOT/containers" 2>/dev/null || true
  wb_teardown
}

# refused COMMAND…: fails with a message, without a panic, and leaves nothing; then it works again.
refused () {
  local status=0
  within 60 "$@" >out 2>err </dev/null || status=$?
  [ "$status" -ne 0 ] && [ "$status" -lt 128 ] && [ -s err ] && ! grep -q panicked err && eventually 5 as_before || {
    printf 'status %s of: %s\n' "$status" "$*" >&2
    cat err >&2
    what_is_left >&2
    return 1
  }
}

@test "a full disk: nothing half is stored, and there is room again afterwards" {
  mount -t tmpfs -o size=16k,mode=700 tmpfs "$WB_ROOT/containers"
  head -c 1000000 /dev/zero >"$WB_ROOT/containers/ballast" 2>/dev/null || true
  remember
  refused wb run --rm busybox true
  grep -q 'No space left on device (ENOSPC)' err
  rm "$WB_ROOT/containers/ballast"
  umount "$WB_ROOT/containers"
  wb run --rm busybox true
}

@test "records that cannot be written: one error, and what is there can still be read" {
  wb run -d --name there busybox sleep 1000 >/dev/null
  remember
  mount --bind "$WB_ROOT/containers" "$WB_ROOT/containers"
  mount -o remount,bind,ro "$WB_ROOT/containers"
  remember
  refused wb run --rm busybox true
  grep -q 'Read-only file system (EROFS)' err
  [ "$(wb ps --format '{{.Names}} {{.State}}')" = 'there running' ]
  wb exec there true
  umount "$WB_ROOT/containers"
  wb rm -f there
}

@test "too few descriptors: an error or a container, never half of one" {
  for limit in 4 5 6 7 8 9 10 12 14; do
    status=0
    within 60 prlimit --nofile="$limit" wb run --rm busybox true >out 2>err </dev/null || status=$?
    run ! grep -q panicked err
    [ "$status" -eq 0 ] || [ -s err ]
    within 20 wb gc
    eventually 5 as_before || {
      printf 'with %s descriptors, status %s\n' "$limit" "$status" >&2
      what_is_left >&2
      return 1
    }
  done
  wb run --rm busybox true
}

@test "kernel calls that fail: an error that names the object, and everything is undone" {
  while read -r call errno; do
    refused strace -f -qq -o trace -e "trace=$call" -e "inject=$call:error=$errno:when=1" wb run --rm busybox true
    grep -q "$errno" trace
    grep -q "($errno)" err
  done <<'END'
mount_setattr ENOMEM
move_mount ENOSPC
fsopen ENOMEM
clone3 EAGAIN
pivot_root EINVAL
sethostname EPERM
capset EPERM
END
  wb run --rm busybox true
}

@test "an nft that fails: no container in that network, and the error says why" {
  mkdir bin
  printf '#!/bin/sh\necho "nft is out of order" >&2\nexit 1\n' >bin/nft
  chmod +x bin/nft
  wb network create broken >/dev/null
  remember
  refused env PATH="$PWD/bin:$PATH" wb run --rm --network broken busybox true
  grep -q 'nft is out of order' err
  wb run --rm --network broken busybox true
}

@test "records that are torn or garbled are reported, and the others still work" {
  for name in whole torn garbled; do wb create --name "$name" busybox true >/dev/null; done
  for name in torn garbled; do
    file=$WB_ROOT/containers/$(readlink "$WB_ROOT/names/$name")/config.json
    case $name in
    torn) head -c 200 "$file" >cut && cat cut >"$file" ;;
    garbled) head -c 3000 /dev/urandom >"$file" ;;
    esac
  done
  wb ps -a --format '{{.Names}}' >out 2>err || true
  [ "$(cat out)" = whole ]
  [ "$(grep -c 'record of' err)" -eq 2 ]
  wb start -a whole
  # They can be forgotten, as the hint says.
  for name in torn garbled; do
    run ! wb start "$name"
    [[ $output == *"record of"* ]]
    wb-state -n rm --id "$(readlink "$WB_ROOT/names/$name")" >/dev/null
  done
  wb rm whole
  eventually 5 as_before
}
