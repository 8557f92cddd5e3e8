# What every flow test stands on: `load lib/common`, wb_setup in setup, wb_teardown in teardown.
#
#   wb_setup              scratch WB_ROOT and WB_RUN, PATH with the built tools and wrappers, a limit on time
#   wb_teardown           takes everything back, and fails the test if the tools left anything behind
#   must_fail STATUS CMD  CMD ends with exactly STATUS; its words are in $output (stdout) and $stderr
#   within SECONDS CMD    CMD, killed (status 124) if it takes longer
#   eventually SECONDS CMD  CMD, again and again until it succeeds
#   make_busybox_image    imports a busybox root as the image `busybox`
#   require_hardware / require_program   skips, with a reason
#
# From the environment:
#   WB_BIN            the directory of the tools; otherwise the newest of target/*/{release,debug}
#   WB_FIXTURES       where made images are kept (target/fixtures)
#   WB_TEST_TIMEOUT   seconds for one test (120)
#   WB_TEST_SLOW      how many times slower than usual this machine is: a factor of the seconds (1)
#   WB_TEST_STRICT=1  nobody else uses the machine: any new interface, namespace or table is a leftover

bats_require_minimum_version 1.5.0

# shellcheck source=tests/lib/machine.bash
. "${BASH_SOURCE[0]%/*}/machine.bash"
# shellcheck source=tests/lib/find-bin.bash
. "${BASH_SOURCE[0]%/*}/find-bin.bash"

WB_CHECKOUT=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
export WB_FIXTURES=${WB_FIXTURES:-$WB_CHECKOUT/target/fixtures}

wb_setup () {
  WB_BIN=$(wb_find_bin "$WB_CHECKOUT") || return
  export WB_BIN
  # A path without links: the kernel writes the real one into mountinfo.
  WB_SCRATCH=$(cd "$(mktemp -d "${TMPDIR:-/tmp}/wb-test.XXXXXX")" && pwd -P) || return
  export WB_SCRATCH WB_ROOT=$WB_SCRATCH/root WB_RUN=$WB_SCRATCH/run
  # The wrappers last: one of them has the name of install(1).
  export PATH=$WB_BIN:$PATH:$WB_CHECKOUT/wrappers
  unset WB_TRACE WB_DOC CNI_COMMAND
  # What the tools call the things that the whole machine shares, such as bridges, in this place.
  WB_MACHINE_HASH=$(printf '%s\0%s' "$WB_ROOT" "$WB_RUN" | sha256sum)
  WB_MACHINE_HASH=${WB_MACHINE_HASH:0:6}
  export WB_MACHINE_HASH
  wb_machine >"$WB_SCRATCH/machine.before"
  wb_watchdog_start
  cd "$WB_SCRATCH" || return
}

wb_teardown () {
  local left end=$((SECONDS + 1 + ${WB_TEST_SLOW:-1})) status=0
  [ -n "${WB_SCRATCH:-}" ] || return 0
  cd / || return
  wb_watchdog_stop
  wb_forget_networks
  # Some things die a little later in the kernel, and nobody waits for it there.
  while left=$(wb_leftovers) && [ -n "$left" ] && [ "$SECONDS" -lt "$end" ]; do
    sleep 0.05
  done
  if [ -n "$left" ]; then
    printf 'left behind:\n%s\n' "$left" >&2
    status=1
    wb_sweep
  fi
  # The parent of the place's cgroups may stay while the place does; empty it goes with it.
  rmdir /sys/fs/cgroup/{,*/}wb-"$WB_MACHINE_HASH" 2>/dev/null || true
  if [ -n "$(wb_mounts)" ]; then
    echo "still mounted below $WB_SCRATCH: not deleted" >&2
    return 1
  fi
  rm -rf --one-file-system "$WB_SCRATCH" || status=1
  unset WB_SCRATCH
  return "$status"
}

# must_fail STATUS CMD…: the command fails with exactly this status.
must_fail () {
  local want=$1
  shift
  [ "$want" -ne 0 ] || {
    echo "must_fail: 0 is not a failure" >&2
    return 1
  }
  local run=(run --separate-stderr)
  # 127 must be announced, or bats warns of a command that is not there.
  if [ "$want" -eq 127 ]; then run+=(-127); fi
  if [ "$(type -t "$1")" = file ]; then run+=(timeout $((${WB_COMMAND_TIMEOUT:-60} * ${WB_TEST_SLOW:-1}))); fi
  "${run[@]}" "$@"
  # shellcheck disable=SC2154 # run sets status, output and stderr
  [ "$status" -eq "$want" ] || {
    printf 'expected status %s, got %s: %s\nstdout: %s\nstderr: %s\n' \
      "$want" "$status" "$*" "$output" "${stderr:-}" >&2
    return 1
  }
}

within () {
  local seconds=$1
  shift
  timeout $((seconds * ${WB_TEST_SLOW:-1})) "$@"
}

