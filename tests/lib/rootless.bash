# An ordinary user made for a file of tests, who does everything in it: `load lib/rootless`, after lib/common and lib/net.
# It defines setup_file, teardown_file, setup and teardown.
#
#   person CMD        CMD as that user, on the test's own host
#   images            the image busybox in the user's own store
#   outside_id ID     the host's id of what is inside
#   persons_processes  the user's, one pid a line

setup_file () {
  # What a user who may not look into the checkout can run.
  ROOTLESS=$(mktemp -d /tmp/wb-rootless.XXXXXX)
  PERSON=wbt$$
  export ROOTLESS PERSON
  WB_BIN=$(. "$BATS_TEST_DIRNAME/lib/find-bin.bash" && wb_find_bin "$BATS_TEST_DIRNAME/..")
  mkdir "$ROOTLESS/bin"
  for tool in "$WB_BIN"/wb-*; do
    case $tool in *.d) continue ;; esac
    cp -lL "$tool" "$ROOTLESS/bin/" 2>/dev/null || cp -L "$tool" "$ROOTLESS/bin/"
  done
  cp -a "$BATS_TEST_DIRNAME/../wrappers" "$ROOTLESS/"
  chmod -R a+rX "$ROOTLESS"
  # Where udev has not opened it to everybody, as it does on a machine that is installed.
  modprobe tun 2>/dev/null || true
  mknod -m 666 "$ROOTLESS/tun" c 10 200
  # Of several tests that add users at the same time one is told to try again.
  local tries=50
  until useradd --no-create-home --home-dir "$ROOTLESS" --shell /bin/sh "$PERSON"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ]
    sleep 0.2
  done
  if ! grep -q "^$PERSON:" /etc/subuid; then
    usermod --add-subuids 700000-765535 --add-subgids 700000-765535 "$PERSON"
  fi
}

teardown_file () {
  local pid
  for pid in $(persons_processes); do kill -KILL "$pid" 2>/dev/null || true; done
  userdel "$PERSON"
  rm -rf --one-file-system "$ROOTLESS"
}

setup () {
  wb_setup
  PERSON_UID=$(id -u "$PERSON")
  FIRST=$(grep "^$PERSON:" /etc/subuid | cut -d: -f2)
  # The user's own places, under the names the user's own tools give them.
  export WB_ROOT=$WB_SCRATCH/data/wb WB_RUN=$WB_SCRATCH/run/wb
  chmod 711 "$WB_SCRATCH"
  install -d -m 700 -o "$PERSON" -g "$PERSON" "$WB_SCRATCH/data" "$WB_SCRATCH/run" "$WB_SCRATCH/home"
  net_setup
  HIDDEN=
}

teardown () { rootless_teardown; }

rootless_teardown () {
  local status=0
  person sh -c 'wb ps -aq | xargs -r wb rm -f' >/dev/null 2>&1 || true
  person wb-unshare keep --end || status=1
  eventually 5 nobody_left || {
    echo "processes of the user: $(ps -o pid,user,args -p "$(persons_processes | paste -sd,)")" >&2
    status=1
  }
  for pid in $(persons_processes); do kill -KILL "$pid" 2>/dev/null || true; done
  # Locks and the time of the last sweep stay; of containers and of what is kept nothing does.
  if find "$WB_RUN"/{containers,dns,kept,netns,ports} -type f 2>/dev/null | grep . >&2; then status=1; fi
  # Root's networks are none of theirs.
  ip netns del "wbt-web-$WB_MACHINE_HASH" 2>/dev/null || true
  WB_ROOT=$WB_SCRATCH/root WB_RUN=$WB_SCRATCH/run/none net_teardown
  wb_teardown || status=1
  return "$status"
}

# The user's processes, and those that have one of the user's subordinate ids; a zombie has ended.
persons_processes () {
  local file state uid first=${FIRST:-700000}
  for file in /proc/[0-9]*/status; do
    state=$(sed -n 's/^State:\t\(.\).*/\1/p' "$file" 2>/dev/null) uid=$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "$file" 2>/dev/null)
    if [ -z "$uid" ] || [ "$state" = Z ]; then continue; fi
    if [ "$uid" = "$(id -u "$PERSON")" ] || { [ "$uid" -ge "$first" ] && [ "$uid" -lt $((first + 65536)) ]; }; then
      file=${file#/proc/}
      echo "${file%/status}"
    fi
  done
}

nobody_left () { [ -z "$(persons_processes)" ]; }

# person CMD: as the user, on the test's own host, with no variable of ours; $HIDDEN names programs that are missing.
person () {
  # shellcheck disable=SC2016 # the inner shell's own words
  nsenter --net="/run/netns/$NET_HOST" unshare --mount --propagation slave sh -c '
    tun=$1 hidden=$2 empty=$3
    shift 3
    mount --bind "$tun" /dev/net/tun
    for program in $hidden; do mount --bind "$empty" "$(readlink -f "$(command -v "$program")")"; done
    exec "$@"' sh "$ROOTLESS/tun" "$HIDDEN" "$WB_SCRATCH/machine.before" \
    setpriv --reuid "$PERSON" --regid "$PERSON" --init-groups --reset-env env -i -C "$WB_SCRATCH/home" \
    HOME="$WB_SCRATCH/home" XDG_DATA_HOME="$WB_SCRATCH/data" XDG_RUNTIME_DIR="$WB_SCRATCH/run" \
    PATH="$ROOTLESS/wrappers:$ROOTLESS/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" WB_BIN="$ROOTLESS/bin" \
    ${TRACE:+WB_TRACE=1} timeout $((60 * ${WB_TEST_SLOW:-1})) "$@"
}

# The host's id of what is inside.
outside_id () { if [ "$1" = 0 ]; then echo "$PERSON_UID"; else echo $((FIRST + $1 - 1)); fi; }
uid_of () { sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$1/status"; }

images () {
  cp "$(busybox_tar)" "$WB_SCRATCH/home/busybox.tar"
  person wb import busybox.tar busybox >/dev/null
}
