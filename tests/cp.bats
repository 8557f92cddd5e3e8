#!/usr/bin/env bats
# wb cp and wb export: docker's rules, tar as the witness, and containers that try to lead it out.

load lib/common

setup () {
  wb_setup
  make_busybox_image
  mkdir -p from/dir/sub
  echo file >from/file
  echo deep >from/dir/sub/deep
  chown 1234:5678 from/file from/dir/sub/deep
  chmod 640 from/file
  ln -s file from/link
  ln -s dir from/dirlink
  cd from || return
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

start () {
  wb run -d --name "$1" --net none "${@:2}" busybox sleep 1000 >/dev/null
}
# What is below a directory, as tar tells it: modes, owners, times, links, content.
seen () { tar --create --sort=name --numeric-owner -C "$1" . | sha256sum; }

@test "into a container: docker's rules for what is there and what is not" {
  start c
  wb cp file c:/tmp/
  wb cp file c:/tmp/new
  wb cp file c:tmp/relative
  wb cp dir c:/tmp
  wb cp dir c:/tmp/made
  wb cp dir c:/tmp/made
  wb cp dir/. c:/tmp/content
  wb cp ./dir/ c:/tmp/slash
  wb exec c find /tmp -type f | sort >found
  cmp found - <<'EOF'
/tmp/content/sub/deep
/tmp/dir/sub/deep
/tmp/file
/tmp/made/dir/sub/deep
/tmp/made/sub/deep
/tmp/new
/tmp/relative
/tmp/slash/sub/deep
EOF
  # Owners and modes as they are, as docker has it.
  [ "$(wb exec c stat -c '%u:%g %a' /tmp/new /tmp/made/sub/deep)" = "1234:5678 640
1234:5678 644" ]
  echo other >file
  wb cp file c:/tmp/new
  [ "$(wb exec c cat /tmp/new)" = other ]
  must_fail 1 wb cp file c:/tmp/nodir/
  must_fail 1 wb cp file c:/tmp/nodir/x
  must_fail 1 wb cp dir c:/tmp/new
  [ "$stderr" = 'wb-rootfs: cp: /tmp/new: a directory does not replace a file' ]
  echo plain >sub
  must_fail 1 wb cp sub c:/tmp/made
  [[ $stderr == *'a file does not replace a directory' ]]
  must_fail 1 wb cp nosuch c:/tmp
  must_fail 1 wb cp file nosuch:/tmp
  [ "$stderr" = 'wb-state: get: no such container: nosuch' ]
  must_fail 1 wb cp file other
  must_fail 1 wb cp c:/tmp c:/var
  must_fail 1 wb cp c: .
}

@test "out of a container: the caller's, or with -a as it is inside" {
  start c
  wb cp dir c:/tmp
  wb exec c sh -c 'cd /tmp/dir && ln -s sub/deep l && ln sub/deep hard && mkfifo p && chmod 4755 sub/deep && mknod d c 1 3'
  must_fail 1 wb cp c:/tmp/dir out
  [[ $stderr == *'a device is copied only with its owner'* ]]
  rm -rf out
  wb exec c rm /tmp/dir/d
  wb cp c:/tmp/dir out
  [ "$(stat -c '%u %a' out/sub/deep)" = "$(id -u) 755" ]
  [ "$(readlink out/l)" = sub/deep ] && [ -p out/p ]
  [ "$(stat -c %i out/hard)" = "$(stat -c %i out/sub/deep)" ]
  wb exec c mknod /tmp/dir/d c 1 3
  wb cp -a c:/tmp/dir exact
  [ "$(stat -c '%u:%g %a' exact/sub/deep)" = '1234:5678 4755' ]
  [ -c exact/d ]
  # To the second, byte by byte what tar says inside.
  wb exec c tar c -C /tmp/dir . >inside.tar
  mkdir untarred && tar x --numeric-owner -p -f inside.tar -C untarred
  diff -r --no-dereference untarred/sub exact/sub
  wb cp c:/tmp/dir/sub/deep given
  wb cp c:/tmp/dir/l .
  [ "$(readlink l)" = sub/deep ]
  wb cp -L c:/tmp/dir/l followed
  cmp followed given
  must_fail 1 wb cp c:/nosuch .
  must_fail 1 wb cp c:/tmp/dir/l no/such
  must_fail 1 wb cp c:/tmp/dir given
  mkdir wall && mkdir wall/deep
  must_fail 1 wb cp c:/tmp/dir/sub/deep wall
}

@test "links on this side: not followed, or with -L" {
  start c
  wb cp link c:/tmp/link
  [ "$(wb exec c readlink /tmp/link)" = file ]
  wb cp -L link c:/tmp/plain
  [ "$(wb exec c cat /tmp/plain)" = file ]
  wb cp dirlink/ c:/tmp/dirlink
  [ "$(wb exec c cat /tmp/dirlink/sub/deep)" = deep ]
  # A link at the destination leads to where the copy goes, also where there is nothing yet.
  wb exec c ln -s /tmp/later /tmp/dangling
  wb cp file c:/tmp/dangling
  [ "$(wb exec c cat /tmp/later)" = file ]
}

@test "tars on pipes" {
  start c
  tar c dir | wb cp - c:/tmp
  [ "$(wb exec c stat -c '%u:%g' /tmp/dir/sub/deep)" = 1234:5678 ]
  wb cp c:/tmp/dir - | tar t >list
  printf 'dir/\ndir/sub/\ndir/sub/deep\n' | cmp - list
  wb cp c:/tmp/dir/. - | tar t >list
  printf './\nsub/\nsub/deep\n' | cmp - list
  wb cp c:/tmp/dir - | tar x --to-stdout dir/sub/deep | cmp - dir/sub/deep
  # Names that mean something in a layer mean nothing here.
  touch dir/.wh.sub
  tar c dir | wb cp - c:/tmp
  wb exec c ls -A /tmp/dir >list
  printf '.wh.sub\nsub\n' | cmp - list
  must_fail 1 wb cp - c:/tmp/nosuch <list
  must_fail 1 wb cp - c:/tmp/dir/sub/deep <list
  tar c file | wb exec -i c sh -c 'mkdir /tmp/dir/file'
  must_fail 1 wb cp - c:/tmp/dir < <(tar c file)
  [[ $stderr == *'a file does not replace a directory' ]]
  must_fail 1 wb cp - c:/tmp < <(tar c -P --transform 's,^,../../,' file)
  # A link in the tar does not lead its later entries out of the container.
  mkdir t && ln -s "$WB_SCRATCH" t/out
  { tar c -C t out; } >evil.tar
  rm t/out && mkdir t/out && echo evil >t/out/evil
  tar rf evil.tar -C t out/evil
  wb cp - c:/tmp <evil.tar || true
  [ ! -e "$WB_SCRATCH/evil" ]
  head -c 3000000 /dev/urandom >big
  wb cp big c:/tmp/ && wb cp c:/tmp/big - | tar x --to-stdout | cmp - big
  wb cp c:/tmp/big - | head -c 1000 >part
}

@test "a stopped container, one that never ran, and one with volumes" {
  mkdir host
  start c -v "$PWD/host:/host" -v named:/named --tmpfs /scratch
  wb cp file c:/host/ && cmp file host/file
  wb cp file c:/named/
  wb cp file c:/scratch/ && [ "$(wb exec c cat /scratch/file)" = file ]
  wb exec c sh -c 'echo mine >/mine'
  wb stop -t 0 c >/dev/null
  mounts=$(grep -c "$WB_SCRATCH" /proc/self/mountinfo) || true
  wb cp c:/mine . && [ "$(cat mine)" = mine ]
  wb cp c:/named/file again && cmp again file
  wb cp dir c:/tmp
  echo changed >file
  wb cp file c:/host/ && cmp file host/file
  wb cp file c:/named/
  [ "$(grep -c "$WB_SCRATCH" /proc/self/mountinfo)" = "$mounts" ] || [ -z "$mounts" ]
  wb start c >/dev/null
  [ "$(wb exec c cat /tmp/dir/sub/deep /named/file)" = "deep
changed" ]
  wb create --name never --net none -v other:/etc busybox cat /etc/file >/dev/null
  wb cp file never:/etc/
  wb cp never:/etc/passwd . && grep -q root passwd
  [ "$(wb start -a never)" = changed ]
  wb rm -f c never >/dev/null
  wb volume rm named other >/dev/null
}

@test "the kernel's own file systems only by their names" {
  start c --tmpfs /scratch
  wb exec c touch /dev/shm/mine /scratch/mine
  wb cp c:/ all
  [ -e all/scratch/mine ] && [ -e all/etc/passwd ]
  [ ! -e all/proc ] && [ ! -e all/sys ] && [ ! -e all/dev ]
  wb cp c:/ - | tar t >list
  run -1 grep -E '^(proc|sys|dev)/' list
  wb cp c:/dev/shm/mine . && [ -e mine ]
  wb cp c:/proc/version version && cmp version /proc/version
}

@test "what is read-only stays as it is, running or not" {
  mkdir host
  start c --read-only -v "$PWD/host:/host:ro" -v rw:/rw
  for _ in running stopped; do
    must_fail 1 wb cp file c:/tmp/
    [[ $stderr == *EROFS* ]]
    must_fail 1 wb cp file c:/host/
    [[ $stderr == *EROFS* ]]
    wb cp file c:/rw/
    wb stop -t 0 c >/dev/null
  done
  [ -z "$(ls host)" ]
}

@test "paused: still there" {
  start c
  wb pause c >/dev/null
  wb cp file c:/tmp/
  wb cp c:/tmp/file back
  cmp file back
  wb unpause c >/dev/null
}

@test "a user namespace: owners inside are those of the files" {
  start c --userns auto -v named:/named
  for state in running stopped; do
    wb cp file c:/tmp/$state
    tar c dir | wb cp - c:/named
    wb cp -a c:/tmp/$state "$state"
    wb cp c:/tmp/$state "mine-$state"
    [ "$(stat -c %u:%g "$state")" = 1234:5678 ]
    [ "$(stat -c %u "mine-$state")" = "$(id -u)" ]
    wb cp c:/tmp - | tar tv --numeric-owner | grep -q "1234/5678 .* tmp/$state"
    wb stop -t 0 c >/dev/null
  done
  wb start c >/dev/null
  [ "$(wb exec c stat -c '%u:%g' /tmp/running /tmp/stopped /named/dir/sub/deep | sort -u)" = 1234:5678 ]
}

@test "links of the container lead nowhere but into it" {
  echo secret >"$WB_SCRATCH/secret"
  start c
  wb exec c sh -c "mkdir -p '$WB_SCRATCH'; ln -s '$WB_SCRATCH' /tmp/up; ln -s '$WB_SCRATCH/secret' /tmp/leak
    ln -s /proc/1/root /tmp/magic; ln -s ../../../../../../.. /tmp/dots; mkdir /tmp/d; ln -s '$WB_SCRATCH/secret' /tmp/d/in"
  wb cp file c:/tmp/up/
  [ ! -e "$WB_SCRATCH/file" ]
  [ "$(wb exec c cat "$WB_SCRATCH/file")" = file ]
  must_fail 1 wb cp -L c:/tmp/leak out
  must_fail 1 wb cp c:/tmp/magic/etc out
  wb cp file c:/tmp/dots/atroot
  [ "$(wb exec c cat /atroot)" = file ]
  wb cp c:/tmp/d out
  [ -h out/in ]
  # Nothing is opened to be looked at: a fifo would block, a device would act.
  wb exec c sh -c 'mkfifo /tmp/fifo; mknod /tmp/tty c 5 0'
  within 20 wb cp c:/tmp/fifo - | tar tv | grep -q ^p
  within 20 wb cp c:/tmp/tty - | tar tv | grep -q ^c
  must_fail 1 wb cp file c:/tmp/fifo
  must_fail 1 wb cp file c:/tmp/tty
}

@test "a container that moves directories while files are copied gains nothing" {
  mkdir "$WB_SCRATCH/host"
  echo untouched >"$WB_SCRATCH/host/x"
  start c
  wb exec c mkdir -p /w/d "$WB_SCRATCH/host" /w/other
  wb exec -d c sh -c "while :; do mv /w/d /w/away; ln -s '$WB_SCRATCH/host' /w/d; rm /w/d; mv /w/away /w/d; done"
  mkdir many
  for i in 1 2 3 4 5 6 7 8 9; do mkdir -p many/$i/a/b; echo new >many/$i/a/b/x; done
  echo new >many/x
  for _ in 1 2 3 4 5 6 7 8; do
    wb cp many/. c:/w/d 2>/dev/null || true
    tar c -C many . | wb cp - c:/w/d 2>/dev/null || true
    wb cp c:/w/d/x stolen 2>/dev/null || true
    [ ! -e stolen ] || [ "$(cat stolen)" = new ]
  done
  [ "$(find "$WB_SCRATCH/host" | wc -l)" = 2 ]
  [ "$(cat "$WB_SCRATCH/host/x")" = untouched ]
}

@test "export: the whole root without volumes, and import takes it" {
  start c -v named:/named --tmpfs /scratch
  wb exec c sh -c 'echo mine >/mine; echo hidden >/named/hidden; rm /etc/group; chown 5:6 /mine'
  wb export c >running.tar
  wb stop -t 0 c >/dev/null
  wb export -o stopped.tar c
  cmp running.tar stopped.tar
  tar tvf stopped.tar --numeric-owner >list
  grep -q ' 5/6 .* mine$\|5/6 .* mine$' list
  run -1 grep -qE 'hidden|etc/group$|proc/.' list
  grep -qE 'named/$' list
  wb import stopped.tar again >/dev/null
  [ "$(wb run --rm --net none again cat /mine)" = mine ]
  must_fail 1 wb export nosuch
  wb rmi again >/dev/null
}
