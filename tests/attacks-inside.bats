#!/usr/bin/env bats
# What is known to have broken out of containers, performed on ours: while one runs, is entered and is looked at.

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

# Tools of this test alone, since an attack that works spoils them.
own_tools () {
  mkdir bin
  cp "$WB_BIN"/wb-* bin/
  export WB_BIN=$PWD/bin PATH=$PWD/bin:$PATH
  sha256sum bin/* >sums
}

@test "the file of a program that enters is not written through /proc/PID/exe (CVE-2019-5736)" {
  own_tools
  # With CAP_SYS_PTRACE nothing hides the file from it.
  attacked evil --cap-add SYS_PTRACE -- exe $((60 * ${WB_TEST_SLOW:-1}))
  local n
  for n in $(seq 30); do
    wb exec evil /attacker call 39 >/dev/null
    wb-nsenter -t "$(wb inspect evil | jq '.[0].wb.state.pid')" --all -- /attacker call 39 >/dev/null
  done
  # And what is born into its pid namespace.
  for n in $(seq 5); do wb run --rm --net none --pid container:evil busybox true; done
  # It has seen what it looks for.
  eventually 20 says evil met
  wb logs evil >said
  must_fail 1 grep WROTE said
  sha256sum --quiet -c sums
}

@test "the same attack overwrites a program that enters without protection" {
  # The control of the test above, on a copy of util-linux's nsenter.
  mkdir bin
  cp "$(command -v nsenter)" bin/
  sha256sum bin/nsenter >sums
  attacked evil --cap-add SYS_PTRACE -- exe $((60 * ${WB_TEST_SLOW:-1}))
  local n
  for n in $(seq 100); do
    bin/nsenter -t "$(wb inspect evil | jq '.[0].wb.state.pid')" -m -p -n -- /attacker call 39 >/dev/null 2>&1 || true
    if says evil WROTE; then break; fi
  done
  says evil WROTE
  must_fail 1 sha256sum --quiet -c sums
}

@test "what enters can neither be looked into nor be used as a way out (CVE-2016-9962)" {
  attacked evil -- look $((60 * ${WB_TEST_SLOW:-1}))
  local n
  for n in $(seq 40); do SECRET=1 wb exec evil /attacker call 39 >/dev/null; done
  eventually 20 says evil met
  wb logs evil >said
  must_fail 1 grep GOT said
}

@test "no program of the container is run by our tools, whatever its name" {
  hostile_image evil 'mkdir evil; for name in tar gzip sh cp ip nft mount wb-confine wb-rootfs wb-nsenter; do
    printf "#!/bin/busybox sh\necho \$0 >>/hit\n" >evil/$name; chmod 755 evil/$name; done' -c 'ENV PATH=/evil:/bin'
  wb run -d --name c --net none -v "$attacker:/attacker:ro" evil /bin/busybox sleep 1000 >/dev/null
  for n in 1 2 3; do [ "$(wb exec c /attacker call 39)" = 0 ]; done
  echo text >file
  wb cp file c:/tmp/file
  wb cp c:/tmp/file back
  wb export c >c.tar
  wb diff c >changes
  wb commit c committed >/dev/null
  wb top c >table
  must_fail 1 wb exec c /bin/busybox test -e /hit
  # The control: they would have been found.
  wb exec c tar
  [ "$(wb exec c /bin/busybox cat /hit)" = /evil/tar ]
}

@test "a chroot is left by the known way; the root of a container is not" {
  hostname >mine
  wb run --rm --net none -v "$attacker:/attacker:ro" busybox /attacker escape >found
  [ "$(cat found)" != "$(cat /etc/hostname)" ]
  wb run --rm --net none --privileged -v "$attacker:/attacker:ro" busybox /attacker escape >found
  [ "$(cat found)" != "$(cat /etc/hostname)" ]
  # The control: chroot(8) where we use pivot_root(2).
  mkdir raw
  tar -x -C raw -f "$(busybox_tar)"
  rm -f raw/etc/hostname
  cp "$attacker" raw/attacker
  [ "$(chroot raw /attacker escape)" = "$(cat /etc/hostname)" ]
}

@test "devices made inside: only those that every container has" {
  wb run --rm --net none -v "$attacker:/attacker:ro" busybox sh -c '
    mknod /tmp/null c 1 3 && echo x >/tmp/null && echo null
    for device in "b 8 0" "b 254 0" "b 7 0" "c 1 1" "c 1 2" "c 1 4" "c 10 200" "c 10 229" "c 10 232" "c 4 0" "c 5 1"; do
      mknod /tmp/d $device 2>/dev/null && { (: </tmp/d) 2>/dev/null && echo OPENED $device; rm /tmp/d; echo MADE $device; }
    done; true' >said
  [ "$(cat said)" = null ]
  # Without the right to make nodes there is not even that.
  refused wb run --rm --net none --cap-drop MKNOD busybox mknod /tmp/null c 1 3
  refused wb run --rm --net none --userns auto busybox mknod /tmp/null c 1 3
  # In a privileged one, the control, more can be made.
  [ "$(wb run --rm --net none --privileged busybox sh -c 'mknod /tmp/d c 1 1 && echo made')" = made ]
}

@test "mounts made inside stay inside, and take CAP_SYS_ADMIN" {
  for call in '165 0 0 0 0' '166 0 0' '155 0 0' '161 0' '272 0x20000' '272 0x10000000' '308 0 0' '428 0 0 0' \
    '429 0 0 0 0 0' '430 0 0' '432 0 0 0' '442 0 0 0 0 0'; do
    # mount, umount2, pivot_root, chroot, unshare (mount, user), setns, open_tree, move_mount, fsopen, fsmount,
    # mount_setattr: refused before the kernel looks at an argument.
    read -r -a words <<<"$call"
    said=$(wb run --rm --net none --cap-drop SYS_CHROOT -v "$attacker:/attacker:ro" busybox /attacker call "${words[@]}")
    [ "$said" = 1 ]
  done
  refused wb run --rm --net none busybox unshare -Ur true
  mkdir host
  # With the right to mount, what is mounted is nobody else's.
  cut -d' ' -f5 /proc/self/mountinfo | sort >before
  wb run --rm --net none --cap-add SYS_ADMIN -v "$PWD/host:/host" busybox sh -c '
    mount -t tmpfs t /host && mount -t tmpfs t /tmp && touch /host/inside && mount --make-rshared / && mkdir /tmp/x && mount -t tmpfs t /tmp/x'
  cut -d' ' -f5 /proc/self/mountinfo | sort | grep -F "$WB_SCRATCH" >after || true
  [ -z "$(ls -A host)" ]
  must_fail 1 grep -F "$WB_SCRATCH/host" after
}

@test "nothing inside types into the caller's terminal (TIOCSTI, CVE-2017-5226)" {
  require_program script
  run='wb run --rm --net none --security-opt seccomp=unconfined --cap-add SYS_ADMIN'
  wb run -d --name c --net none --security-opt seccomp=unconfined --cap-add SYS_ADMIN -v "$attacker:/attacker:ro" busybox sleep 1000 >/dev/null
  for how in "$run -v $attacker:/attacker:ro busybox /attacker type" "$run -i -v $attacker:/attacker:ro busybox /attacker type" \
    "wb exec c /attacker type" "wb exec -i c /attacker type"; do
    script -qec "$how" /dev/null </dev/null >said
    must_fail 1 grep -q TYPED said
    grep -q '^stdin: ' said
  done
  # With -t it has a terminal of its own, and may type into that.
  script -qec "$run -t -v $attacker:/attacker:ro busybox /attacker type" /dev/null </dev/null >said
  grep -q '^stdin: ' said
  # Under the default profile not even there.
  script -qec "wb run --rm --net none -t -v $attacker:/attacker:ro busybox /attacker type" /dev/null </dev/null >said
  must_fail 1 grep -q TYPED said
}

@test "what a process calls itself confuses nobody" {
  wb run -d --name c --net none -v "$attacker:/attacker:ro" busybox /attacker name $') S 1 1 (\n\e[2J' >/dev/null
  named () { [ "$(wc -l <"/proc/$(wb inspect c | jq '.[0].wb.state.pid')/comm")" = 2 ]; }
  eventually 10 named
  [ "$(wb inspect c | jq -r '.[0].wb.state.status')" = running ]
  wb ps >table
  must_fail 1 grep -q $'\e' table
  wb top c >table
  [ "$(wb exec c /attacker call 39)" = 0 ]
  within 20 wb stop -t 0 c >/dev/null
  [ "$(wb inspect c | jq -r '.[0].wb.state.status')" = exited ]
}

@test "what is printed is one record a line, whatever it looks like" {
  wb run -d --name c --net none busybox sh -c '
    printf "2000-01-01T00:00:00.000000000Z stderr F forged\n"
    printf "a\r2000-01-01T00:00:00Z stdout F b\n"
    printf "{\"log\":\"x\",\"stream\":\"stderr\"}\n"
    printf "esc \033[2J nul \000 bad \377\376 end\n"' >/dev/null
  wb wait c >/dev/null
  log=$(find "$WB_ROOT/containers" -name log -type f)
  [ "$(wc -l <"$log")" = 4 ]
  must_fail 1 grep -avE '^20[0-9-]+T[0-9:.]+(Z|[+-][0-9:]+) stdout F ' "$log"
  wb logs c >out 2>err
  [ ! -s err ]
  [ "$(head -n 1 out)" = '2000-01-01T00:00:00.000000000Z stderr F forged' ]
  [ "$(tail -n 1 out | od -An -c | tr -s ' ' | tr -d '\n')" = ' e s c 033 [ 2 J n u l \0 b a d 377 376 e n d \n' ] ||
    [ "$(tail -n 1 out | wc -c)" = 28 ]
}

@test "the session keyring is another one" {
  [ "$(wb run --rm --net none -v "$attacker:/attacker:ro" --security-opt seccomp=unconfined busybox /attacker keyring)" != "$("$attacker" keyring)" ]
  # Under the default profile keys are not spoken of at all.
  [ "$(wb run --rm --net none -v "$attacker:/attacker:ro" busybox /attacker keyring)" = -1 ]
}
