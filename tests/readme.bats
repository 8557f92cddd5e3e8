#!/usr/bin/env bats
# README.md tells the truth: its commands work, its paths are there, its tools are all.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}

teardown () {
  wb ps -aq 2>/dev/null | xargs -r wb rm -f >/dev/null 2>&1 || true
  wb_teardown
}

# The lines of all blocks of README.md that are marked as shell.
commands () {
  awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$WB_CHECKOUT/README.md"
}

@test "every command of the README works" {
  commands >commands
  [ "$(wc -l <commands)" -ge 12 ]
  # In a place that looks like a checkout, so that nothing is written to the real one.
  ln -s "$WB_CHECKOUT/wrappers" wrappers
  mkdir -p target/tools && ln -s "$WB_BIN" target/tools/release
  within 120 bash -euxo pipefail commands >out 2>err || {
    cat out err
    return 1
  }
  grep -qx 'it ended with 7' out
  grep -q '^root:x:0:0' out
  grep -q 'Up ' out
  grep -qx '"edited"' out
  # What runc printed.
  grep -qx edited out
}

@test "the two commands and all paths of the tree are there" {
  local path
  [ -x "$WB_CHECKOUT/wrappers/quickstart" ]
  [ -x "$WB_CHECKOUT/tests/run" ]
  for path in $(sed -n '/^## The tree/,$p' "$WB_CHECKOUT/README.md" | sed -n '/^```$/,/^```$/p' | grep -o '^[a-z]*/[a-z]*'); do
    [ -e "$WB_CHECKOUT/$path" ]
  done
  for path in $(grep -o '](\([A-Z][^)]*\))' "$WB_CHECKOUT/README.md" | tr -d '()]'); do
    [ -s "$WB_CHECKOUT/$path" ]
  done
}

@test "the pipeline of the README is the one of wb run" {
  local tool
  for tool in $(wb run --dry-run --net none busybox true | grep -o 'wb-[a-z]* [a-z]*' | sort -u | cut -d' ' -f1); do
    grep -q "$tool" "$WB_CHECKOUT/README.md"
  done
}
