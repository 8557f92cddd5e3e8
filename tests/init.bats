#!/usr/bin/env bats
# --init: process 1 is ours, the program its child.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}
teardown () { wb_teardown; }

run_init () { within 20 wb run --rm --init --network none busybox "$@"; }

@test "the program is process 2 and its end is the container's" {
  run_init sh -c 'echo $$ >/dev/stderr; exit 5' 2>err || status=$?
  [ "$status" -eq 5 ]
  [ "$(cat err)" = 2 ]
  must_fail 137 run_init sh -c 'kill -9 $$'
  must_fail 127 run_init nosuch
}

@test "orphans are reaped" {
  # A grandchild that ends after its parent would stay a zombie without an init.
  [ "$(run_init sh -c '(sh -c "sleep 0.1 &"); sleep 0.6; ps -o stat' | grep -c Z)" = 0 ]
}

@test "a signal the program does not handle stops it" {
  id=$(wb run -d --init --network none busybox sleep 100)
  started=$SECONDS
  wb stop -t 15 "$id"
  [ $((SECONDS - started)) -lt 10 ]
  [ "$(wb-state get "$id" | jq .wb.state.exitCode)" = 143 ]
  wb rm "$id"
}

@test "process 1 has given up what the program has given up" {
  run_init sh -c 'grep -E "^(Cap(Eff|Bnd)|Seccomp):" /proc/1/status >/tmp/one; grep -E "^(Cap(Eff|Bnd)|Seccomp):" /proc/self/status | cmp - /tmp/one'
}
