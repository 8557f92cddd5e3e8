# What the virtual machine is made of; for tests/vm/run.

# What the tests use there. Whatever these depend on comes along.
vm_packages="bash bats coreutils jq iproute2 iputils-ping nftables strace tmux attr libcap2-bin procps python3
  util-linux kmod busybox-static skopeo umoci runc crun docker-registry mount gzip tar grep sed mawk findutils hostname
  zstd diffutils login passwd ncurses-base libc-bin dash
  netcat-openbsd aardvark-dns openssl iptables uidmap passt slirp4netns perl-base bsdutils keyutils podman containernetworking-plugins
  xz-utils"

# vm_kernel DIRECTORY: Debian's cloud kernel and its modules, unpacked, not installed. Prints the directory.
vm_kernel () {
  local package directory
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
  if [ -z "$package" ]; then
    apt-get -qq update >&2
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
  fi
  directory=$1/$package
  if [ ! -e "$directory/complete" ]; then
    echo "fetching $package" >&2
    rm -rf "$directory"
    mkdir -p "$directory/download"
    # Its sandbox user need not be able to reach a checkout.
    (cd "$directory/download" && {
      apt-get -qq -o APT::Sandbox::User=root download "$package" ||
        { apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download "$package"; }
    }) >&2
    dpkg -x "$directory"/download/*.deb "$directory"
    rm -rf "$directory/download"
    depmod -b "$directory" "$(basename "$directory"/lib/modules/*)"
    touch "$directory/complete"
  fi
  echo "$directory"
}

# vm_root DIRECTORY KERNEL: an ext4 image of a root file system with this machine's own packages. Prints its path.
vm_root () {
  local list stamp root
  # shellcheck disable=SC2086,SC2016 # a list of names; dpkg-query's own variables
  list=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances $vm_packages | grep '^[a-z0-9]' | sort -u |
    xargs dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' 2>/dev/null | sed -n 's/^installed //p')
  stamp=$({ echo "$list" "$2"; cat tests/vm/build.bash; } | sha256sum | cut -c1-12)
  root=$1/root-$stamp.img
  if [ ! -e "$root" ]; then
    echo "making the root file system of $(echo "$list" | wc -l) packages" >&2
    rm -rf "$1"/root-*.img "$1/root"
    mkdir -p "$1/root"
    vm_fill_root "$1/root" "$2" "$list" >&2
    truncate -s 4G "$root.new"
    mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1 -d "$1/root" "$root.new" >&2
    rm -rf "$1/root"
    mv "$root.new" "$root"
  fi
  echo "$root"
}

vm_fill_root () {
  local root=$1 kernel=$2 list=$3 name
  mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},etc,dev,proc,sys,run,tmp,var/{lib,tmp,log},root,src,home,mnt}
  for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
  chmod 1777 "$root/tmp" "$root/var/tmp"
  {
    # Where /usr is merged the old names are links, and what lies behind them is named anew.
    echo "$list" | cut -d' ' -f1 | xargs dpkg-query -L | sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/&,; s,//,/,' |
      grep -vE '^/\.?$|^/(bin|sbin|lib|lib64)$|^/usr/share/(doc|man|info|locale|lintian)/|diverts|diverted'
    # What packages do not list: the alternatives and the links to them, PAM's common files, the loader's cache.
    printf '%s\n' /etc/alternatives /etc/alternatives/* /etc/pam.d/* /etc/ld.so.cache
    find /usr/bin /usr/sbin -type l -lname '/etc/alternatives/*'
  } >"$root/../list"
  sort -u "$root/../list" | while IFS= read -r name; do
    if [ -e "$name" ] || [ -L "$name" ]; then echo "${name#/}"; fi
  done | tar -C / --no-recursion -cf - -T - | tar -C "$root" --keep-directory-symlink -xf -
  rm -f "$root/../list"
  # bats notes the line before each command, for old shells: half of the time under emulation. bash 5 knows the
  # line when a command fails.
  sed -i '/^  trap .bats_debug_trap/d; s/^bats_error_trap() {/&\n  bats_check_status_from_trap; bats_capture_stack_trace; BATS_DEBUG_LAST_STACK_TRACE_IS_VALID=1; return/' \
    "$root/usr/lib/bats-core/tracing.bash"
  # What packages make when they are installed, and alternatives decide.
  ln -sf dash "$root/usr/bin/sh"
  cp -a "$kernel/lib/modules" "$root/usr/lib/"
  printf 'root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' \
    >"$root/etc/passwd"
  printf 'root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n' >"$root/etc/group"
  printf '%s:*:19000::::::\n' root user nobody >"$root/etc/shadow"
  printf 'user:100000:65536\n' | tee "$root/etc/subuid" >"$root/etc/subgid"
  printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
  printf 'nameserver 192.0.2.53\n' >"$root/etc/resolv.conf"
  printf 'vm\n' >"$root/etc/hostname"
  mkdir -p "$root/home/user" && chown 1000:1000 "$root/home/user"
}

# vm_initramfs KERNEL FILE: just enough to find the disk.
vm_initramfs () {
  local directory module
  directory=$(mktemp -d "$(dirname "$2")/initramfs.XXXXXX")
  mkdir -p "$directory"/{bin,modules,dev,proc,new}
  cp /bin/busybox "$directory/bin/busybox"
  : >"$directory/modules/order"
  for module in virtio_pci virtio_blk virtio-rng; do
    modprobe -d "$1" -S "$(basename "$1"/lib/modules/*)" --show-depends "$module" | sed -n 's/^insmod //p' |
      while read -r file _; do
        cp "$file" "$directory/modules/"
        basename "$file" >>"$directory/modules/order"
      done
  done
  cat >"$directory/init" <<'END'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
while read -r module; do /bin/busybox insmod "/modules/$module" 2>/dev/null; done </modules/order
tries=100
until [ -b /dev/vda ] && [ -b /dev/vdb ] || [ "$tries" = 0 ]; do /bin/busybox sleep 0.1; tries=$((tries - 1)); done
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox mount -t ext4 /dev/vdb /new/src
/bin/busybox mount --move /dev /new/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /new /src/tests/vm/guest
END
  chmod 0755 "$directory/init"
  (cd "$directory" && find . | cpio --quiet -o -H newc) >"$2"
  rm -rf "$directory"
}

# vm_checkout IMAGE: the tools, the wrappers and the tests as a checkout's tree, to be mounted on /src.
vm_checkout () {
  local image=$1 tree bin
  tree=$(dirname "$image")/checkout
  bin=$(bash -c '. tests/lib/find-bin.bash; wb_find_bin')
  mkdir -p "$tree/target/vm/release" "$tree/tools" "$tree/target/fixtures"
  cp -a tests wrappers "$tree/"
  if [ -d man ]; then cp -a man "$tree/"; fi
  for tool in tools/wb-*; do
    mkdir "$tree/$tool"
    # Without what only a debugger reads: it makes a debug build ten times as large.
    strip -o "$tree/target/vm/release/$(basename "$tool")" "$bin/$(basename "$tool")"
  done
  wrappers/starter-image "$tree/target/fixtures/busybox.tar"
  # Newer than what it is made of, so that it is not made anew.
  touch "$tree/target/fixtures/busybox.tar"
  gcc -static -O1 -o "$tree/target/fixtures/attacker" tests/lib/attacker.c
  printf '%s\n' "${WB_TEST_FILTER:-}" >"$tree/filter"
  truncate -s 1G "$image"
  mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,root_owner=0:0 -d "$tree" "$image"
  rm -rf "$tree"
}
