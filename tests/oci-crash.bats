#!/usr/bin/env bats
# wb-oci: whoever of a container's makers is killed, at whatever moment, its state is true and its deletion whole. The
# moments are system calls, at which strace sends the signal, and no times.

load lib/common
load lib/oci

setup () {
  wb_setup
  require_program strace jq
  oci_bundle
  configure '.process.args = ["sleep", "300"]'
}
teardown () {
  oci_clean
  wb_teardown
}

# killed_at CALL NTH COMMAND…: each process of COMMAND is killed at its NTH CALL. strace stays for those that stay.
killed_at () {
  local call=$1 nth=$2
  shift 2
  within 60 strace -D -f -qq -o trace -e "trace=$call" -e "inject=$call:signal=KILL:when=$nth" "$@" >out 2>err 3>&- </dev/null
}

# What a killed maker has started may be on its way still.
is_settled () {
  status=$(status_of one 2>/dev/null) || true
  case $status in
  created | stopped | '') ;;
  *) false ;;
  esac
}

command_of () { tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline"; }
is_gone () { [ -z "$(wb_processes)$(wb_cgroups)$(wb-oci list -q)" ] && [ ! -e "$WB_RUN/oci/one" ] && [ ! -e "$WB_ROOT/oci/one" ]; }
nobody_runs_it () {
  local pid
  for pid in $(wb_processes); do [ "$(command_of "$pid")" != 'sleep 300 ' ] || return 1; done
}

at_each_moment_of_create () {
  local call nth ended status pid
  while read -r call nth; do
    ended=0
    killed_at "$call" "$nth" wb-oci create --bundle "$bundle" one || ended=$?
    # Killed, a failure, or one that was made because nobody came to that call.
    case $ended in 0 | 1 | 126 | 127 | 137) ;; *) false ;; esac || {
      printf '%s %s: status %s\n' "$call" "$nth" "$ended" >&2
      return 1
    }
    eventually 20 is_settled
    pid=$(pid_of one 2>/dev/null) || pid=0
    case $status in
    created) [[ $(command_of "$pid") = *wb-confine* ]] ;;
    # A failure that was reported leaves nothing behind; who is killed cannot clear up.
    stopped) [ "$pid" = 0 ] && [ "$ended" = 137 ] ;;
    '') [ "$ended" != 0 ] ;;
    esac && nobody_runs_it || {
      printf '%s %s: status %s, state "%s", pid %s\n' "$call" "$nth" "$ended" "$status" "$pid" >&2
      cat err >&2
      return 1
    }
    wb-oci delete --force one
    eventually 10 is_gone || {
      printf '%s %s: left behind: %s\n' "$call" "$nth" "$(wb_processes; wb_cgroups; wb-oci list -q)" >&2
      return 1
    }
  done
}

@test "create: wb-oci, wb-cgroup, wb-unshare, wb-rootfs or wb-confine is killed, and nothing is left" {
  at_each_moment_of_create <<'END'
mkdir 1
mkdir 4
flock 1
rename 1
rename 3
write 2
memfd_create 1
mknodat 1
mknodat 3
execve 2
clone3 1
wait4 1
setsid 1
sethostname 1
open_tree 1
fsmount 5
move_mount 1
move_mount 9
mount_setattr 3
pivot_root 1
umount2 1
execveat 1
keyctl 1
close_range 1
setresuid 1
prctl 3
END
  # The list means something: both ends of it were met.
  create one
  wb-oci start one
  [ "$(command_of "$(pid_of one)")" = 'sleep 300 ' ]
}

@test "start and delete: whoever is killed, the next one finds the truth and ends the work" {
  local call nth
  while read -r call nth; do
    create one
    killed_at "$call" "$nth" wb-oci start one || true
    started () { case $(status_of one) in created | running | stopped) ;; *) false ;; esac; }
    eventually 20 started
    # It may have been let go, and be on its way.
    if [ "$(status_of one)" = created ]; then wb-oci start one 2>/dev/null || true; fi
    runs_it () { has_status one running && [ "$(command_of "$(pid_of one)")" = 'sleep 300 ' ]; }
    eventually 20 runs_it
    killed_at "$call" "$nth" wb-oci delete --force one || true
    wb-oci delete --force one
    eventually 10 is_gone
  done <<'END'
openat 2
unlink 1
write 1
read 5
pidfd_open 1
pidfd_send_signal 1
memfd_create 1
rmdir 1
rmdir 3
unlinkat 1
END
}

@test "a maker that was killed before it knew whom it made: delete --force ends who waits" {
  create one
  local pid directory
  pid=$(pid_of one)
  directory=$(dirname "$(find "$WB_SCRATCH" -path '*/one/exec.fifo')")
  # As for a user without a cgroup: neither the process nor the cgroup was written down.
  jq -c 'del(.wb.state, .wb.cgroup) | .linux.cgroupsPath = "none"' "$directory/config.json" >new
  mv new "$directory/config.json"
  has_status one stopped
  kill -0 "$pid"
  wb-oci delete --force one
  ended () { [ ! -e "/proc/$pid" ] || [ "$(awk '$1 == "State:" { print $2 }' "/proc/$pid/status")" = Z ]; }
  eventually 10 ended
  nobody_runs_it
  [ -z "$(wb-oci list -q)" ]
  # What it was made in is nobody's any more.
  find /sys/fs/cgroup/*/"wb-$WB_MACHINE_HASH" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
}
