#!/usr/bin/env bats
# What the pages tell a person to type works as they say.

load lib/common
load lib/pages

setup () {
  wb_setup
  page_root=$WB_CHECKOUT/man
}
teardown () {
  # A session that broke off leaves its lab.
  {
    wb-cgroup -n --id lab delete
    wb-netns -n del --id lab
    wb-rootfs -n umount --id lab --purge
    ip link del br-lab
  } >/dev/null 2>&1 || true
  wb_teardown
}

# The examples of a page: every line must succeed.
examples () {
  page_blocks "$page_root/$1" EXAMPLES >examples.sh
  [ -s examples.sh ]
  within 60 bash -euo pipefail examples.sh >examples.out 2>&1 || {
    cat examples.sh examples.out >&2
    return 1
  }
}

@test "the tutorial, from a directory to a pinging container" {
  require_program jq perl ping busybox
  page_blocks "$page_root/wb-tutorial.7" '' >session
  [ "$(grep -c '^# ' session)" -gt 30 ]
  run_session session
}

@test "from nothing to a pinging container in under twenty commands" {
  [ "$(sed '/All together/q' "$page_root/wb-tutorial.7" | grep -c -E '^# (wb-(rootfs -n mount|netns -n add|cgroup -n create)|mkdir|cp|chroot rootfs /bin)')" -lt 20 ]
}

@test "examples: wb" {
  make_busybox_image
  examples wb.1
}

@test "examples: wb-cgroup" { examples wb-cgroup.8; }

@test "examples: wb-describe" { examples wb-describe.8; }

@test "examples: wb-monitor" {
  make_busybox_image
  examples wb-monitor.8
}

@test "examples: wb-oci" { examples wb-oci.8; }

@test "examples: wb-trace" { examples wb-trace.8; }

@test "every tool and every flow has its page" {
  for tool in "$WB_CHECKOUT"/tools/*/; do
    [ -e "$page_root/$(basename "$tool").8" ]
  done
  for flow in "$WB_CHECKOUT"/wrappers/cmd/*.sh; do
    name=$(basename "$flow" .sh)
    case $name in
    lib | stages | health) ;;
    *) grep -qE "^\.(It )?Cm .*\b$name\b|\bCm $name\b" "$page_root/wb.1" || { echo "wb.1 does not know $name" >&2; return 1; } ;;
    esac
  done
}
