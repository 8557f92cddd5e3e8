#!/usr/bin/env bats
# wb-rootfs unpack and diff: layers into directories and back, against tar, the kernel's overlayfs and /proc.

load lib/common

setup () { wb_setup; }
teardown () { wb_teardown; }

# A tree with one of everything, below $1.
make_tree () {
  mkdir -p "$1/etc" "$1/usr/bin" "$1/empty" "$1/tmp"
  chmod 1777 "$1/tmp"
  echo content >"$1/etc/file"
  ln "$1/etc/file" "$1/etc/hardlink"
  ln -s ../etc/file "$1/usr/link"
  ln -s /nowhere "$1/usr/dangling"
  cp /bin/true "$1/usr/bin/su" && chown 12:34 "$1/usr/bin/su" && chmod 4755 "$1/usr/bin/su"
  cp /bin/true "$1/usr/bin/ping" && setcap cap_net_raw+ep "$1/usr/bin/ping"
  mknod -m 666 "$1/null" c 1 3
  mknod -m 600 "$1/loop" b 7 0
  mkfifo "$1/fifo"
  setfattr -n user.colour -v blue "$1/etc/file"
  setfattr -n user.colour -v green "$1/empty"
  printf '%0200d' 1 >"$1/$(printf 'long%.0s' {1..50})"
  touch -d '1960-01-01 UTC' "$1/etc/old"
  chown 4000000:3000000 "$1/etc/old"
  touch -d '2001-02-03 04:05:06 UTC' "$1"/etc "$1"
}

# Everything stat and getfattr say of a tree, one line each.
look () {
  (cd "$1" && find . -type d ! -path . -printf '%P %y %m %U %G %T@\n' | sort
    # A directory's size and its number of links are the file system's own business.
    find . ! -type d -printf '%P %y %m %U %G %T@ %s %l %n\n' | sort
    find . -exec getfattr -h -m - --absolute-names -d {} + 2>/dev/null | sed '/^$/d' | paste -sd' ' | tr '#' '\n' | sort
    find . -type f -exec sha256sum {} + | sort
    find . -type c,b -exec stat -c '%n %t:%T' {} + | sort)
}

# The same with times in whole seconds, as layers have them.
look_roughly () { look "$1" | sed 's/\( [0-9]\{9,\}\)\.[0-9]*/\1/'; }

leftovers () { find "$WB_ROOT/layers" -mindepth 2 -maxdepth 2 ! -name '.size-*' 2>/dev/null; }

@test "every hostile layer ends in its tree or in one refusal" {
  mkdir hostile
  within 100 python3 "$WB_CHECKOUT/tests/lib/hostile_layers.py" "$PWD/hostile"
}

@test "a tree comes out as tar puts it: owners, modes, times, links, devices, attributes" {
  make_tree tree
  for format in gnu pax; do
    tar --create --format "$format" --xattrs --xattrs-include='*' --numeric-owner -C tree . >tree.tar 2>/dev/null
    mkdir expected
    tar --extract --numeric-owner --same-owner --preserve-permissions --xattrs --xattrs-include='*' -C expected <tree.tar
    digest=$(wb-rootfs unpack --to "found-$format" <tree.tar)
    [ "$digest" = "sha256:$(sha256sum <tree.tar | cut -d' ' -f1)" ]
    diff <(look expected) <(look "found-$format")
    [ "$(stat -c '%a %Y' expected)" = "$(stat -c '%a %Y' "found-$format")" ]
    rm -r expected
  done
}

@test "a layer enters the store under its diff id, once" {
  make_tree tree
  tar --create -C tree . >tree.tar
  hex=$(sha256sum <tree.tar | cut -d' ' -f1)
  wb-rootfs unpack --diff-id "sha256:$hex" <tree.tar
  [ "$(leftovers)" = "$WB_ROOT/layers/sha256/$hex" ]
  [ "$(stat -c %a "$WB_ROOT/layers/sha256")" = 700 ]
  inode=$(stat -c %i "$WB_ROOT/layers/sha256/$hex")
  # Again: the stream is read to its end, and nothing is made.
  (cat tree.tar && echo end >drained) | wb-rootfs unpack --diff-id "sha256:$hex"
  [ "$(cat drained)" = end ]
  [ "$(stat -c %i "$WB_ROOT/layers/sha256/$hex")" = "$inode" ]
}

