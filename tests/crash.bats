#!/usr/bin/env bats
# Tools that are killed at their kernel calls: whatever is half made goes with `wb gc`, or with the next `wb run`, and a
# living container loses nothing.
#
#   WB_CRASH_EVERY   every how many calls one is tried (9); 1 walks through all of them, which takes minutes

load lib/common
load lib/traces

every=${WB_CRASH_EVERY:-9}
tools='wb-spec wb-state wb-pull wb-rootfs wb-ipam wb-netns wb-cgroup wb-monitor wb-unshare wb-confine'

setup () {
  wb_setup
  make_busybox_image
  wb run -d --name living busybox sleep 1000 >/dev/null
  living=$(wb-state get living | jq .wb.state.pid)
  start=$(start_time "$living")
  # The network and its bridge stay; so does the one that lives.
  wb run --rm busybox true
  remember
}

teardown () {
  wb rm -f living victim >/dev/null 2>&1 || true
  wb_teardown
}

start_time () { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20; }

living_lives () {
  [ "$(start_time "$living")" = "$start" ]
  [ "$(wb-state get living | jq -r .wb.state.status)" = running ]
  wb exec living true
}

# calls COMMAND…: the most kernel calls that one process of each tool makes in it, as `tool count` lines.
calls () {
  rm -f "$WB_SCRATCH/calls"
  WB_TRACE=json:$WB_SCRATCH/calls "$@" >/dev/null 2>&1
  jq -rs 'group_by([.tool, .pid]) | map({tool: .[0].tool, count: length}) | group_by(.tool)[] |
    "\(.[0].tool) \(map(.count) | max)"' "$WB_SCRATCH/calls"
}

# walk DEATHS CHECK COMMAND…: kills each tool at every so many calls of COMMAND; after each death CHECK has to hold.
# There have to be so many of them, or this tests nothing.
walk () {
  local least=$1 check=$2 tool count n walked=0
  shift 2
  while read -r tool count; do
    case " $tools " in *" $tool "*) ;; *) continue ;; esac
    for ((n = 1; n <= count; n += every)); do
      WB_KILL_AT=$tool:$n within 20 "$@" >/dev/null 2>&1 </dev/null || true
      "$check" || {
        printf 'killed: %s at call %s of: %s\n' "$tool" "$n" "$*" >&2
        what_is_left >&2
        return 1
      }
      walked=$((walked + 1))
    done
  done <"$WB_SCRATCH/plan"
  [ "$walked" -ge "$least" ] || {
    printf 'only %s deaths in: %s\n' "$walked" "$(paste -sd, "$WB_SCRATCH/plan")" >&2
    return 1
  }
}

cleaned_up () {
  within 20 wb gc && eventually 3 as_before && living_lives
}

@test "wb run, killed anywhere: wb gc gives everything back, and nothing of the living" {
  calls wb run --rm busybox true >plan
  eventually 5 as_before
  walk 16 cleaned_up wb run --rm busybox true
  wb run --rm busybox true
}

victim () { wb run -d --name victim busybox sleep 1000 >/dev/null; }

removable () {
  within 20 wb gc || return
  if [ -L "$WB_ROOT/names/victim" ]; then within 20 wb rm -f victim >/dev/null || return; fi
  eventually 3 as_before && living_lives && victim
}

@test "wb stop and wb rm -f, killed anywhere: done again they end as they should" {
  # They make few.
  every=$(((every + 3) / 4))
  victim
  calls wb rm -f victim >plan
  eventually 5 as_before
  victim
  walk 3 removable wb rm -f victim
  every=1
  calls wb stop -t 0 victim >plan
  wb rm victim
  eventually 5 as_before
  victim
  walk 3 removable wb stop -t 0 victim
  wb rm -f victim
}

@test "what a killed wb run has left goes with the next one after a second, which says nothing of it" {
  for at in wb-netns:9 wb-rootfs:20 wb-monitor:25; do
    WB_KILL_AT=$at wb run --rm busybox true >/dev/null 2>&1 || true
    # What is younger may be being made.
    sleep 1.1
    run --separate-stderr wb run --rm busybox echo fine
    [ "$status" -eq 0 ] && [ "$output" = fine ] && [ -z "$stderr" ]
    eventually 5 as_before
  done
  living_lives
}

@test "without that care something is left, and the look finds it" {
  WB_KILL_AT=wb-cgroup:2 wb run --rm busybox true >/dev/null 2>&1 || true
  run ! as_before
  wb gc
  eventually 3 as_before
}
