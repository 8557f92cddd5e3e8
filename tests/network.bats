#!/usr/bin/env bats
# wb network and wb run on networks, as people type them: seen from the far end, on a small internet of namespaces.

load lib/common
load lib/net

setup () {
  wb_setup
  net_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || host wb rm -f $ids >/dev/null 2>&1 || true
  net_teardown
  wb_teardown
}

# up NAME FLAGS…: a container that runs, on that host.
up () {
  local name=$1
  shift
  host wb run -d --name "$name" "$@" busybox sleep 1000 >/dev/null
}
# in_box NAME CMD: CMD, a program of this machine, in the container's network.
in_box () {
  local name=$1
  shift
  nsenter --net="/run/netns/$(id_of "$name")" "$@"
}
id_of () { wb inspect "$1" | jq -r '.[0].wb.id'; }
# address NAME INTERFACE
address () { in_box "$1" ip -4 -j addr show dev "$2" | jq -r '.[0].addr_info[0].local'; }
has_names () { [ -x /usr/lib/podman/aardvark-dns ] || skip "aardvark-dns is missing"; }

@test "several networks from the start: an interface each, one way out, names on all of them" {
  has_names
  host wb network create one >/dev/null
  host wb network create two >/dev/null
  up both --network one --network name=two,alias=zwei
  up a --network one
  up b --network two --network-alias bee --mac-address 02:00:00:00:00:07
  in_box both ping -c 1 -W 2 "$(address a eth0)"
  in_box both ping -c 1 -W 2 "$(address b eth0)"
  in_box both ping -c 1 -W 2 198.51.100.1
  [ "$(in_box both ip route show default | wc -l)" = 1 ]
  must_fail 1 in_box a ping -c 1 -W 1 "$(address b eth0)"
  [ "$(in_box b ip -j link show eth0 | jq -r '.[0].address')" = 02:00:00:00:00:07 ]
  wb exec both ping -c 1 -W 2 a
  wb exec both ping -c 1 -W 2 bee
  wb exec b ping -c 1 -W 2 zwei
  must_fail 1 wb exec a ping -c 1 -W 2 zwei
  host wb rm -f both a b
  [ -z "$(wb-ipam list)" ]
}