# eventually SECONDS CMD…: succeeds as soon as CMD does.
eventually () {
  local end=$((SECONDS + $1 * ${WB_TEST_SLOW:-1}))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# require_hardware COMMAND REASON: a skip that CI accepts.
require_hardware () {
  eval "$1" >/dev/null 2>&1 || skip "hardware: $2"
}

require_program () {
  local program
  for program; do
    command -v "$program" >/dev/null || skip "$program is missing"
  done
}

# The tar of the busybox root; made once for all tests.
busybox_tar () {
  local tar=$WB_FIXTURES/busybox.tar
  if [ ! -s "$tar" ] || [ "$tar" -ot "$WB_CHECKOUT/wrappers/starter-image" ]; then
    mkdir -p "$WB_FIXTURES"
    "$WB_CHECKOUT/wrappers/starter-image" "$tar.$$" && mv "$tar.$$" "$tar" || return
  fi
  echo "$tar"
}

make_busybox_image () {
  local tar
  tar=$(busybox_tar) || return
  # Quiet, unless it fails.
  within 60 wb-image import "$tar" busybox >"$WB_SCRATCH/import.out" 2>&1 || {
    cat "$WB_SCRATCH/import.out" >&2
    return 1
  }
}

# --- the machine -------------------------------------------------------------------------------------------

# What wb_machine shows that is this place's (or, when strict, that is new).
wb_machine_news () {
  local line before
  before=$'\n'$(<"$WB_SCRATCH/machine.before")$'\n'
  wb_machine | while read -r line; do
    case $before in *$'\n'"$line"$'\n'*) continue ;; esac
    case ${WB_TEST_STRICT:-}/$line in 1/* | *"$WB_MACHINE_HASH"*) echo "$line" ;; esac
  done
}

# The mounts of this place, the last first.
wb_mounts () {
  local path mounts=
  while read -r _ _ _ _ path _; do
    case $path in "$WB_SCRATCH" | "$WB_SCRATCH"/*) mounts=$path$'\n'$mounts ;; esac
  done </proc/self/mountinfo
  printf %s "$mounts"
}

# What is left of this place, one a line.
wb_leftovers () {
  # In a subshell always: the programs run here must not look like this place's own.
  export -n WB_ROOT WB_RUN
  local path
  wb_mounts | while read -r path; do echo "mount $path"; done
  wb_machine_news
  for path in $(wb_cgroups); do echo "cgroup $path"; done
  for path in "$WB_ROOT"/containers/* "$WB_ROOT"/names/* "$WB_RUN"/containers/*; do
    if [ -e "$path" ] || [ -L "$path" ]; then echo "file $path"; fi
  done
  for path in $(wb_processes); do
    if [ -d "/proc/$path" ]; then
      echo "process $path $(tr '\0' ' ' 2>/dev/null <"/proc/$path/cmdline")"
    fi
  done
  return 0
}

# This place's cgroups, the children first. The empty parent is the tools' to keep.
wb_cgroups () {
  local mount
  for mount in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    mount=${mount%/}/wb-$WB_MACHINE_HASH
    if [ -d "$mount" ]; then find "$mount" -mindepth 1 -depth -type d 2>/dev/null; fi
  done
}

# This place's tools and containers' processes.
wb_processes () {
  local file
  {
    # A program's environment as it was started with; the test's own shells are forks without it.
    grep -lzsxF -- "WB_ROOT=$WB_ROOT" /proc/[0-9]*/environ
    # A process whose root is an overlay of this place.
    grep -lsE -- "^[0-9]+ [0-9]+ [0-9:]+ / / .*$WB_SCRATCH" /proc/[0-9]*/mountinfo
    for file in $(wb_cgroups); do
      sed 's,.*,/proc/&/,' "$file/cgroup.procs" 2>/dev/null
    done
  } | cut -d/ -f3 | sort -un
}

# The bridge and the rules of a network stay as long as the network: they are given back with it.
wb_forget_networks () {
  local file name
  for file in "$WB_ROOT"/networks/*.conflist; do
    [ -e "$file" ] || continue
    name=${file##*/}
    within 20 wb-netns network rm "${name%.conflist}" >/dev/null || true
  done
}

# Takes away by force what the tools left, so that one failed test does not fail the next.
wb_sweep () (
  export -n WB_ROOT WB_RUN
  # Nothing that is frozen dies on v1.
  for path in $(wb_cgroups); do
    if [ -e "$path/freezer.state" ]; then echo THAWED >"$path/freezer.state"; fi
  done
  for pid in $(wb_processes); do kill -KILL "$pid" 2>/dev/null; done
  wb_mounts | while read -r path; do umount -l "$path"; done
  wb_machine_news | while read -r kind name; do
    case $kind in
    interface) ip link del "$name" 2>/dev/null ;;
    netns) ip netns del "$name" ;;
    nft) nft "delete $name" ;;
    esac
  done
  sleep 0.1
  for path in $(wb_cgroups); do rmdir "$path"; done
)

# --- time --------------------------------------------------------------------------------------------------

# A test that hangs is killed, with all its children; the command that hung fails.
wb_watchdog_start () {
  # Not $$, which is the whole file's: the shell that runs this test.
  local test=$BASHPID
  (
    exec </dev/null >/dev/null 2>&1 3>&-
    trap - ERR EXIT DEBUG
    set +e
    exec {never}<> <(:)
    read -r -t $((${WB_TEST_TIMEOUT:-120} * ${WB_TEST_SLOW:-1})) -u "$never"
    while kill -0 "$test"; do
      wb_kill_children "$test"
      read -r -t 1 -u "$never"
    done
  ) &
  WB_WATCHDOG=$!
  disown "$WB_WATCHDOG"
}

wb_watchdog_stop () {
  if [ -n "${WB_WATCHDOG:-}" ]; then kill "$WB_WATCHDOG" 2>/dev/null || true; fi
  WB_WATCHDOG=
}

wb_kill_children () {
  local child
  for child in $(pgrep -P "$1"); do
    if [ "$child" != "$BASHPID" ]; then
      wb_kill_children "$child"
      kill -KILL "$child"
    fi
  done
}
