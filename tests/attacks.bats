#!/usr/bin/env bats
# What is known to have broken out of containers, performed on ours: starting one.

load lib/common
load lib/attacks

setup () {
  wb_setup
  attacker=$(wb_attacker)
  make_busybox_image
  mkdir host
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

@test "a descriptor of the caller is no working directory, nor inside (CVE-2024-21626)" {
  wb run -d --name c --net none busybox sleep 1000 >/dev/null
  exec 7<"$WB_SCRATCH/host"
  local n
  for n in 3 4 5 6 7 8 9 10 15 20; do
    for directory in "/proc/self/fd/$n" "/proc/self/fd/$n/../../.." "/proc/1/fd/$n"; do
      refused wb run --rm --net none -w "$directory" busybox pwd
      refused wb exec -w "$directory" c pwd
    done
  done
  # As the image's own, and behind a link of the image.
  hostile_image links 'ln -s /proc/self/fd/7 seven; ln -s /proc/self/cwd here' -c 'WORKDIR /seven'
  refused wb run --rm --net none links pwd
  refused wb run --rm --net none -w /seven/.. links pwd
  [ "$(wb run --rm --net none -w / busybox sh -c 'ls /proc/self/fd; ls /proc/1/fd; :' | tr '\n' ' ')" = "0 1 2 3 0 1 2 " ]
  [ "$(wb exec c sh -c 'ls /proc/$$/fd; :' | tr '\n' ' ')" = "0 1 2 " ]
  exec 7<&-
  # The check can fail: where nothing closes it, the descriptor is there.
  exec 7<"$WB_SCRATCH/host"
  [ -e /proc/self/fd/7 ]
  [[ $(wb-unshare --mount -- ls /proc/self/fd | tr '\n' ' ') == *"7 "* ]]
  exec 7<&-
}

@test "a missing working directory is made inside, whatever leads to it" {
  hostile_image links "ln -s $WB_SCRATCH/host evil; ln -s ../../../../../..$WB_SCRATCH/host evil2"
  host_state >before
  run wb run --rm --net none -w /evil/made links pwd
  run wb run --rm --net none -w /evil2/made links pwd
  run wb run --rm --net none -w "$WB_SCRATCH/host/made" links pwd
  [ -z "$(ls -A host)" ]
  host_state | cmp - before
}

@test "/dev, /proc, /sys, /etc and /run as links of the image" {
  host_state >before
  for name in dev proc sys; do
    hostile_image "l$name" "rm -rf $name; ln -s $WB_SCRATCH/host $name"
    refused wb run --rm --net none "l$name" true
    [[ $stderr == *"symbolic link"* ]]
  done
  for name in etc run tmp; do
    hostile_image "l$name" "rm -rf $name; ln -s $WB_SCRATCH/host $name"
    run wb run --rm --net none "l$name" true
  done
  [ -z "$(ls -A host)" ]
  host_state | cmp - before
}

@test "links at /etc/hosts, hostname and resolv.conf are not followed to the host" {
  for target in /etc/passwd "$WB_SCRATCH/host/file" ../../../../../../etc/passwd /proc/self/fd/0 /proc/1/environ; do
    hostile_image etc "cd etc; for n in hosts hostname resolv.conf; do ln -sfn '$target' \$n; done"
    host_state >before
    run wb run --rm etc sh -c 'echo evil >/etc/hosts; echo evil >/etc/hostname; echo evil >/etc/resolv.conf'
    host_state | cmp - before
    [ -z "$(ls -A host)" ]
  done
  must_fail 1 grep -q evil /etc/passwd
}

@test "USER and /etc/passwd of the image: a fifo, a device, a link, a line of 64 MiB, ids out of range" {
  hostile_image fifo 'rm etc/passwd; mkfifo etc/passwd'
  hostile_image device 'rm etc/passwd; mknod etc/passwd c 1 5'
  hostile_image link 'ln -sfn /etc/shadow etc/passwd; ln -sfn /../../../../etc/group etc/group'
  hostile_image huge 'rm etc/group; head -c 67108864 /dev/zero | tr "\0" x >etc/group'
  for name in fifo device huge; do
    refused within 20 wb run --rm --net none -u root:web "$name" id
    [[ $stderr == *" in the root: "* ]]
  done
  refused within 20 wb run --rm --net none -u root:shadow link id
  for user in 4294967296 2147483648 -1 0:4294967295 ' ' "root
x"; do
    refused within 20 wb run --rm --net none -u "$user" busybox id
  done
  # A number is a number, also where a user of that name is somebody else (CVE-2024-40635).
  hostile_image number 'echo "1234:x:0:0::/:/bin/sh" >>etc/passwd'
  [ "$(wb run --rm --net none -u 1234 number id -u)" = 1234 ]
  # In a running container, whose files are its own to change.
  wb run -d --name c --net none busybox sh -c 'rm /etc/passwd; mkfifo /etc/passwd; echo up; exec sleep 1000' >/dev/null
  eventually 10 says c up
  refused within 20 wb exec -u web c id
}

@test "volumes: a directory exchanged for a link while mounts are made in it (CVE-2021-30465)" {
  wb-state volume create shared >/dev/null
  wb run --rm --net none -v shared:/s busybox sh -c "mkdir /s/dir; ln -s $WB_SCRATCH/host /s/link"
  attacked swapper -v shared:/s -- swap 9 /s/dir /s/link
  mkdir source
  echo canary >source/file
  local n started=0
  for n in $(seq 25); do
    if wb run --rm --net none -v shared:/s -v "$PWD/source:/s/dir/sub" --tmpfs /s/dir/tmp -w /s/dir/made busybox true 2>/dev/null; then
      started=$((started + 1))
    fi
    must_fail 1 grep -F " $WB_SCRATCH/host" /proc/self/mountinfo
  done
  wb stop -t 0 swapper >/dev/null
  [ "$(ls -A host)" = "" ]
  echo "# $started of 25 started" >&3
  # The link leads nowhere inside, so what came upon it is refused or made inside.
  [ "$(cat source/file)" = canary ]
}

@test "masks: /dev is a volume in which null and console are exchanged (CVE-2025-31133, CVE-2025-52565)" {
  mkdir dev
  mknod -m 666 dev/null c 1 3
  ln -s /proc/sys/kernel/core_pattern dev/link
  ln -s "$WB_SCRATCH/host/file" dev/console
  attacked swapper -v "$PWD/dev:/s" -- swap 9 /s/null /s/link
  host_state >before
  local n
  for n in $(seq 20); do
    run wb run --rm --net none -v "$PWD/dev:/dev" -v "$attacker:/attacker:ro" busybox sh -c '
      for file in /proc/keys /proc/timer_list /proc/kcore /proc/interrupts; do
        [ -z "$(head -c 1 $file 2>/dev/null)" ] || echo SHOWN $file
      done
      (echo "|/evil" >/proc/sys/kernel/core_pattern) 2>/dev/null && echo WRITTEN
      (echo h >/proc/sysrq-trigger) 2>/dev/null && echo WRITTEN'
    [[ $output != *SHOWN* ]]
    [[ $output != *WRITTEN* ]]
  done
  wb stop -t 0 swapper >/dev/null
  host_state | cmp - before
}

@test "without masks and read-only paths the same look finds what is behind them" {
  # The control of the test above: a document whose protection is taken out with jq.
  wb-spec -n run --id bare --net none --rootfs "$WB_SCRATCH/raw" busybox sh -c '
    [ -n "$(head -c 1 /proc/keys 2>/dev/null)$(head -c 1 /proc/timer_list 2>/dev/null)" ] && echo SHOWN
    (: >>/proc/sys/kernel/core_pattern) 2>/dev/null && echo OPENED; true' >bare.json
  mkdir raw
  tar -x -C raw -f "$(busybox_tar)"
  look () {
    jq -c "$1"' | .process.args = .process.args[1:] | .process.env = ["PATH=/bin"]' bare.json >d.json
    wb-unshare --pid --mount --uts --ipc --net -- wb-rootfs enter --doc 3 -- wb-confine --doc 3 3<d.json
  }
  [ -z "$(look .)" ]
  [ "$(look '.linux.maskedPaths = [] | .linux.readonlyPaths = []' | tr '\n' ' ')" = "SHOWN OPENED " ]
}

@test "/proc as the container wants it: writes of ours go to the kernel's own (CVE-2025-52881)" {
  host_state >before
  for place in /proc /proc/self/attr /proc/sys /proc/sys/net /proc/1 /proc/self/fd; do
    refused wb run --rm --net none -v "$PWD/host:$place" busybox true
    refused wb run --rm --net none --tmpfs "$place" busybox true
  done
  # Files of the image where procfs will be, and a link on the way to a mount point below it.
  hostile_image proc 'mkdir -p proc/sys/net/ipv4 proc/self; echo 7 >proc/sys/net/ipv4/ip_unprivileged_port_start
    ln -s /proc/sysrq-trigger proc/self/oom_score_adj; ln -s /proc way'
  [ "$(wb run --rm --net none --sysctl net.core.somaxconn=99 --oom-score-adj 500 proc sh -c '
    cat /proc/sys/net/core/somaxconn /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_unprivileged_port_start' | tr '\n' ' ')" = "99 500 0 " ]
  refused wb run --rm --net none -v "$PWD/host:/way/self/attr" proc true
  for name in kernel.core_pattern vm.swappiness kernel/hostname ../kernel.core_pattern net.ipv4.../../../kernel/panic; do
    refused wb run --rm --net none --sysctl "$name=1" busybox true
  done
  host_state | cmp - before
}

@test "--net host: we listen on no abstract socket (CVE-2020-15257)" {
  grep -o '@.*' /proc/net/unix | sort -u >before
  wb run -d --name c --net host busybox sleep 1000 >/dev/null
  wb run --rm --net host busybox sh -c "grep -o '@.*' /proc/net/unix | sort -u" >inside || true
  # Other programs of the machine may come and go: what is new and ours would have our name.
  must_fail 1 grep -E "wb|$WB_MACHINE_HASH" inside
  wb exec c true
  [ "$(wb inspect c | jq -c '[.[0].linux.namespaces[].type] | index("network")')" = null ]
}

@test "names, labels, stop signals and references are data, and lead nowhere" {
  mkdir canary
  touch canary/file
  local name many
  many=$(printf 'x%.0s' {1..5000})
  for name in ../../x . .. '' a/b -h $'a\nb' $'\e[2J' "$many" 'a b' 'a;touch hit' '$(touch hit)' /etc/passwd ../canary; do
    [ "$name" = '' ] || refused wb run --rm --net none --name "$name" busybox true
    refused wb rm -f -- "$name"
    for command in "wb-state volume create" "wb network create" "wb stop" "wb inspect" "wb logs" "wb-state get" "wb rmi"; do
      refused $command -- "$name"
      [[ $output != *$'\e'* ]]
    done
    refused wb-cgroup -n create --id="$name"
    # A reference may have slashes.
    [ "$name" = a/b ] || refused wb tag busybox -- "$name"
  done
  [ ! -e hit ]
  [ "$(ls canary)" = file ]
  hostile_image signal true -c 'STOPSIGNAL SIGTERM;touch_hit' || true
  wb run -d --name c --net none --label 'x=$(touch hit)' --label $'y=a\nb\e[2J' --hostname h busybox sleep 1000 >/dev/null
  wb ps >table
  must_fail 1 grep -q $'\e' table
  wb stop -t 0 c >/dev/null
  [ ! -e hit ]
}

@test "what is stored of an image is out of reach of the host's other users" {
  hostile_image suid 'cp bin/busybox suid; chmod 4755 suid; mknod disk b 254 0; chmod 666 disk'
  require_program setpriv
  found=$(find "$WB_ROOT/layers" -name suid -type f | head -n 1)
  [ -u "$found" ]
  chmod 755 "$WB_SCRATCH"
  must_fail 2 setpriv --reuid 65534 --regid 65534 --clear-groups ls "$found"
  must_fail 2 setpriv --reuid 65534 --regid 65534 --clear-groups ls "$WB_ROOT/containers"
  # In the container they are there; the device is not for it to use.
  [ "$(wb run --rm --net none suid stat -c %a /suid)" = 4755 ]
  must_fail 1 wb run --rm --net none suid sh -c ': </disk'
  [[ $stderr == *"Operation not permitted"* ]]
}
