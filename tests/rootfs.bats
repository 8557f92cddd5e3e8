#!/usr/bin/env bats
# wb-rootfs mount, umount, enter: what the kernel's own mountinfo says of them.

load lib/common

setup () {
  wb_setup
  require_program jq strace findmnt busybox
  busybox_root base
}

teardown () {
  exec 8>&- 9>&- 2>/dev/null || true
  if [ -n "${holder:-}" ]; then kill -KILL "$holder" 2>/dev/null || true; fi
  for document in "$WB_SCRATCH"/*.json; do
    if [ -e "$document" ]; then wb-rootfs umount --purge <"$document" >/dev/null 2>&1 || true; fi
  done
  wb_teardown
}

# A root with busybox's programs in it.
busybox_root () {
  mkdir -p "$1/bin" "$1/etc" "$1/tmp"
  cp "$(command -v busybox)" "$1/bin/busybox"
  "$1/bin/busybox" --list | (cd "$1/bin" && perl -lne 'symlink "busybox", $_ if $_ ne "busybox"')
}

# Runs a document's process through the whole chain: new namespaces, its root, its privileges.
born () {
  wb-unshare run --doc 3 -- wb-rootfs enter --doc 3 -- wb-confine --doc 3 3<"$1"
}

# A document for a container with root base that runs "$@"; further jq in $filter.
describe () {
  wb-spec -n run --net none --rootfs "$PWD/base" "$@" |
    jq -c ".process.env += [\"PATH=/bin\"] | .process.cwd = \"/\" | ${filter:-.}"
}

# Starts the container of document $1, which must sleep, and waits until it is inside. Sets $holder.
hold () {
  born "$1" &
  holder=
  eventually 10 find_sleeper
}

find_sleeper () {
  local pid
  for pid in $(pgrep -x sleep); do
    if [ "$(readlink "/proc/$pid/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] && [ -e "/proc/$pid/root/bin/busybox" ] &&
      grep -q "$WB_SCRATCH" "/proc/$pid/mountinfo"; then
      holder=$pid
      return
    fi
  done
  return 1
}

# One field of the mount at $2 as process $1 sees it: the options of the mount, or ($3) another field of mountinfo.
seen () {
  awk -v at="$2" -v field="${3:-6}" '$5 == at { found = $field } END { print found }' "/proc/$1/mountinfo"
}

@test "layers are one file system, the last on top, and private" {
  mkdir -p low/d high/d
  echo low >low/d/a
  echo low >low/d/b
  echo high >high/d/a
  wb-rootfs -n mount --id a --lower low --lower high >a.json
  merged=$(jq -r .root.path a.json)
  [ "$(cat "$merged/d/a" "$merged/d/b")" = "high
low" ]
  [ "$(findmnt -no FSTYPE,PROPAGATION "$merged" | tr -s ' ')" = "overlay private" ]
  echo new >"$merged/d/new"
  [ "$(cat "$(jq -r .wb.rootfs.upper a.json)/d/new")" = new ]
  [ ! -e high/d/new ]
  jq -e '.wb.rootfs.lower == ["'"$PWD"'/low", "'"$PWD"'/high"]' a.json
}

@test "mounting twice is mounting once, and umount takes everything back" {
  wb-rootfs -n mount --id a --lower base >a.json
  wb-rootfs mount <a.json >again.json
  cmp a.json again.json
  [ "$(grep -c "$WB_RUN/containers/a/merged" /proc/self/mountinfo)" = 1 ]
  wb-rootfs umount <a.json >b.json
  [ "$(grep -c "$WB_SCRATCH" /proc/self/mountinfo)" = 0 ]
  [ -d "$WB_ROOT/containers/a/upper" ]
  wb-rootfs umount --purge <b.json >/dev/null
  wb-rootfs umount --purge <b.json >/dev/null
  [ ! -e "$WB_ROOT/containers/a" ]
  [ ! -e "$WB_RUN/containers/a" ]
}

@test "umount undoes what is only half there" {
  mkdir -p "$WB_RUN/containers/a/merged" "$WB_ROOT/containers/a/upper"
  wb-rootfs -n umount --id a --purge >/dev/null
  [ ! -e "$WB_ROOT/containers/a" ]
  mkdir -p "$WB_RUN/containers/b/merged"
  mount -t tmpfs t "$WB_RUN/containers/b/merged"
  mount -t tmpfs t "$WB_RUN/containers/b/merged"
  wb-rootfs -n umount --id b --purge >/dev/null
  [ ! -e "$WB_RUN/containers/b" ]
  # Two undo the same: the other one was quicker with the directory that was just unmounted.
  mkdir -p "$WB_RUN/containers/c/merged"
  mount -t tmpfs t "$WB_RUN/containers/c/merged"
  strace -qq -o calls -e trace=rmdir -e inject=rmdir:error=ENOENT:when=1 wb-rootfs -n umount --id c >/dev/null
  grep -q 'merged.*ENOENT.*INJECTED' calls
  wb-rootfs -n umount --id c --purge >/dev/null
}

@test "purging never follows a mount" {
  wb-rootfs -n mount --id a --lower base >a.json
  mkdir precious upper
  echo data >precious/file
  mkdir "$WB_ROOT/containers/a/upper/sub"
  mount --bind precious "$WB_ROOT/containers/a/upper/sub"
  must_fail 1 wb-rootfs umount --purge --doc a.json
  [ "$(cat precious/file)" = data ]
  umount "$WB_ROOT/containers/a/upper/sub"
  wb-rootfs umount --purge <a.json >/dev/null
  [ "$(cat precious/file)" = data ]
}

@test "200 layers, and 200 layers on a kernel without lowerdir+" {
  lower=()
  for i in $(seq 200); do
    mkdir "l$i"
    echo "$i" >"l$i/n"
    lower+=(--lower "l$i")
  done
  wb-rootfs -n mount --id a "${lower[@]}" >a.json
  [ "$(cat "$(jq -r .root.path a.json)/n")" = 200 ]
  # What Debian 12's kernel (6.1) answers.
  strace -o strace.out -e inject=fsconfig:error=EINVAL wb-rootfs -n mount --id b "${lower[@]}" >b.json
  [ "$(cat "$(jq -r .root.path b.json)/n")" = 200 ]
  [ "$(findmnt -no PROPAGATION "$(jq -r .root.path b.json)")" = private ]
  findmnt -no OPTIONS "$(jq -r .root.path b.json)" | grep -q redirect_dir=nofollow
}

@test "a failed mount leaves nothing and says why" {
  must_fail 1 wb-rootfs -n mount --id a --lower /nonexistent
  [ "$stderr" = "wb-rootfs: mount: --lower /nonexistent: No such file or directory (ENOENT)" ]
  echo '{"wb":{"id":"a","image":{"layers":["sha256:'"$(printf '0%.0s' {1..64})"'"]}}}' >a.json
  must_fail 1 wb-rootfs mount --doc a.json
  [ ! -e "$WB_RUN/containers/a/merged" ]
  must_fail 1 wb-rootfs mount --doc /dev/stdin <<<'{"wb":{"id":"a","image":{"layers":["sha256:../../x"]}}}'
  must_fail 2 wb-rootfs mount --doc /dev/stdin <<<'{"wb":{"id":"../x","image":{"layers":[]}}}'
  must_fail 2 wb-rootfs -n mount --id a
}

@test "an image without layers has an empty root" {
  echo '{"wb":{"id":"a","image":{"layers":[]}}}' | wb-rootfs mount >a.json
  [ -z "$(ls "$(jq -r .root.path a.json)")" ]
}

@test "only containers that are removed at their end are mounted volatile" {
  echo '{"wb":{"id":"a","run":{"remove":true}}}' | wb-rootfs mount --lower base >a.json
  echo '{"wb":{"id":"b"}}' | wb-rootfs mount --lower base >b.json
  findmnt -no OPTIONS "$(jq -r .root.path a.json)" | grep -q volatile
  [[ $(findmnt -no OPTIONS "$(jq -r .root.path b.json)") != *volatile* ]]
  # In the same boot it can be mounted again, after a crash of the machine it cannot be trusted.
  wb-rootfs umount <a.json | wb-rootfs mount >again.json
  findmnt "$(jq -r .root.path again.json)"
  wb-rootfs umount <a.json >/dev/null
  jq -c '.wb.rootfs.volatile = "another boot"' a.json >c.json
  must_fail 1 wb-rootfs mount --doc c.json
  [[ $stderr == *"cannot be trusted"* ]]
  [ ! -e "$WB_RUN/containers/a/merged" ]
}

@test "USER is looked up in the root's own files" {
  printf 'root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n4711:x:1:1::/:\n' >base/etc/passwd
  printf 'web:x:34:\nextra:x:50:web\n' >base/etc/group
  for case in 'web 33 34 [34,50] HOME=/srv' '4711 4711 0 [0] HOME=/' 'web:extra 33 50 [50] HOME=/srv'; do
    read -r user uid gid groups home <<<"$case"
    jq -nc --arg u "$user" '{process:{user:{username:$u}},wb:{id:"a"}}' | wb-rootfs mount --lower base >a.json
    jq -e --argjson g "$groups" ".process.user | .uid == $uid and .gid == $gid and .additionalGids == \$g" a.json
    jq -e --arg home "$home" '.process.env == [$home]' a.json
  done
  must_fail 125 wb-rootfs mount --doc /dev/stdin --lower base \
    <<<'{"process":{"user":{"username":"nobody-here"}},"wb":{"id":"b"}}'
  [ ! -e "$WB_RUN/containers/b" ]
  [ ! -e "$WB_ROOT/containers/b" ]
}

@test "a passwd that is a fifo, a device or a link out does not hurt" {
  for make in 'mkfifo' 'mknod_null' 'link_out'; do
    rm -f base/etc/passwd
    case $make in
    mkfifo) mkfifo base/etc/passwd ;;
    mknod_null) mknod base/etc/passwd c 1 5 ;;
    link_out) ln -s ../../../../../../etc/passwd base/etc/passwd ;;
    esac
    must_fail 1 timeout 5 wb-rootfs mount --doc /dev/stdin --lower base \
      <<<'{"process":{"user":{"username":"daemon"}},"wb":{"id":"a"}}' || [ "$status" = 125 ]
    [ ! -e "$WB_RUN/containers/a/merged" ]
  done
}

@test "a named volume starts with what the image has, once" {
  mkdir -m 1770 base/data
  echo image >base/data/file
  chown 5:6 base/data/file base/data
  chmod 640 base/data/file
  ln -s /etc/shadow base/data/link
  wb-spec -n run --id a --net none -v vol:/data busybox | wb-rootfs mount --lower base >a.json
  data=$WB_ROOT/volumes/vol/_data
  [ "$(stat -c '%u:%g %a' "$data" "$data/file")" = "5:6 1770
5:6 640" ]
  [ "$(readlink "$data/link")" = /etc/shadow ]
  echo mine >"$data/file"
  wb-spec -n run --id b --net none -v vol:/data busybox | wb-rootfs mount --lower base >b.json
  [ "$(cat "$data/file")" = mine ]
  wb-spec -n run --id c --net none -v empty:/data:nocopy busybox | wb-rootfs mount --lower base >c.json
  [ -z "$(ls "$WB_ROOT/volumes/empty/_data")" ]
}

@test "-v makes a missing source, --mount refuses it" {
  wb-spec -n run --id a --net none -v "$PWD/made/here:/x" busybox | wb-rootfs mount --lower base >a.json
  [ "$(stat -c %a made/here)" = 755 ]
  wb-spec -n run --id b --net none --mount "type=bind,source=$PWD/missing,target=/x" busybox >b.json
  must_fail 125 wb-rootfs mount --lower base --doc b.json
  [[ $stderr == "wb-rootfs: mount: bind source $PWD/missing: No such file or directory (ENOENT)" ]]
  [ ! -e missing ]
}

@test "by hand: the usual mounts, the usual devices, nothing of the host" {
  wb-unshare --pid --mount -- wb-rootfs enter base -- sh -c '
    cat /proc/1/mountinfo >/tmp/mounts; ls -l /dev >/tmp/dev; ls / >/tmp/root; echo $$ >/tmp/pid
    echo x >/dev/null && head -c 4 /dev/zero | wc -c >/tmp/zero'
  [ "$(awk '{ print $5, $6 }' base/tmp/mounts | sort)" = "/ rw,relatime
/dev rw,nosuid,noexec
/dev/mqueue rw,nosuid,nodev,noexec,relatime
/dev/pts rw,nosuid,noexec,relatime
/dev/shm rw,nosuid,nodev,noexec,relatime
/proc rw,nosuid,nodev,noexec,relatime
/sys ro,nosuid,nodev,noexec,relatime" ]
  for device in 'null 1, 3' 'zero 1, 5' 'full 1, 7' 'random 1, 8' 'urandom 1, 9' 'tty 5, 0'; do
    grep -Eq "^crw-rw-rw- +1 0 +0 +${device#* } .* ${device%% *}\$" <(tr -s ' ' <base/tmp/dev | sed 's/, */, /')
  done
  grep -q 'ptmx -> pts/ptmx' base/tmp/dev
  [ "$(cat base/tmp/pid base/tmp/zero)" = "1
4" ]
  [ "$(grep -c "$PWD" /proc/self/mountinfo)" = 0 ]
}

@test "every option of a mount, as the kernel shows it" {
  mkdir src
  echo bound >src/file
  filter='.mounts += [
    {destination:"/a",type:"bind",source:"'$PWD'/src",options:["rbind","ro","nosuid","nodev","noexec","noatime"]},
    {destination:"/deep/er/file",type:"bind",source:"'$PWD'/src/file",options:["bind"]},
    {destination:"/t",type:"tmpfs",source:"t",options:["size=64k","mode=1711","nosuid","strictatime","ro"]},
    {destination:"/s",type:"bind",source:"'$PWD'/src",options:["bind","rshared"]}]'
  describe sleep 60 >d.json
  hold d.json
  [ "$(seen "$holder" /a)" = ro,nosuid,nodev,noexec,noatime ]
  [ "$(seen "$holder" /deep/er/file 4)" = "$(cd src && pwd -P)/file" ]
  [ "$(cat "/proc/$holder/root/deep/er/file")" = bound ]
  [ "$(seen "$holder" /t)" = ro,nosuid ]
  [ "$(stat -c %a "/proc/$holder/root/t")" = 1711 ]
  findmnt --task "$holder" -no OPTIONS /t | grep -q size=64k
  [[ $(seen "$holder" /s 7) == shared:* ]]
  [ "$(seen "$holder" /a 7)" = - ]
  [ "$(seen "$holder" / 7)" = - ]
}

