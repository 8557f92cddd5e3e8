#!/bin/sh
# Run inside a container, as its first process: what it has and sees, one thing a line, in words that two
# containers of the same image have alike. It needs nothing but busybox.
set -eu

status () { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }

for name in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Uid Gid Groups; do
    echo "process $name $(status "$name" | tr -s '[:space:]' ' ')"
done
echo "process umask $(umask)"
echo "process oom_score_adj $(cat /proc/self/oom_score_adj)"
tail -n +2 /proc/self/limits | sed -E 's/ {2,}/\t/g' | while IFS="$(printf '\t')" read -r name soft hard _; do
    echo "limit $name $soft $hard"
done

# Whether something can be made there, or the file opened for writing: what the bits of its mode say is nothing.
writable () {
    if [ -d "$1" ]; then
        mkdir "$1/.probe" 2>/dev/null && rmdir "$1/.probe"
    else
        (: >>"$1") 2>/dev/null
    fi
}

for kind in cgroup ipc mnt net pid time user uts; do
    echo "namespace $kind $(readlink "/proc/self/ns/$kind")"
done

# Options of a file system, and its flags, where it is mounted. Numbers of devices and inodes are nobody's business.
while read -r _ _ _ root place flags rest; do
    type=${rest##*- }
    options=${type#* * }
    type=${type%% *}
    case $place in
    /sys/fs/cgroup/*) continue ;;
    /proc/* | /sys/*) case $root in /null) type=null ;; esac ;;
    esac
    case $type in
    tmpfs | devpts) ;;
    *) options= ;;
    esac
    # Whether a mount is read-only is its own matter, not its file system's.
    options=$(echo "$options" | tr , '\n' | grep -v '^r[ow]$' | tr '\n' ,)
    echo "mount $place $type $(echo "$flags,$options" | tr , '\n' | sed '/^$/d' | sort -u | tr '\n' ' ')"
    if writable "$place"; then echo "writable $place"; fi
done </proc/self/mountinfo

find /dev ! -path '/dev/pts/*' | sort | while read -r file; do
    if [ -L "$file" ]; then
        echo "device $file -> $(readlink "$file")"
    else
        echo "device $file $(stat -c '%F %a %U:%G %t:%T' "$file")"
    fi
done

for file in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
    /proc/scsi /proc/timer_list /proc/timer_stats /sys/dev/block /sys/firmware /sys/devices/virtual/powercap \
    /sys/devices/system/cpu/cpu0/thermal_throttle /sys/fs/selinux; do
    if [ -d "$file" ]; then
        [ -z "$(ls -A "$file")" ] || echo "shown $file"
    elif [ -e "$file" ]; then
        [ -z "$(head -c 1 "$file" 2>/dev/null | tr '\0' x)" ] || echo "shown $file"
    fi
done
for file in / /bin /etc /root /tmp /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger \
    /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness /proc/sys/net/ipv4/ip_forward /sys/kernel /sys/fs/cgroup; do
    if writable "$file"; then echo "writable $file"; fi
done

# The shell's own descriptors stand out of the way; what it was started with is below ten.
for fd in 0 1 2 3 4 5 6 7 8 9; do
    if [ -e "/proc/1/fd/$fd" ]; then echo "descriptor $fd"; fi
done
tr '\0' '\n' </proc/1/environ | sed "s/^HOSTNAME=.*/HOSTNAME=/; s/^/environment /" | sort

for name in net/ipv4/ping_group_range net/ipv4/ip_unprivileged_port_start kernel/shmmax kernel/msgmax; do
    echo "sysctl $name $(tr -s '[:space:]' ' ' <"/proc/sys/$name")"
done
if mknod /tmp/made c 10 200 2>/dev/null; then echo "node c 10:200"; fi
if mknod /tmp/disk b 8 0 2>/dev/null; then echo "node b 8:0"; fi
if [ -e /tmp/made ] && (: </tmp/made) 2>/dev/null; then echo "opens c 10:200"; fi
rm -f /tmp/made /tmp/disk