@test "ten at once unpack the same layer: all succeed, one directory" {
  make_tree tree
  tar --create -C tree . >tree.tar
  hex=$(sha256sum <tree.tar | cut -d' ' -f1)
  for number in 1 2 3 4 5 6 7 8 9 10; do
    wb-rootfs unpack --diff-id "sha256:$hex" <tree.tar &
    pids="${pids-} $!"
  done
  for pid in $pids; do wait "$pid"; done
  [ "$(leftovers)" = "$WB_ROOT/layers/sha256/$hex" ]
}

@test "another digest than promised: refused, nothing left" {
  make_tree tree
  tar --create -C tree . >tree.tar
  hex=$(sha256sum <tree.tar | cut -d' ' -f1)
  wrong=$(printf '0%.0s' {1..64})
  must_fail 1 wb-rootfs unpack --diff-id "sha256:$wrong" <tree.tar
  [ "$stderr" = "wb-rootfs: unpack: layer sha256:$wrong: its content has digest sha256:$hex" ]
  [ -z "$(leftovers)" ]
  # Data after the end of the archive counts.
  must_fail 1 bash -c "(cat tree.tar; echo more) | wb-rootfs unpack --diff-id sha256:$hex"
  [ -z "$(leftovers)" ]
  for digest in sha256:../../../etc md5:abc "$hex" "sha256:${hex^^}"; do
    must_fail 1 wb-rootfs unpack --diff-id "$digest" <tree.tar
  done
}

@test "flags that make no sense" {
  must_fail 2 wb-rootfs unpack </dev/null
  must_fail 2 wb-rootfs unpack --to x --store </dev/null
  mkdir full && touch full/x
  must_fail 1 wb-rootfs unpack --to full </dev/null
  [ "$stderr" = "wb-rootfs: unpack: full: Directory not empty (ENOTEMPTY)" ]
}

@test "killed half-way it leaves no layer, and gc takes the rest" {
  make_tree tree
  head -c 3000000 /dev/zero >tree/zeros
  tar --create -C tree . >tree.tar
  mkfifo slow
  wb-rootfs unpack --store <slow &
  pid=$!
  exec 9>slow
  head -c 1500000 tree.tar >&9
  eventually 5 test -e "$WB_ROOT"/layers/sha256/.tmp-*/zeros
  # In use it is left alone.
  wb-image gc
  [ -d "$(echo "$WB_ROOT"/layers/sha256/.tmp-*)" ]
  kill -9 "$pid"
  exec 9>&-
  wait "$pid" || true
  [ "$(leftovers | grep -vc /.tmp-)" = 0 ]
  wb-image gc
  [ -z "$(leftovers)" ]
}

@test "told to end it leaves nothing itself" {
  mkfifo slow
  wb-rootfs unpack --store <slow 2>said &
  pid=$!
  exec 9>slow
  (mkdir d && head -c 3000000 /dev/zero >d/zeros && tar --create d) | head -c 1500000 >&9
  eventually 5 test -e "$WB_ROOT"/layers/sha256/.tmp-*/d/zeros
  kill -TERM "$pid"
  status=0
  wait "$pid" || status=$?
  exec 9>&-
  [ "$status" = 1 ]
  [ "$(cat said)" = "wb-rootfs: unpack: d/zeros: reading the layer: ended by SIGTERM" ]
  [ -z "$(leftovers)" ]
}

@test "a full disk: one clear line, nothing left" {
  mkdir small
  mount -t tmpfs -o size=1m,nr_inodes=40 none small
  mkdir d && head -c 4000000 /dev/zero >d/zeros
  tar --create d >big.tar
  mkdir many && (cd many && touch {1..100}) && tar --create many >many.tar
  must_fail 1 env WB_ROOT="$PWD/small" wb-rootfs unpack --store <big.tar
  [ "$stderr" = "wb-rootfs: unpack: d/zeros: write: No space left on device (ENOSPC)" ]
  must_fail 1 env WB_ROOT="$PWD/small" wb-rootfs unpack --store <many.tar
  [[ $stderr = *"(ENOSPC)" ]]
  [ -z "$(find small/layers/sha256 -mindepth 1)" ]
  umount small
}

@test "whiteouts and opaque directories hide what is below, as the kernel sees it" {
  mkdir -p base/dir base/gone base/deep/er && touch base/dir/{a,b} base/gone/x base/deep/er/y base/file
  mkdir -p top/dir top/deep && touch top/dir/.wh..wh..opq top/dir/c top/.wh.gone top/deep/.wh.er top/.wh.file
  for layer in base top; do
    tar --create -C "$layer" . | wb-rootfs unpack --to "$layer.layer" >/dev/null
  done
  wb-rootfs -n mount --id look --lower base.layer --lower top.layer >document
  merged=$(jq -r .wb.rootfs.merged document)
  [ "$(cd "$merged" && find . | sort | paste -sd' ')" = ". ./deep ./dir ./dir/c" ]
  wb-rootfs umount --purge <document >/dev/null
}