@test "a recursive option reaches the mounts below, a plain one does not" {
  mkdir -p src/sub
  mount -t tmpfs t src/sub
  filter='.mounts += [
    {destination:"/plain",type:"bind",source:"'$PWD'/src",options:["rbind","ro"]},
    {destination:"/all",type:"bind",source:"'$PWD'/src",options:["rbind","rro","rnoexec"]},
    {destination:"/one",type:"bind",source:"'$PWD'/src",options:["bind"]}]'
  describe sleep 60 >d.json
  hold d.json
  [[ $(seen "$holder" /plain/sub) == rw,* ]]
  [[ $(seen "$holder" /plain) == ro,* ]]
  [[ $(seen "$holder" /all/sub) == ro,*noexec* ]]
  [ -z "$(seen "$holder" /one/sub)" ]
  umount src/sub
}

@test "a slave mount receives, a private one does not" {
  mkdir src
  mount --bind src src
  mount --make-shared src
  mkdir src/sub
  filter='.mounts += [
    {destination:"/slave",type:"bind",source:"'$PWD'/src",options:["rbind","rslave"]},
    {destination:"/private",type:"bind",source:"'$PWD'/src",options:["rbind","rprivate"]}]'
  describe sleep 60 >d.json
  hold d.json
  mount -t tmpfs t src/sub
  [ -n "$(seen "$holder" /slave/sub)" ]
  [ -z "$(seen "$holder" /private/sub)" ]
  umount src/sub src
}

