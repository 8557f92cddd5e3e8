#!/usr/bin/env bats
# Many at once: more than the machine likes, and commands that race each other and the container's own end.

load lib/common
load lib/traces

setup () {
  wb_setup
  make_busybox_image
  wb run --rm busybox true
  remember
}

teardown () { wb_teardown; }

# one NUMBER: a run with an output and a status of its own, noted with what came of it.
one () {
  local status=0 output
  output=$(wb run --rm --name "many$1" busybox sh -c "echo out-$1; exit $(($1 % 7))" 2>"err.$1") || status=$?
  echo "$1 $output $status $(wc -c <"err.$1")"
}

@test "a hundred runs started together: each has its own output and status, and nothing is left" {
  export -f one
  seq 100 | WB_COMMAND_TIMEOUT=100 xargs -P 100 -I{} bash -c 'one {}' | sort -n >results
  for i in $(seq 100); do echo "$i out-$i $((i % 7)) 0"; done >expected
  diff expected results
  eventually 10 as_before
}

@test "of ten that want one name one runs, and the others say who has it" {
  for i in $(seq 10); do
    {
      status=0
      within 60 wb run -d --name only busybox sleep 1000 >"out.$i" 2>"err.$i" || status=$?
      echo "$status" >"status.$i"
    } &
  done
  wait
  [ "$(cat status.* | sort | uniq -c | tr -s ' ' | paste -sd,)" = ' 1 0, 9 125' ]
  [ "$(cat err.* | grep -c 'the name "only" is in use by container')" -eq 9 ]
  [ "$(wb ps -q | wc -l)" -eq 1 ]
  wb exec only true
  wb rm -f only
  eventually 5 as_before
}

@test "stop, rm -f, kill and the container's own end, all at the same moment" {
  for round in $(seq 8); do
    wb run -d --name race busybox sleep "0.$((round % 4))1" >/dev/null
    { within 30 wb stop -t 0 race; within 30 wb stop -t 0 race; } >/dev/null 2>&1 &
    within 30 wb kill race >/dev/null 2>&1 &
    within 30 wb rm -f race >/dev/null 2>&1 &
    within 30 wb rm -f race >/dev/null 2>&1 &
    wait
    # Whoever came last: it is gone, or goes now.
    if [ -L "$WB_ROOT/names/race" ]; then within 30 wb rm -f race; fi
    eventually 5 as_before || {
      what_is_left >&2
      return 1
    }
  done
}

@test "one that is started and one that is removed at the same moment" {
  for _ in $(seq 6); do
    wb create --name pair busybox sleep 1000 >/dev/null
    within 30 wb start pair >/dev/null 2>&1 &
    within 30 wb rm -f pair >/dev/null 2>&1 &
    wait
    if [ -L "$WB_ROOT/names/pair" ]; then within 30 wb rm -f pair; fi
    eventually 5 as_before || {
      what_is_left >&2
      return 1
    }
  done
}
