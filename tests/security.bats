#!/usr/bin/env bats
# The defaults of a started container, read from /proc, mountinfo and the kernel's answers, and every flag that
# changes one.

load lib/common
load lib/attacks

setup () {
  wb_setup
  attacker=$(wb_attacker)
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

# start NAME FLAG…: a container that waits; its pid on the host is in $pid.
start () {
  wb run -d --name "$1" --net none "${@:2}" busybox sleep 1000 >/dev/null
  pid=$(wb inspect "$1" | jq '.[0].wb.state.pid')
}
status () { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
inside () { wb run --rm --net none "$@"; }
# Options and type of the mounts of $pid, one a line; those of one place.
mounts () { awk '{ for (i = 7; $i != "-"; i++); print $5, $6, $(i + 1) }' "/proc/$pid/mountinfo"; }
mounted () { mounts | awk -v place="$1" '$1 == place { print $2 }'; }

@test "capabilities, no_new_privs, seccomp, umask, limits: the kernel has what docker's have" {
  start c
  for set in CapBnd CapPrm CapEff; do [ "$(status $set)" = 00000000a80425fb ]; done
  for set in CapInh CapAmb; do [ "$(status $set)" = 0000000000000000 ]; done
  [ "$(status NoNewPrivs)" = 0 ]
  [ "$(status Seccomp)" = 2 ]
  [ "$(status Seccomp_filters)" = 1 ]
  [ "$(status Umask)" = 0022 ]
  grep -Eq '^Max core file size +0 +0 ' "/proc/$pid/limits"
  grep -Eq '^Max open files +1024 +[0-9]+ ' "/proc/$pid/limits"
  [ "$(cat "/proc/$pid/oom_score_adj")" = "$(cat /proc/self/oom_score_adj)" ]
  # 2048 tasks, where the controller is.
  limit=$(find /sys/fs/cgroup -path "*wb-$WB_MACHINE_HASH*" -name pids.max -path "*$(wb inspect c | jq -r '.[0].wb.id')*" | head -n 1)
  [ -z "$limit" ] || [ "$(cat "$limit")" = 2048 ]
  # What is written down is what the kernel has.
  wb inspect c >c.json
  [ "$(jq -c '.[0].process.capabilities | [.bounding, .permitted, .effective | length]' c.json)" = '[14,14,14]' ]
  jq -e '.[0].process | .noNewPrivileges == false and .user.umask == 18 and (.rlimits | length) == 2' c.json
  jq -e '.[0].linux.resources.pids.limit == 2048' c.json
}

@test "the process: nothing of the caller's open, its own session and keyring, its own environment" {
  exec 7</etc 9</etc/passwd
  SECRET=1 wb run -d --name c --net none busybox sleep 1000 >/dev/null
  exec 7<&- 9<&-
  pid=$(wb inspect c | jq '.[0].wb.state.pid')
  [ "$(ls "/proc/$pid/fd" | sort -n | tr '\n' ' ')" = "0 1 2 " ]
  [ "$(readlink "/proc/$pid/fd/0")" = /dev/null ]
  [ "$(tr '\0' '\n' <"/proc/$pid/environ" | cut -d= -f1 | sort | tr '\n' ' ')" = "HOME HOSTNAME PATH " ]
  # Session and terminal: fields 6 and 7, the session's number as the container has it is 1.
  [ "$(wb exec c awk '{ print $6, $7 }' /proc/1/stat)" = "1 0" ]
  [ "$(readlink "/proc/$pid/cwd")" = / ]
  [ "$(readlink "/proc/$pid/root")" = / ]
}

@test "namespaces: all its own but the user's and the time's, and on request" {
  start c
  for kind in cgroup ipc mnt net pid uts; do
    [ "$(readlink "/proc/$pid/ns/$kind")" != "$(readlink "/proc/self/ns/$kind")" ]
  done
  for kind in time user; do [ "$(readlink "/proc/$pid/ns/$kind")" = "$(readlink "/proc/self/ns/$kind")" ]; done
  [ -z "$(wb exec c cut -d: -f3 /proc/1/cgroup | grep -vx /)" ]
  start hosts --cgroupns host --ipc host --uts host --pid host
  for kind in cgroup ipc pid uts; do [ "$(readlink "/proc/$pid/ns/$kind")" = "$(readlink "/proc/self/ns/$kind")" ]; done
}

@test "mounts: docker's, none of them more open" {
  start c
  [ "$(mounted /)" = rw,relatime ]
  [ "$(mounted /proc)" = rw,nosuid,nodev,noexec,relatime ]
  [ "$(mounted /dev)" = rw,nosuid,noexec ]
  [ "$(mounted /dev/pts)" = rw,nosuid,noexec,relatime ]
  for place in /dev/shm /dev/mqueue; do [ "$(mounted $place)" = rw,nosuid,nodev,noexec,relatime ]; done
  [ "$(mounted /sys)" = ro,nosuid,nodev,noexec,relatime ]
  [ -z "$(mounts | awk '$1 ~ "^/sys/" && $2 !~ "^ro,nosuid,(nodev,)?noexec" { print }')" ]
  [ -z "$(mounts | awk '$1 ~ "^/proc/" && $2 !~ "^ro,nosuid,(nodev,)?noexec" { print }')" ]
  # And no other place than these, and the three files of /etc.
  [ -z "$(mounts | cut -d' ' -f1 | grep -vE '^/(proc|sys|dev)?(/|$)' | grep -vE '^/etc/(hosts|hostname|resolv.conf)$')" ]
  [ "$(wb exec c stat -c '%a' /dev/shm)" = 1777 ]
  wb exec c grep -q ' /dev/shm .*size=65536k' /proc/mounts
  wb exec c grep ' /dev/pts ' /proc/mounts | grep -q 'gid=5,mode=620,ptmxmode=666'
  # What is mounted stays here: nothing is shared with the host.
  [ -z "$(awk '{ for (i = 7; $i != "-"; i++) if ($i ~ "shared|master") print }' "/proc/$pid/mountinfo")" ]
}

@test "masked paths show nothing, read-only paths and kernel parameters cannot be written" {
  inside busybox sh -c '
    for file in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
      /proc/scsi /proc/timer_list /proc/timer_stats /sys/dev/block /sys/firmware /sys/devices/virtual/powercap \
      /sys/fs/selinux /sys/devices/system/cpu/cpu*/thermal_throttle; do
      if [ -d $file ]; then [ -z "$(ls -A $file)" ] || echo shown $file
      elif [ -e $file ]; then [ -z "$(head -c 1 $file | tr "\0" x)" ] || echo shown $file; fi
    done
    for file in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness /proc/sys/kernel/hostname \
      /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run /sys/kernel/uevent_helper; do
      (: >>$file) 2>/dev/null && echo opened $file
    done; true' >said
  [ ! -s said ]
  start c
  jq -e '(.[0].linux.maskedPaths | length) >= 14 and (.[0].linux.readonlyPaths | length) == 5' <(wb inspect c)
  # The control: what is unmasked is there.
  [ "$(inside --security-opt unmask=/proc/interrupts busybox head -c 1 /proc/interrupts)" = " " ]
  inside --security-opt systempaths=unconfined busybox sh -c ': >>/proc/sys/kernel/core_pattern'
  must_fail 1 inside --security-opt mask=/etc/group busybox grep root /etc/group
}

@test "devices: nodes and what may be used, by default and with --device and --privileged" {
  list='find /dev ! -type d ! -type l ! -path "/dev/pts/*" -exec stat -c "%n %a %u:%g %t:%T" {} + | sort'
  [ "$(inside busybox sh -c "$list")" = "/dev/full 666 0:0 1:7
/dev/null 666 0:0 1:3
/dev/random 666 0:0 1:8
/dev/tty 666 0:0 5:0
/dev/urandom 666 0:0 1:9
/dev/zero 666 0:0 1:5" ]
  inside busybox sh -c 'echo x >/dev/null; head -c 1 /dev/zero >/dev/null; head -c 1 /dev/urandom >/dev/null; : </dev/random'
  must_fail 1 inside busybox sh -c ': </dev/tty'
  # A device of the host's, to be read only.
  inside --device /dev/zero:/dev/mine:r --cap-drop MKNOD busybox sh -c 'head -c 1 /dev/mine >/dev/null'
  if [ -c /dev/net/tun ]; then
    inside --device /dev/net/tun:/dev/tun:r busybox sh -c ': </dev/tun'
    must_fail 1 inside --device /dev/net/tun:/dev/tun:r busybox sh -c ': >/dev/tun'
  fi
  refused wb run --rm --net none --device /dev/nosuch busybox true
  refused wb run --rm --net none --device /etc/passwd busybox true
  [ "$(inside --privileged busybox sh -c "$list | wc -l")" -gt 6 ]
}

@test "sysctls: docker's pair, in a network of its own only" {
  [ "$(inside busybox cat /proc/sys/net/ipv4/ping_group_range | tr -s '\t ' ' ')" = "0 2147483647" ]
  [ "$(inside busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" = 0 ]
  before=$(cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start)
  wb run --rm --net host busybox true
  [ "$(cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start)" = "$before" ]
}

@test "/etc/hosts is made, and holds nothing of the host's" {
  inside --hostname box --add-host other:192.0.2.7 busybox cat /etc/hosts >hosts
  grep -q '127.0.0.1.*localhost' hosts
  grep -q '192.0.2.7.*other' hosts
  # Of the host's own names only localhost may be in it.
  for name in $(sed 's/#.*//' /etc/hosts | awk '{ for (i = 2; i <= NF; i++) print $i }' | grep -vE '^(localhost|ip6-|box$)' | sort -u); do
    must_fail 1 grep -w -- "$name" hosts
  done
}

@test "cap-add, cap-drop, privileged" {
  [ "$(inside --cap-drop ALL busybox grep CapBnd /proc/self/status | cut -f2)" = 0000000000000000 ]
  [ "$(inside --cap-drop ALL --cap-add chown busybox grep CapEff /proc/self/status | cut -f2)" = 0000000000000001 ]
  all=$(awk '$1 == "CapBnd:" { print $2 }' /proc/self/status)
  [ "$(inside --privileged busybox grep CapEff /proc/self/status | cut -f2)" = "$all" ]
  [ "$(inside --privileged busybox grep Seccomp: /proc/self/status | cut -f2)" = 0 ]
  [ "$(inside -u 1000 busybox grep CapEff /proc/self/status | cut -f2)" = 0000000000000000 ]
  refused wb run --rm --net none --cap-add nosuch busybox true
  # What the caller cannot have nobody gets, and it is said.
  missing=$(capsh --decode="$(printf %x $((~0x$all & 0x1ffffffffff)))" 2>/dev/null | sed 's/.*=//; s/,.*//')
  if [ -z "$missing" ]; then
    missing=cap_sys_time
    alone () { capsh --drop=cap_sys_time -- -c 'exec "$0" "$@"' "$@"; }
  else
    alone () { "$@"; }
  fi
  must_fail 125 alone wb-spec -n run --net none --cap-add "$missing" busybox
  [[ $stderr == *"--cap-add ${missing#cap_}: not in this process's own bounding set"* ]] ||
    [[ ${stderr,,} == *"--cap-add ${missing#cap_}: not in this process's own bounding set"* ]]
}

@test "security-opt: no-new-privileges, seccomp of a file, unconfined, nonsense, AppArmor and SELinux" {
  [ "$(inside --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status | cut -f2)" = 1 ]
  jq -n '{defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 28}]}' >profile.json
  must_fail 1 inside --security-opt seccomp=profile.json busybox mkdir /x
  [[ $stderr == *"No space left"* ]]
  wb-spec -n run --net none --security-opt seccomp=profile.json busybox | jq -e '.linux.seccomp.syscalls[0].names[0] == "mkdir"'
  [ "$(inside --security-opt seccomp=unconfined busybox grep Seccomp: /proc/self/status | cut -f2)" = 0 ]
  refused wb run --rm --net none --security-opt seccomp=/nosuch busybox true
  refused wb run --rm --net none --security-opt no-new-priviliges busybox true
  echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOSUCH"}]}' >bad.json
  refused wb run --rm --net none --security-opt seccomp=bad.json busybox true
  if [ ! -d /sys/kernel/security/apparmor ]; then
    refused wb run --rm --net none --security-opt apparmor=docker-default busybox true
    [[ $stderr == *"without AppArmor"* ]]
  fi
  if [ ! -e /sys/fs/selinux/enforce ]; then
    refused wb run --rm --net none --security-opt label=type:x busybox true
    [[ $stderr == *"without SELinux"* ]]
  fi
  inside --security-opt apparmor=unconfined --security-opt label=disable busybox true
}

# What a container with the profile in the file $1 is told for mkdir(2).
told () { inside --security-opt "seccomp=$1" busybox mkdir /x 2>&1 | sed 's/.*: //'; }
kept_file () {
  wb-spec -n run --net none --security-opt "seccomp=$1" busybox | jq -r '"\(env.WB_ROOT)/seccomp/\(.wb.seccompFilter.of)"'
}

@test "a profile is compiled once: the filter is kept, and a file that is not what it says changes nothing" {
  for errno in 28 17; do
    jq -n --argjson errno "$errno" '{defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: $errno}]}' >"$errno.json"
  done
  [ "$(told 28.json) $(told 17.json)" = "No space left on device File exists" ]
  one=$(kept_file 28.json) other=$(kept_file 17.json)
  [ "$(find "$WB_ROOT/seccomp" -type f -printf '%m %U\n' | sort -u)" = "600 0" ]
  [ "$(find "$WB_ROOT/seccomp" -type f | sort)" = "$(printf '%s\n' "$one" "$other" | sort)" ]
  cp "$one" good
  # The other one's filter under the one's key, with the right digest: it can only be what is kept that counts.
  python3 - "$one" "$other" <<'E'
import hashlib, struct, sys
one, other = (open(name, "rb").read() for name in sys.argv[1:])
rest = one[32:64] + other[64:]
open(sys.argv[1], "wb").write(hashlib.sha256(struct.pack("<Q", len(rest)) + rest).digest() + rest)
E
  [ "$(told 28.json)" = "File exists" ]
  cp "$one" wrong
  # The same file again and again, torn, of another, or not a file at all: it is compiled, and kept anew.
  for break in 'truncate -s -8 "$one"' ': >"$one"' 'printf x | dd of="$one" bs=1 seek=90 conv=notrunc status=none' \
    'chmod 620 "$one"' 'chmod 602 "$one"' 'chown 1 "$one"' 'rm "$one"; ln -s "$PWD/wrong" "$one"' \
    'rm "$one"; mkfifo "$one"' 'cat "$other" >"$one"' 'rm -r "$WB_ROOT/seccomp"'; do
    rm -f "$one"
    mkdir -p "$WB_ROOT/seccomp"
    install -m 600 wrong "$one"
    eval "$break"
    [ "$(told 28.json)" = "No space left on device" ] || { echo "believed after: $break" >&2; return 1; }
    cmp "$one" good
    [ "$(stat -c '%F %a %u' "$one")" = "regular file 600 0" ]
  done
  # Where nothing can be kept the profile counts all the same.
  rm -r "$WB_ROOT/seccomp"
  : >"$WB_ROOT/seccomp"
  [ "$(told 28.json)" = "No space left on device" ]
  rm "$WB_ROOT/seccomp"
  # A profile that was changed in the pipeline is the one that counts.
  wb-spec -n run --net none --security-opt seccomp=28.json busybox >spec.json
  wb-spec -n run --net none --security-opt seccomp=17.json busybox >other.json
  confined () { (wb-confine --seccomp "$1" mkdir made 2>&1 || true) | sed 's/.*: //'; }
  [ "$(confined spec.json)" = "No space left on device" ]
  jq --slurpfile other other.json '.wb.seccompFilter.filter = $other[0].wb.seccompFilter.filter' spec.json >filter.json
  [ "$(confined filter.json)" = "File exists" ]
  jq '.linux.seccomp.syscalls[0].errnoRet = 5' filter.json >profile.json
  [ "$(confined profile.json)" = "Input/output error" ]
}

@test "read-only: the root, and nothing else" {
  must_fail 1 inside --read-only busybox sh -c ': >/file'
  inside --read-only --tmpfs /tmp -v vol:/vol busybox sh -c ': >/tmp/file; : >/vol/file; : >/dev/shm/file'
  start c --read-only
  [ "$(mounted /)" = ro,relatime ]
  # It cannot be taken back inside.
  must_fail 1 wb exec c mount -o remount,rw /
}

@test "the default filter is docker's, as libseccomp has it, call by call" {
  require_program runc
  [ "$(uname -m)" = x86_64 ] || skip "hardware: the numbers are x86_64's"
  mkdir -p bundle/rootfs
  tar -x -C bundle/rootfs -f "$(busybox_tar)"
  wb-spec -n run --net none --rootfs "$PWD/bundle/rootfs" --security-opt seccomp=default -v "$attacker:/attacker:ro" \
    /attacker calls | jq 'del(.wb)' >bundle/config.json
  within 60 runc --root "$PWD/runc" run --bundle bundle "wb-test-$$" >theirs </dev/null
  within 60 wb run --rm --net none -v "$attacker:/attacker:ro" busybox /attacker calls >ours
  [ "$(wc -l <ours)" -gt 550 ]
  [ "$(wc -l <ours)" = "$(wc -l <theirs)" ]
  # A call that this libseccomp has no name for is none to it (38), and one to us. uretprobe(2) is another one without a
  # name, which kernels before 6.11 do not have.
  paste -d' ' ours theirs |
    awk '$3 != $6 && !($1 == "call" && $2 > 450 && $6 == 38) && !($1 == "call" && $2 == 335 && $3 == 38)' >differences
  cat differences >&2
  [ ! -s differences ]
  [ "$(grep -c ' 1$' ours)" -gt 40 ]
  [ "$(grep -c ' 0$' ours)" -gt 250 ]
}

@test "a user namespace: 65536 ids of its own each, its files and volumes seen right, entered, on a network" {
  wb run -d --name c --userns auto --sysctl net.core.somaxconn=99 -v vol:/vol busybox sleep 1000 >/dev/null
  pid=$(wb inspect c | jq '.[0].wb.state.pid')
  read -r inside_id host_id size <"/proc/$pid/uid_map"
  [ "$inside_id $size" = "0 65536" ]
  [ "$host_id" -ge 1073741824 ]
  cmp "/proc/$pid/uid_map" "/proc/$pid/gid_map"
  [ "$(stat -c %u "/proc/$pid")" = "$host_id" ]
  [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ]
  [ "$(status CapEff)" = 00000000a80425fb ]
  [ "$(wb exec c stat -c %u:%g /bin/busybox)" = 0:0 ]
  wb exec c sh -c 'touch /vol/file && chown 5:6 /vol/file'
  [ "$(wb exec c stat -c %u:%g /vol/file)" = 5:6 ]
  [ "$(stat -c %u:%g "$WB_ROOT/volumes/vol/_data/file")" = 5:6 ]
  [ "$(wb exec -u 1000 c id -u)" = 1000 ]
  # On the default network: an address, a way to the host, its own parameters.
  address=$(wb inspect c | jq -r '.[0].wb.network.result.ips[0].address' | cut -d/ -f1)
  ping -c 1 -W 5 "$address" >/dev/null
  [ "$(wb exec c cat /proc/sys/net/core/somaxconn)" = 99 ]
  # Its root is nobody here: not even what all may read of root's alone.
  mkdir -m 700 closed
  must_fail 1 wb run --rm --net none --userns auto -v "$PWD/closed:/closed" busybox ls /closed
}

@test "a user namespace of given maps, of none, and what contradicts" {
  wb run -d --name m --net none --userns 0:300000:1000 busybox sleep 1000 >/dev/null
  pid=$(wb inspect m | jq '.[0].wb.state.pid')
  [ "$(tr -s ' ' <"/proc/$pid/uid_map")" = " 0 300000 1000" ]
  start h --userns host
  [ "$(readlink "/proc/$pid/ns/user")" = "$(readlink /proc/self/ns/user)" ]
  refused wb run --rm --net none --userns nosuch busybox true
  refused wb run --rm --net none --privileged --userns auto busybox true
}

@test "twenty user namespaces at once share no id" {
  seq 20 | xargs -P 20 -I{} wb run -d --name u{} --net none --userns auto busybox sleep 1000 >ids
  [ "$(wc -l <ids)" = 20 ]
  for n in $(seq 20); do cat "/proc/$(wb inspect "u$n" | jq '.[0].wb.state.pid')/uid_map"; done | awk '{ print $2, $3 }' | sort -n >ranges
  [ "$(wc -l <ranges)" = 20 ]
  [ -z "$(awk 'NR > 1 && $1 < end { print } { end = $1 + $2 }' ranges)" ]
}