# --- diff --------------------------------------------------------------------------------------------------

# Changes of every kind in an overlay of two layers; leaves lower1, lower2 and upper.
make_changes () {
  mkdir -p lower1/{etc,keep/sub,gone,mode,turned} lower2/etc upper work merged
  echo 1 >lower1/etc/passwd && touch lower1/keep/{a,b} lower1/gone/x lower1/turned/{old,same} lower1/file lower1/etc/hosts
  echo 2 >lower2/etc/group
  mount -t overlay overlay -o lowerdir=lower2:lower1,upperdir=upper,workdir=work merged
  (
    cd merged || exit
    echo new >etc/new && ln etc/new etc/hard && echo more >>etc/passwd
    rm -r gone
    chmod 700 mode
    rm -r turned && mkdir turned && touch turned/{fresh,same}
    rm file && mkdir file && touch file/in
    ln -s target link && mkfifo fifo && mknod device c 1 3
    setfattr -n user.colour -v red etc/new
    mkdir -p volumes/data
    touch keep/tmp && rm keep/tmp
  )
  umount merged
}

@test "diff says what was added, changed and deleted" {
  make_changes
  wb-rootfs diff --upper upper --lower lower1 --lower lower2 --exclude /volumes/data --exclude /etc/hosts >list
  diff list - <<END
A /device
C /etc
A /etc/hard
A /etc/new
C /etc/passwd
A /fifo
C /file
A /file/in
D /gone
C /keep
A /link
C /mode
C /turned
A /turned/fresh
D /turned/old
C /turned/same
END
  [ "$(wb-rootfs diff --json --upper upper --lower lower1 --lower lower2 | jq -r '.[] | select(.kind == "deleted").path' | paste -sd' ')" = "/gone /turned/old" ]
}

@test "a new container has no differences, whatever is mounted in it" {
  mkdir -p base/etc && touch base/etc/passwd
  tar --create -C base . | wb-rootfs unpack --to layer >/dev/null
  wb-rootfs -n mount --id fresh --lower layer >document
  merged=$(jq -r .wb.rootfs.merged document)
  # What `enter` makes to mount on.
  mkdir -p "$merged"/{proc,sys,dev,data/vol} && touch "$merged"/etc/{hosts,resolv.conf}
  jq '.mounts = (["/proc", "/sys", "/dev", "/data/vol", "/etc/hosts", "/etc/resolv.conf"] | map({destination: .}))' document |
    wb-rootfs diff >list
  diff list /dev/null
  touch "$merged/etc/really"
  [ "$(wb-rootfs diff <document | grep -c really)" = 1 ]
  wb-rootfs umount --purge <document >/dev/null
}

@test "a layer written by diff makes the same root, and is the same bytes each time" {
  make_changes
  lowers=(--lower lower1 --lower lower2)
  wb-rootfs diff --tar --upper upper "${lowers[@]}" >one.tar
  # Another copy, made in another order at another time.
  mkdir copy
  (cd upper && find . | sort -r | tar --create --format posix --no-recursion --xattrs --xattrs-include='*' -T -) |
    tar --extract --xattrs --xattrs-include='*' -C copy
  sleep 1.1 && find copy -type f -exec cat {} + >/dev/null
  wb-rootfs diff --tar --upper copy "${lowers[@]}" >two.tar
  cmp one.tar two.tar
  tar --list <one.tar | grep -qx .wh.gone
  tar --list <one.tar | grep -qx turned/.wh..wh..opq
  wb-rootfs unpack --to layer <one.tar >/dev/null
  mkdir -p m1 m2
  mount -t overlay overlay -o lowerdir=upper:lower2:lower1 m1
  mount -t overlay overlay -o lowerdir=layer:lower2:lower1 m2
  diff <(look_roughly m1) <(look_roughly m2)
  umount m1 m2
}

@test "a directory as a layer: nothing of what is mounted in it" {
  make_tree tree
  mkdir -m 1777 tree/mounted && touch -d @1000000000 tree/mounted
  mount -t tmpfs none tree/mounted && touch tree/mounted/not-mine && touch -d @1000000000 tree/mounted
  wb-rootfs diff --tar --upper tree >tree.tar
  umount tree/mounted
  tar --list <tree.tar | grep -qx mounted/
  [ "$(tar --list <tree.tar | grep -c not-mine)" = 0 ]
  wb-rootfs unpack --to found <tree.tar >/dev/null
  diff <(look_roughly tree) <(look_roughly found)
}
