#!/usr/bin/env bats
# An ordinary user's containers: a user made for these tests does everything, and root looks on.

load lib/common
load lib/net

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
  WB_ROOT=$WB_SCRATCH/data/wb WB_RUN=$WB_SCRATCH/run/wb
  chmod 711 "$WB_SCRATCH"
  install -d -m 700 -o "$PERSON" -g "$PERSON" "$WB_SCRATCH/data" "$WB_SCRATCH/run" "$WB_SCRATCH/home"
  net_setup
  HIDDEN=
}

teardown () {
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
    [ -n "$uid" ] && [ "$state" != Z ] || continue
    if [ "$uid" = "$(id -u "$PERSON")" ] || { [ "$uid" -ge "$first" ] && [ "$uid" -lt $((first + 65536)) ]; }; then
      file=${file#/proc/}
      echo "${file%/status}"
    fi
  done
}

nobody_left () { [ -z "$(persons_processes)" ]; }

# person CMD: as the user, on the test's own host, with no variable of ours; $HIDDEN names programs that are missing.
person () {
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

# What a container hears at an address. pasta of Debian 12 loses the end of a short connection now and then, so that
# it is asked again.
reaches () { [ "$(person wb run --rm busybox sh -c 'timeout 5 nc "$@" 2>/dev/null; :' sh "$1" "$2")" = "$3" ]; }

@test "a user runs, looks into, stops and removes containers, and root is nowhere" {
  images
  run -7 person wb run --rm --net none busybox sh -c 'exit 7'
  id=$(person wb run -d --name web --net none busybox sh -c 'echo ready; sleep 1000')
  says_ready () { person wb logs web | grep -qx ready; }
  eventually 10 says_ready
  pid=$(person wb inspect --format '{{.State.Pid}}' web)
  # Its root is the user, and nobody else has to do with it.
  [ "$(uid_of "$pid")" = "$PERSON_UID" ]
  for one in $(grep -lzsxF -- "WB_ROOT=$WB_ROOT" /proc/[0-9]*/environ | cut -d/ -f3); do
    uid=$(uid_of "$one" 2>/dev/null) || uid=
    # It may have ended meanwhile.
    [ -z "$uid" ] || [ "$uid" = "$PERSON_UID" ]
  done
  # Other ids of the container are the user's subordinate ones, for processes and for files.
  person wb exec -d -u 33:44 web sh -c 'echo $$ >/tmp/pid; exec sleep 999'
  eventually 10 test -s "$WB_ROOT/containers/$id/upper/tmp/pid"
  file=$WB_ROOT/containers/$id/upper/tmp/pid
  [ "$(stat -c %u:%g "$file")" = "$(outside_id 33):$(outside_id 44)" ]
  other=$(pgrep -f -u "$(outside_id 33)" 'sleep 999')
  [ "$(sed -n 's/^Gid:\t\([0-9]*\).*/\1/p' "/proc/$other/status")" = "$(outside_id 44)" ]
  # No capability of theirs is good for anything outside.
  [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ]
  [ "$(person wb ps --format '{{.Names}} {{.Image}}')" = "web busybox" ]
  [ "$(person wb exec web id -u)" = 0 ]
  person wb stop -t 0 web
  [ ! -d "/proc/$pid" ] || [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status")" = Z ]
  [ "$(person wb ps -a --format '{{.State}}')" = exited ]
  person wb start web
  person wb rm -f web
  [ -z "$(person wb ps -aq)" ]
  [ "$(find "$WB_ROOT/containers" "$WB_ROOT/names" "$WB_RUN/netns" -mindepth 1 2>/dev/null)" = "" ]
}

@test "what a container changes becomes an image, with what is hidden in it" {
  images
  person wb run --name one --net none busybox sh -c 'mkdir -p /d/sub; echo old >/d/sub/f; echo old >/gone'
  person wb commit one first >/dev/null
  person wb run --name two --net none first sh -c 'rm -r /d /gone; mkdir /d; echo new >/d/g; chown 33:33 /d/g'
  # overlayfs has marked the directory and the name in the user's own words.
  upper=$WB_ROOT/containers/$(person wb inspect --format '{{.Id}}' two)/upper
  [ "$(getfattr --only-values -n user.overlay.opaque "$upper/d")" = y ]
  [ "$(stat -c %F:%t:%T "$upper/gone")" = "character special file:0:0" ]
  person wb commit two second >/dev/null
  run -0 person wb run --rm --net none second sh -c 'ls /d; cat /d/g; stat -c %u:%g /d/g; ls /gone'  || true
  [ "${lines[*]:0:3}" = "g new 33:33" ]
  [[ ${lines[3]} = *"No such file"* ]]
  # Saved and loaded again, unpacked anew, it is the same.
  person sh -c 'wb save -o second.tar second && wb rm one two && wb rmi second first && wb load -i second.tar' >/dev/null
  run -0 person wb run --rm --net none second sh -c 'cd /d; echo *; ls -d /gone 2>/dev/null || echo gone'
  [ "$output" = $'g\ngone' ]
  skopeo inspect --raw "oci:$WB_ROOT/images:$(jq -r '.manifests[].annotations["org.opencontainers.image.ref.name"] | select(. != null)' \
    "$WB_ROOT/images/index.json" | grep second)" | jq -e '.layers | length == 3'
}

@test "two first calls at once make one keeper, and another takes its place when it is killed" {
  cp "$(busybox_tar)" "$WB_SCRATCH/home/busybox.tar"
  for number in 1 2 3 4; do person wb ps >"$WB_SCRATCH/ps.$number" 2>&1 & jobs="${jobs:-} $!"; done
  for job in $jobs; do wait "$job"; done
  keeper=$(jq .pid "$WB_RUN/kept/keeper")
  [ "$(persons_processes)" = "$keeper" ]
  images
  person wb run -d --name c --net none busybox sleep 1000 >/dev/null
  kill -KILL "$keeper"
  [ "$(person wb exec c echo still there)" = "still there" ]
  next=$(jq .pid "$WB_RUN/kept/keeper")
  [ "$next" != "$keeper" ]
  pid=$(person wb inspect --format '{{.State.Pid}}' c)
  [ "$(readlink "/proc/$next/ns/user")" = "$(readlink "/proc/$pid/ns/user")" ]
  # As long as there is something to keep, it is kept.
  must_fail 1 person wb-unshare keep --end
  [[ $stderr = "wb-unshare: keep: "*" processes are still in them"* ]]
  person wb rm -f c
  person wb-unshare keep --end
  # A record of another boot keeps nothing.
  person wb ps
  jq -c '.bootId = "another"' "$WB_RUN/kept/keeper" >"$WB_SCRATCH/keeper"
  kill -KILL "$(jq .pid "$WB_RUN/kept/keeper")"
  cat "$WB_SCRATCH/keeper" >"$WB_RUN/kept/keeper"
  person wb ps
  [ "$(persons_processes)" = "$(jq .pid "$WB_RUN/kept/keeper")" ]
}

@test "containers reach what the host reaches, and each other by name" {
  images
  serve "$NET_OUT" 8000 far
  serve "$NET_HOST" 8001 near
  eventually 30 reaches 198.51.100.1 8000 "far 203.0.113.1"
  # The host by its own address, and not by its loopback interface, which pasta would lead to.
  eventually 30 reaches 203.0.113.1 8001 "near 203.0.113.1"
  gateway=$(host nsenter --net="/proc/$(jq .pid "$WB_RUN/kept/keeper")/ns/net" ip -j route show default | jq -r '.[].gateway')
  run person wb run --rm busybox nc -w 2 "$gateway" 8001
  [[ $output != *near* ]]
  person wb network create inner >/dev/null
  person wb run -d --name one --net inner busybox sh -c 'while :; do echo hello | nc -l -p 7; done' >/dev/null
  [ "$(person wb run --rm --net inner busybox sh -c 'until nc one 7; do sleep 0.1; done')" = hello ]
  # Nothing of it is seen on the host.
  [ "$(host ip -br link | awk '{ print $1 }' | grep -vE '^(lo|up0)')" = "" ]
  host nft list tables | grep -c . | grep -qx 0
  person wb rm -f one >/dev/null
  person wb network rm inner
}

@test "published ports are taken on the host, as they were asked for" {
  images
  person wb run -d --name web -p 127.0.0.1:18080:80 -p 18081:80 -p 18082:53/udp busybox sh -c \
    'mkdir /www; echo page >/www/x; httpd -f -h /www' >/dev/null
  ip netns attach "wbt-web-$WB_MACHINE_HASH" "$(person wb inspect --format '{{.State.Pid}}' web)"
  serve "wbt-web-$WB_MACHINE_HASH" 53 datagram udp
  fetch_udp_from () { echo x | "$1" timeout 5 nc -u -w 1 "$2" "$3" | head -n 1; }
  get () { "$1" python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode(), end="")' "$2"; }
  eventually 10 get host http://127.0.0.1:18080/x
  [ "$(get host http://127.0.0.1:18081/x)" = page ]
  [ "$(get host http://203.0.113.1:18081/x)" = page ]
  [ "$(get outside http://203.0.113.1:18081/x)" = page ]
  # What is for this host alone is for this host alone.
  must_fail 1 get outside http://203.0.113.1:18080/x
  must_fail 1 get host http://203.0.113.1:18080/x
  for way in host outside; do
    [[ $(fetch_udp_from "$way" 203.0.113.1 18082) = "datagram "* ]]
  done
  [ "$(host ss -Hltn 'sport = :18080' | awk '{ print $4 }')" = 127.0.0.1:18080 ]
  # A port that somebody has is refused at once, and so is one below 1024.
  must_fail 125 person wb run --rm -p 18081:80 busybox true
  [[ $stderr = *"published port 18081/tcp on 0.0.0.0: Address already in use (EADDRINUSE)"* ]]
  must_fail 125 person wb run --rm -p 80:80 busybox true
  [[ $stderr = *"hint: root allows it: sysctl net.ipv4.ip_unprivileged_port_start=80"* ]]
  # As many bytes as two buffers cannot hold, and both directions at once.
  person wb exec web sh -c 'dd if=/dev/urandom of=/www/big bs=1M count=5 2>/dev/null; sha256sum </www/big' >"$WB_SCRATCH/sum"
  [ "$(get host http://127.0.0.1:18080/x)" = page ]
  outside python3 -c 'import urllib.request as r; import sys; sys.stdout.buffer.write(r.urlopen("http://203.0.113.1:18081/big").read())' |
    sha256sum | cmp - "$WB_SCRATCH/sum"
  ip netns del "wbt-web-$WB_MACHINE_HASH"
  person wb stop -t 0 web
  [ -z "$(host ss -Hltun 'sport >= :18080 and sport <= :18082')" ]
}

@test "a user's container has the host's network, or none" {
  images
  serve "$NET_HOST" 8001 near
  [ "$(person wb run --rm --net host busybox nc 127.0.0.1 8001)" = "near 127.0.0.1" ]
  [ "$(person wb run --rm --net none busybox ls /sys/class/net)" = lo ]
  [ "$(person wb run --rm --net host busybox sh -c 'touch /sys/x' 2>&1 | grep -c 'Read-only')" = 1 ]
}

@test "maps of a container's own are refused" {
  images
  must_fail 125 person wb run --rm --net none --userns auto busybox true
  [ "${stderr%%$'\n'*}" = "wb-state: create: --userns auto: takes root, since layers are mounted through its maps" ]
}

@test "where nothing is delegated a limit is refused, and no limit is no failure" {
  images
  must_fail 1 person wb run --rm --net none -m 64m busybox true
  [ "${stderr%%$'\n'*}" = "wb-cgroup: create: a limit on memory: no cgroup is delegated to this user" ]
  person wb run --rm --net none busybox true
}

@test "a delegated cgroup holds the user's limits" {
  require_hardware '[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]' "the controllers are not in cgroup v2"
  images
  group=/sys/fs/cgroup/wbt-$PERSON
  grep -qw memory /sys/fs/cgroup/cgroup.subtree_control || echo '+memory +pids +cpu' >/sys/fs/cgroup/cgroup.subtree_control
  mkdir -p "$group/shell"
  chown "$PERSON" "$group" "$group/cgroup.procs" "$group/cgroup.subtree_control" "$group/shell" "$group/shell/cgroup.procs"
  delegated () { (echo "$BASHPID" >"$group/shell/cgroup.procs" && person "$@"); }
  id=$(delegated wb run -d --name c --net none -m 64m --pids-limit 50 busybox sleep 1000)
  found=$(find "$group" -name "$id")
  [ "$(cat "$found/memory.max"):$(cat "$found/pids.max")" = 67108864:50 ]
  grep -qx "$(person wb inspect --format '{{.State.Pid}}' c)" "$found/cgroup.procs"
  # From a shell that is elsewhere it is the same container.
  person wb rm -f c
  [ ! -d "$found" ]
  rmdir "$group/shell" "$group"
}

@test "a user without subordinate ids has root, and is told how to get more" {
  images
  person wb-unshare keep --end
  sed "/^$PERSON:/d" /etc/subuid >"$WB_SCRATCH/subuid"
  # Another /etc/subuid for this user alone.
  without () { unshare --mount --propagation slave bash -c 'mount --bind "$0" /etc/subuid; "$@"' "$WB_SCRATCH/subuid" "$@"; }
  export -f person
  export NET_HOST HIDDEN WB_SCRATCH ROOTLESS
  run --separate-stderr -0 without bash -c 'person wb run --rm --net none busybox sh -c "id -u; cat /proc/self/uid_map; tty -s; touch /f"'
  [ "$(echo "$output" | tr -s ' ')" = $'0\n 0 '"$PERSON_UID 1" ]
  [[ $stderr = "wb-unshare: warning: $PERSON has no range in both /etc/subuid and /etc/subgid"*"usermod --add-subuids"*"$PERSON"* ]]
  # What takes another id is refused.
  must_fail 125 without bash -c 'person wb run --rm --net none -u 33 busybox true'
  [ "$stderr" = "wb-confine: group 33: Invalid argument (EINVAL)" ]
}

@test "what is missing is named, with what mends it" {
  images
  person wb-unshare keep --end
  HIDDEN=newuidmap
  must_fail 125 person wb ps
  [[ $stderr = *"newuidmap"*"hint: Debian has newuidmap and newgidmap in the package uidmap"* ]]
  HIDDEN="pasta slirp4netns"
  must_fail 125 person wb run --rm busybox true
  [[ $stderr = *"neither pasta nor slirp4netns is installed"*"hint: apt install passt; or --net none, or --net host"* ]]
  person wb run --rm --net none busybox true
  # The other one takes its place.
  person wb-unshare keep --end
  HIDDEN=pasta
  serve "$NET_OUT" 8000 far
  eventually 30 reaches 198.51.100.1 8000 "far 203.0.113.1"
  pgrep -u "$PERSON_UID" -x slirp4netns
}

@test "wb-oci: a bundle of the user's own, whose root the user is; created, started, entered, deleted" {
  cp "$(busybox_tar)" "$WB_SCRATCH/home/busybox.tar"
  person sh -c 'mkdir -p bundle/rootfs && tar -C bundle/rootfs -xf busybox.tar && wb-oci spec --rootless --bundle bundle &&
    jq ".process.terminal = false | .process.args = [\"sh\", \"-c\", \"id -u; cat /proc/self/uid_map; touch /tmp/mine 2>/dev/null || echo read-only\"]" bundle/config.json >new &&
    mv new bundle/config.json'
  person wb-oci run --bundle bundle one </dev/null | tr -s ' ' >out
  diff out - <<END
0
 0 $PERSON_UID 1
read-only
END
  person sh -c 'jq ".process.args = [\"sleep\", \"300\"]" bundle/config.json >new && mv new bundle/config.json'
  person wb-oci create --bundle bundle --pid-file pid one >create.out 2>&1 </dev/null 3>&-
  local pid
  pid=$(cat "$WB_SCRATCH/home/pid")
  [ "$(uid_of "$pid" | cut -f1)" = "$PERSON_UID" ]
  [ "$(readlink "/proc/$pid/ns/user")" != "$(readlink /proc/self/ns/user)" ]
  [ "$(person wb-oci state one | jq -c '[.status, .pid]')" = "[\"created\",$pid]" ]
  person wb-oci start one
  [ "$(person wb-oci state one | jq -r .status)" = running ]
  [ "$(person wb-oci exec one sh -c 'id -u; readlink /proc/self/ns/pid')" = $'0\n'"$(readlink "/proc/$pid/ns/pid")" ]
  person wb-oci kill one KILL
  oci_stopped () { [ "$(person wb-oci state one | jq -r .status)" = stopped ]; }
  eventually 10 oci_stopped
  person wb-oci delete one
  [ -z "$(person wb-oci list -q)" ]
  # A limit takes a cgroup, which the user has none of: an error, and nothing is made.
  person sh -c 'jq ".linux.resources.pids.limit = 20" bundle/config.json >new && mv new bundle/config.json'
  must_fail 1 person wb-oci run --bundle bundle one
  [[ $stderr = *wb-cgroup* ]]
  [ -z "$(person wb-oci list -q)" ]
}