@test "connected while it runs, and disconnected: cable, address, way out, names, lease" {
  has_names
  host wb network create one >/dev/null
  host wb network create two --subnet 10.222.0.0/24 --subnet fd00:222::/64 >/dev/null
  up a --network one
  up b --network two
  must_fail 1 in_box a ping -c 1 -W 1 10.222.0.2
  host wb network connect --ip 10.222.0.77 --ip6 fd00:222::77 --alias late two a
  [ "$(address a eth1)" = 10.222.0.77 ]
  in_box a ping -c 1 -W 2 fd00:222::2
  in_box b ping -c 1 -W 2 10.222.0.77
  wb exec b ping -c 1 -W 2 late
  wb exec a ping -c 1 -W 2 b
  wb inspect a | jq -c '.[0]' | host wb-netns check >/dev/null
  [ "$(wb-ipam list --network two | jq -r '.address' | sort)" = "10.222.0.2/24
10.222.0.77/24
fd00:222::2/64
fd00:222::77/64" ]
  must_fail 1 host wb network rm two
  must_fail 1 host wb network connect two a
  [ "$stderr" = 'wb-ipam: connect: network two: the container is on it already' ]
  must_fail 1 host wb network connect --ip 10.222.0.2 one b
  [ "$stderr" = "wb-ipam: connect: network one: address 10.222.0.2: outside of $(host ip -j -4 addr | jq -r '.[] | select(.ifname | startswith("wb-")).addr_info[].local' | grep -v 10.222 | sed 's/1$/0/')/24" ]
  [ "$(wb-ipam list --network one | wc -l)" = 1 ]
  # Off the first one: the other one is the way out now.
  host wb network disconnect one a
  must_fail 1 in_box a ip link show eth0
  in_box a ping -c 1 -W 2 198.51.100.1
  in_box a ping -c 1 -W 2 2001:db8::2
  [ -z "$(wb-ipam list --network one)" ]
  must_fail 1 host wb network disconnect one a
  # And back on it.
  host wb network connect one a
  [ "$(in_box a ip route show default | wc -l)" = 1 ]
  host wb network disconnect two a
  must_fail 1 wb exec b ping -c 1 -W 2 late
  in_box a ping -c 1 -W 2 198.51.100.1
  # Off the last one, and on again.
  host wb network disconnect one a
  [ "$(in_box a ip -br link | awk '{ print $1 }')" = lo ]
  host wb network connect two a
  wb exec a ping -c 1 -W 2 b
  host wb rm -f a b
  [ -z "$(wb-ipam list)" ]
  host wb network rm one two
}

@test "published ports move with the first network" {
  host wb network create one >/dev/null
  host wb network create two >/dev/null
  up web --network one -p 8080:80
  serve "$(id_of web)" 80 web
  [ "$(fetch_from_outside 8080)" = "web 203.0.113.2" ]
  host wb network connect two web
  host wb network disconnect one web
  [ "$(fetch_from_outside 8080)" = "web 203.0.113.2" ]
  [[ $(in_box web nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  must_fail 125 host wb run --rm -p 8080:80 busybox true
  host wb network disconnect two web
  must_fail 1 outside nc -w 2 203.0.113.1 8080
  [ -z "$(host ss -Hltn 'sport = :8080')" ]
  host wb network connect one web
  [ "$(fetch_from_outside 8080)" = "web 203.0.113.2" ]
  host wb rm -f web
}
fetch_from_outside () { outside nc -w 2 203.0.113.1 "$1" </dev/null; }

@test "a container that does not run is connected when it starts; host and none refuse" {
  host wb network create one >/dev/null
  host wb network create two >/dev/null
  host wb create --name a --network one busybox sleep 1000 >/dev/null
  host wb network connect two a
  [ -z "$(wb-ipam list)" ]
  host wb start a >/dev/null
  [ "$(in_box a ip -br link | awk '{ print $1 }' | cut -d@ -f1 | tr '\n' ' ')" = 'lo eth0 eth1 ' ]
  host wb stop -t 0 a >/dev/null
  host wb network disconnect one a
  host wb start a >/dev/null
  [ "$(in_box a ip -br link | awk '{ print $1 }' | cut -d@ -f1 | tr '\n' ' ')" = 'lo eth0 ' ]
  up n --network none
  up h --network host
  for box in n h; do must_fail 1 host wb network connect two $box; done
  must_fail 1 host wb network connect nosuch a
  [ "${stderr%%$'\n'*}" = 'wb-ipam: connect: no such network: nosuch' ]
  must_fail 1 host wb network connect two nosuch
  [ "$stderr" = 'wb-ipam: connect: no such container: nosuch' ]
  must_fail 1 host wb network disconnect two
  host wb rm -f a n h
}

@test "the network of another container: its addresses, its ports, its names" {
  up first -p 8080:80
  host wb run --rm --network container:first busybox ip -o -4 addr show dev eth0 | grep -qF "$(address first eth0)/"
  up second --network container:first
  [ ! -e "/run/netns/$(id_of second)" ]
  serve "$(id_of first)" 80 shared
  [ "$(wb exec second nc -w 2 127.0.0.1 80 </dev/null)" = 'shared 127.0.0.1' ]
  [ "$(wb exec second cat /etc/hosts)" = "$(wb exec first cat /etc/hosts)" ]
  must_fail 1 host wb network connect bridge second
  host wb rm -f second
  [ "$(fetch_from_outside 8080)" = "shared 203.0.113.2" ]
  host wb rm -f first
}

@test "macvlan: on the host's own wire, with addresses the host does not have" {
  require_hardware 'ip -n "$NET_HOST" link add probe link up0 type macvlan mode bridge && ip -n "$NET_HOST" link del probe' 'no macvlan'
  host wb network create --driver macvlan --subnet 203.0.113.0/24 --gateway 203.0.113.2 -o parent=up0 -o mtu=1400 lan >/dev/null
  up a --network lan
  up b --network lan --ip 203.0.113.77
  [ "$(address a eth0)" = 203.0.113.3 ]
  outside ping -c 1 -W 2 203.0.113.3
  in_box a ping -c 1 -W 2 203.0.113.77
  in_box a ping -c 1 -W 2 198.51.100.1
  [ "$(in_box a ip -j -d link show eth0 | jq -r '.[0] | [.linkinfo.info_kind, .mtu] | join(" ")')" = 'macvlan 1400' ]
  must_fail 125 host wb run --rm --network lan -p 80:80 busybox true
  must_fail 125 host wb run --rm --network lan --ip 203.0.113.1 busybox true
  must_fail 1 host wb network rm lan
  [ "$stderr" = 'wb-netns: network rm: network lan: in use by 2 containers' ]
  [ -z "$(host wb network prune -f)" ]
  # Also while it runs.
  up c
  host wb network connect lan c
  outside ping -c 1 -W 2 "$(address c eth1)"
  host wb network disconnect lan c
  host wb rm -f a b c
  [ "$(host wb network prune -f)" = $'Deleted Networks:\nlan' ]
  must_fail 1 host wb network create --driver macvlan noparent
}