@test "masked paths show nothing, read-only paths refuse" {
  mkdir base/secret
  echo secret >base/secret/file
  echo secret >base/file
  filter='.linux.maskedPaths += ["/secret", "/file", "/nothing"] | .linux.readonlyPaths += ["/tmp"]'
  describe sh -c 'ls /secret; cat /file; echo x >/file; ls /nothing; echo x >/tmp/x; echo 1 >/proc/sys/vm/swappiness
    echo x >/secret/x' >d.json
  run --separate-stderr born d.json
  [ -z "$output" ]
  [ "$(grep -c 'Read-only file system' <<<"$stderr")" = 3 ]
  [ "$(cat base/file base/secret/file)" = "secret
secret" ]
}

@test "a read-only root, with what is mounted in it still writable" {
  describe --read-only --tmpfs /tmp sh -c 'echo x >/x; echo y >/tmp/y && echo written' >d.json
  run --separate-stderr born d.json
  [ "$output" = written ]
  [[ $stderr == *"Read-only file system"* ]]
  [ ! -e base/x ]
}

@test "links in the image lead nowhere else" {
  mkdir host
  ln -s "$PWD/host" base/evil
  ln -s ../../../../../../../.."$PWD/host" base/evil2
  mkdir -p base/run
  ln -s ../run/stub/resolv.conf base/etc/resolv.conf
  echo dns >resolv
  filter='.mounts += [
    {destination:"/evil/a",type:"tmpfs",source:"t"},
    {destination:"/evil2/b",type:"tmpfs",source:"t"},
    {destination:"/etc/resolv.conf",type:"bind",source:"'$PWD'/resolv",options:["bind"]}]'
  describe sh -c "cat /etc/resolv.conf; ls $PWD/host" >d.json
  [ "$(born d.json)" = "dns
a
b" ]
  [ -z "$(ls -A host)" ]
}

@test "/dev, /proc or /sys as a link is refused, the host untouched" {
  mkdir host
  for name in dev proc sys; do
    rm -rf base/dev base/proc base/sys
    ln -s "$PWD/host" "base/$name"
    describe true >d.json
    must_fail 1 born d.json
    [[ $stderr == *"/$name in the root: a symbolic link in the image"* ]]
    [ -z "$(ls -A host)" ]
    rm "base/$name"
  done
}

@test "nothing is mounted below /proc" {
  for destination in /proc/sys /proc/self/attr /link/sys; do
    ln -sfn /proc base/link
    filter='.mounts += [{destination:"'$destination'",type:"tmpfs",source:"t"}]'
    describe true >d.json
    must_fail 1 born d.json
    [[ $stderr == *"must stay as the kernel made it"* ]]
  done
  filter='.mounts |= map(if .destination == "/proc" then .type = "tmpfs" else . end)'
  describe true >d.json
  must_fail 1 born d.json
}

@test "the old root is gone: no mount, no descriptor, no working directory" {
  describe sh -c 'cat /proc/self/mountinfo; echo --; ls /proc/self/fd; echo --; pwd; ls -d /proc/1/cwd/bin' >d.json
  exec 8<"$WB_SCRATCH"
  born d.json >out
  [ "$(grep -c "$WB_SCRATCH/root" out)" = 0 ]
  [ "$(sed -n '/^--/,/^--/p' out | tr -d '\n')" = "--0123--" ]
}

@test "a tool of ours inside cannot be written through /proc/PID/exe" {
  mkfifo pipe
  wb-unshare --pid --mount -- wb-rootfs enter base -- wb-rootfs umount <pipe >/dev/null &
  exec 9>pipe
  exe_of_tool () {
    for holder in $(pgrep -x wb-rootfs); do
      if [ "$(readlink "/proc/$holder/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] &&
        tr '\0' ' ' <"/proc/$holder/cmdline" | grep -q '^wb-rootfs umount'; then return; fi
    done
    return 1
  }
  eventually 10 exe_of_tool
  # Not "Text file busy", which would end with the process: the mount refuses.
  must_fail 2 sh -c ": >/proc/$holder/exe"
  [[ $stderr == *"Read-only file system"* ]]
  exec 9>&-
}

@test "with a status descriptor the failure goes there, and only there" {
  describe true | jq -c '.mounts += [{destination:"/x",type:"nonesuch"}]' >d.json
  status=0
  wb-unshare --pid --mount -- wb-rootfs enter --doc 3 --status-fd 4 -- true 3<d.json 4>status.json 2>stderr.txt ||
    status=$?
  [ "$status" = 1 ]
  [ ! -s stderr.txt ]
  jq -e '.error | .tool == "wb-rootfs" and .verb == "enter" and .code == 1 and .errno == "ENODEV"
    and (.message | startswith("mount /x: file system type nonesuch"))' status.json
}

@test "a terminal on standard input becomes the console" {
  require_program script
  filter='.process.terminal = true'
  describe sh -c 'stat -c "%t" /dev/console; tty; [ "$(stat -c %r:%i /dev/console)" = "$(stat -Lc %r:%i /proc/self/fd/0)" ] &&
    echo same' >d.json
  cat >run.sh <<'END'
wb-unshare run --doc 3 -- wb-rootfs enter --doc 3 -- wb-confine --doc 3 3<d.json
END
  script -qec 'sh run.sh' /dev/null </dev/null >out
  grep -q 88 out
  grep -q same out
  must_fail 1 wb-unshare --pid --mount -- wb-rootfs enter --doc d.json -- true </dev/null
  [[ $stderr == *"no pseudo-terminal"* ]]
}

@test "a user namespace: the image's ids inside, others on the host, the image's own on the disk" {
  mkdir -m 1770 base/data bound
  echo x >base/data/file
  chown 5:6 base/data/file base/data
  chown 1000:1000 base/tmp
  wb-spec -n run --net none --userns auto --rm -v vol:/data -v "$PWD/bound:/bound:idmap" x sh -c '
    stat -c "%n %u:%g" /tmp /data /data/file /bin/busybox; touch /new /data/new /bound/new; chown 7:8 /new /data/new
    head -n 1 /proc/self/uid_map; [ -c /dev/null ] && echo x >/dev/null && mknod /dev/mine c 1 3' |
    wb-state create | jq -c '.process.env += ["PATH=/bin"] | .process.cwd = "/"' |
    wb-rootfs mount --lower base >a.json
  host=$(jq '.linux.uidMappings[0].hostID' a.json)
  [ "$host" -gt 65536 ]
  [ "$(stat -c %u:%g "$(jq -r .root.path a.json)/tmp")" = "$((host + 1000)):$((host + 1000))" ]
  run --separate-stderr born a.json
  [ "$(head -n 5 <<<"$output" | tr -s ' ')" = "/tmp 1000:1000
/data 5:6
/data/file 5:6
/bin/busybox 0:0
 0 $host 65536" ]
  [[ $stderr == "mknod: /dev/mine: Operation not permitted" ]]
  upper=$(jq -r .wb.rootfs.upper a.json)
  [ "$(stat -c %u:%g "$upper/new" "$WB_ROOT/volumes/vol/_data/new" "$WB_ROOT/volumes/vol/_data/file" bound/new)" = "7:8
7:8
5:6
0:0" ]
  wb-rootfs umount --purge <a.json | wb-state rm >/dev/null
}

@test "a bind mount with maps of its own" {
  mkdir src
  touch src/file
  chown 3:4 src/file
  filter='.mounts += [{destination:"/m",type:"bind",source:"'$PWD'/src",options:["bind"],
    uidMappings:[{containerID:0,hostID:1000,size:100}],gidMappings:[{containerID:0,hostID:2000,size:100}]}]'
  describe stat -c %u:%g /m/file >d.json
  [ "$(born d.json)" = 1003:2004 ]
  filter='.mounts += [{destination:"/m",type:"bind",source:"'$PWD'/src",options:["bind","idmap"]}]'
  describe true >d.json
  must_fail 2 born d.json
  [[ $stderr == *"no ids to map"* ]]
}

@test "tmpcopyup starts with what was there" {
  mkdir -m 1750 base/srv
  echo image >base/srv/file
  chown 9:9 base/srv/file
  filter='.mounts += [{destination:"/srv",type:"tmpfs",source:"t",options:["tmpcopyup","ro"]}]'
  describe sh -c 'cat /srv/file; stat -c "%a %u" /srv /srv/file; echo x >/srv/file' >d.json
  run --separate-stderr born d.json
  [ "$output" = "image
1750 0
644 9" ]
  [[ $stderr == *"Read-only file system"* ]]
}

@test "devices of the document" {
  describe --device /dev/full:/dev/sub/mine sh -c 'ls -l /dev/sub/mine; echo x >/dev/sub/mine' >d.json
  run --separate-stderr born d.json
  [[ $output == crw*1,*7*/dev/sub/mine ]]
  [[ $stderr == *"No space left on device"* ]]
}

@test "cgroups inside show the container's own as the root" {
  describe sh -c 'cat /proc/self/mountinfo' >d.json
  born d.json >out
  [ -n "$(awk '$5 ~ "^/sys/fs/cgroup" { print $4 }' out)" ]
  [ "$(awk '$5 ~ "^/sys/fs/cgroup" { print $4 }' out | sort -u)" = / ]
  [ -z "$(awk '$5 ~ "^/sys/fs/cgroup" && $6 !~ "^ro,nosuid,nodev,noexec" { print }' out)" ]
}

@test "a program that is not there is 127, a missing root is said" {
  must_fail 127 wb-unshare --pid --mount -- wb-rootfs enter base -- nonesuch
  [[ $stderr == "wb-rootfs: enter: nonesuch: No such file or directory (ENOENT)" ]]
  must_fail 1 wb-unshare --pid --mount -- wb-rootfs enter /nonexistent -- sh
  must_fail 2 wb-unshare --pid --mount -- wb-rootfs enter -- sh
}
