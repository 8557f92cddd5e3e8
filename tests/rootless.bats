#!/usr/bin/env bats
# An ordinary user's containers: a user made for these tests does everything, and root looks on.

load lib/common
load lib/net
load lib/rootless

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

@test "a user pulls from a registry, commits what runs, pushes it, and it is the same" {
  require_program docker-registry
  images
  # The host's own loopback, which the user's tools reach and the containers do not.
  printf '%s\n' 'version: 0.1' 'log: {level: error}' "storage: {filesystem: {rootdirectory: $WB_SCRATCH/registry}}" \
    'http: {addr: "127.0.0.1:5000"}' >registry.yml
  nsenter --net="/run/netns/$NET_HOST" docker-registry serve registry.yml >registry.log 2>&1 3>&- &
  registry=$!
  answers () { host python3 -c 'import urllib.request as r; r.urlopen("http://127.0.0.1:5000/v2/")' 2>/dev/null; }
  eventually 20 answers
  person wb tag busybox 127.0.0.1:5000/some/box:1
  person wb push -q 127.0.0.1:5000/some/box:1
  person wb rmi -f busybox 127.0.0.1:5000/some/box:1 >/dev/null
  [ -z "$(find "$WB_ROOT/layers/sha256" -mindepth 1)" ]
  # The first use pulls it.
  person wb run -d --name c --net none 127.0.0.1:5000/some/box:1 sh -c 'echo made >/made; sleep 1000' >/dev/null
  made () { person wb exec c cat /made; }
  eventually 10 made
  # Nothing is delegated to this user, so that nothing stops the container: said, and refused only where it was asked for.
  must_fail 1 person wb commit --pause c 127.0.0.1:5000/some/box:2
  [ "${stderr%%$'\n'*}" = "wb-cgroup: freeze: the container has no cgroup" ]
  run --separate-stderr -0 person wb commit c 127.0.0.1:5000/some/box:2
  [ "$stderr" = "wb-cgroup: freeze: warning: the container runs on meanwhile: the container has no cgroup" ]
  [[ $output =~ ^sha256:[0-9a-f]{64}$ ]]
  [ "$(person wb exec c cat /made)" = made ]
  person wb push -q 127.0.0.1:5000/some/box:2
  person wb rm -f c >/dev/null
  person wb rmi -f 127.0.0.1:5000/some/box:1 127.0.0.1:5000/some/box:2 >/dev/null
  person wb pull -q 127.0.0.1:5000/some/box:2 >/dev/null
  [ "$(person wb run --rm --net none 127.0.0.1:5000/some/box:2 cat /made)" = made ]
  # What is in the store is the user's, and so is what another program reads of the registry.
  [ -z "$(find "$WB_ROOT" ! -uid "$PERSON_UID" ! -path '*/layers/*')" ]
  diff <(host skopeo inspect --raw --tls-verify=false docker://127.0.0.1:5000/some/box:2 | jq -S .layers) \
    <(skopeo inspect --raw "oci:$WB_ROOT/images:127.0.0.1:5000/some/box:2" | jq -S .layers)
  kill "$registry"
  wait "$registry" || true
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
  must_fail 125 person wb run --rm --net none -m 64m busybox true
  [ "${stderr%%$'\n'*}" = "wb-cgroup: create: a limit on memory: no cgroup is delegated to this user" ]
  person wb run --rm --net none busybox true
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
