#!/usr/bin/env bats
# The way in, where it is narrow: flows that began before, loopback, IPv6 alone, SCTP, two uplinks, ranges.

load lib/common
load lib/net

setup () {
  wb_setup
  net_setup
}
teardown () {
  net_teardown
  wb_teardown
}

# A client that keeps its port, as one that goes on asking does.
ask_udp () { outside sh -c 'echo x | timeout 3 nc -u -w 1 -p 4000 203.0.113.1 5353'; }
# refused NAMESPACE ADDRESS PORT: at once, and not by silence.
refused () {
  nsenter --net="/run/netns/$1" python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(5)
try: s.connect((sys.argv[1], int(sys.argv[2])))
except ConnectionRefusedError: sys.exit(0)
sys.exit("not refused")' "$2" "$3"
}

@test "a UDP client that keeps asking is answered by whoever has the port now" {
  network bridge
  # With a container there, the kernel follows flows.
  plug other >/dev/null
  ask_udp || true
  publish_on first bridge 5353:53/udp >/dev/null
  serve first 53 first udp
  [ "$(ask_udp)" = "first 203.0.113.2" ]
  unplug first
  ask_udp || true
  publish_on second bridge 5353:53/udp >/dev/null
  serve second 53 second udp
  [ "$(ask_udp)" = "second 203.0.113.2" ]
  # One after the other, with nobody asking in between.
  unplug second
  publish_on third bridge 5353:53/udp >/dev/null
  serve third 53 third udp
  [ "$(ask_udp)" = "third 203.0.113.2" ]
  unplug third other
}

@test "::1 leads nowhere, and says so" {
  network dual --subnet 10.223.0.0/24 --subnet fd00:223::/64
  publish_on web dual 8080:80 >/dev/null
  serve web 80 web tcp6
  [[ $(host nc -w 2 127.0.0.1 8080 </dev/null) = "web "* ]]
  [[ $(host nc -w 2 2001:db8::1 8080 </dev/null) = "web "* ]]
  refused "$NET_HOST" ::1 8080
  # A browser that asks for localhost tries both.
  [[ $(host python3 -c 'import socket
print(socket.create_connection(("localhost", 8080), 3).recv(99).decode())') = "web "* ]]
  must_fail 125 publish_on late dual ::1@9090:80
  [ "${stderr%%$'\n'*}" = "wb-netns: add: published port 9090/tcp on ::1: the kernel leads nothing from there to another link" ]
  [ ! -e /run/netns/late ]
  # Held over IPv6 too.
  must_fail 1 host python3 -c 'import socket
s = socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("::", 8080)); s.listen()'
  [[ $stderr = *"Address already in use"* ]]
  unplug web late
}

@test "a host, a container and a peer with IPv6 alone" {
  for ns in "$NET_HOST" "$NET_OUT"; do ip -n "$ns" -4 addr flush scope global; done
  network six --subnet fd00:78::/64
  publish_on web six 8080:80 0:80 >web.json
  serve web 80 web tcp6
  inside web ping -c 1 -W 2 2001:db8::2
  [ "$(outside nc -w 2 2001:db8::1 8080 </dev/null)" = "web 2001:db8::2" ]
  port=$(jq '.wb.network.ports[1].hostPort' web.json)
  [ "$(outside nc -w 2 2001:db8::1 "$port" </dev/null)" = "web 2001:db8::2" ]
  # One address of the host, and no IPv4 to lead anybody to.
  publish_on one six 2001:db8::1@9090:80 >/dev/null
  serve one 80 one tcp6
  [ "$(outside nc -w 2 2001:db8::1 9090 </dev/null)" = "one 2001:db8::2" ]
  must_fail 1 publish_on late six 127.0.0.1@9191:80
  unplug web one late
}

# sctp_ask NAMESPACE ADDRESS PORT: what a server of SCTP says there; netcat does not speak it.
sctp_ask () {
  nsenter --net="/run/netns/$1" python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
s.settimeout(5)
s.connect((sys.argv[1], int(sys.argv[2])))
print(s.recv(99).decode(), end="")' "$2" "$3"
}

@test "SCTP is led and held, or refused with the reason" {
  network bridge
  if host python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)' 2>/dev/null; then
    publish_on web bridge 8080:80/sctp >/dev/null
    must_fail 125 publish_on late bridge 8080:80/sctp
    [ "$stderr" = "wb-netns: add: published port 8080/sctp on 0.0.0.0: Address already in use (EADDRINUSE)" ]
    host nft list map inet "wb-$WB_MACHINE_HASH" any4 | grep -qE 'sctp \. 8080|132 \. 8080'
    serve web 80 web sctp
    plug near >/dev/null
    [ "$(sctp_ask "$NET_OUT" 203.0.113.1 8080)" = "web 203.0.113.2" ]
    [[ $(sctp_ask near 203.0.113.1 8080) = "web "* ]]
    [[ $(sctp_ask "$NET_HOST" 203.0.113.1 8080) = "web "* ]]
    # Any other program, also one that shares.
    must_fail 1 host python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 8080)); s.listen()'
    [[ $stderr = *"Address already in use"* ]]
    # The same number of another protocol is another port.
    publish_on tcp bridge 8080:80 >/dev/null
    unplug web
    must_fail 1 sctp_ask "$NET_OUT" 203.0.113.1 8080
    publish_on web bridge 8080:80/sctp >/dev/null
    unplug near tcp
  else
    must_fail 125 publish_on web bridge 8080:80/sctp
    [ "$stderr" = "wb-netns: add: published port 8080/sctp on 0.0.0.0: Protocol not supported (EPROTONOSUPPORT)
hint: modprobe sctp" ]
    [ ! -e /run/netns/web ]
  fi
  unplug web late
}

@test "a UDP port and one range of many: held against others, and nothing of them left" {
  network bridge
  publish_on web bridge 5353:53/udp 7000:7000 7001:7001 7002:7002/udp >/dev/null
  must_fail 125 publish_on late bridge 5353:53/udp
  [ "$stderr" = "wb-netns: add: published port 5353/udp on 0.0.0.0: Address already in use (EADDRINUSE)" ]
  for kind in DGRAM:5353 STREAM:7001 DGRAM:7002; do
    must_fail 1 host python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, getattr(socket, "SOCK_" + sys.argv[1])); s.bind(("203.0.113.1", int(sys.argv[2])))' "${kind%:*}" "${kind#*:}"
    [[ $stderr = *"Address already in use"* ]]
  done
  # A second one that cannot have all it wants has nothing of it.
  must_fail 125 publish_on late bridge 8000:80 7001:80
  publish_on late bridge 8000:80 >/dev/null
  unplug web late
  host nft -j list table inet "wb-$WB_MACHINE_HASH" |
    jq -e '[.nftables[].map // empty | select(.name | test("^(any|host)[46]$")) | .elem // []] | length == 4 and all(. == [])'
  [ -z "$(host ss -Hltun)" ]
}

@test "two uplinks: in by both, out by the right one, each with the host's address there" {
  NET_SIDE=wbt-side-$WB_MACHINE_HASH
  ip netns add "$NET_SIDE"
  ip -n "$NET_HOST" link add up1 mtu 1400 type veth peer name eth0 netns "$NET_SIDE"
  ip -n "$NET_HOST" addr add 192.0.2.1/24 dev up1
  ip -n "$NET_SIDE" addr add 192.0.2.2/24 dev eth0
  ip -n "$NET_HOST" link set up1 up
  ip -n "$NET_SIDE" link set eth0 up
  ip -n "$NET_SIDE" link set lo up
  ip -n "$NET_HOST" route add 198.18.9.9/32 via 192.0.2.2
  ip -n "$NET_SIDE" addr add 198.18.9.9/32 dev lo
  network bridge
  publish_on web bridge 8080:80 192.0.2.1@9090:80 >/dev/null
  serve web 80 web
  side () { nsenter --net="/run/netns/$NET_SIDE" "$@"; }
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  [ "$(side nc -w 2 192.0.2.1 8080 </dev/null)" = "web 192.0.2.2" ]
  [ "$(side nc -w 2 192.0.2.1 9090 </dev/null)" = "web 192.0.2.2" ]
  must_fail 1 outside nc -w 2 203.0.113.1 9090
  serve "$NET_OUT" 70 out
  serve "$NET_SIDE" 70 side
  [ "$(inside web nc -w 2 198.51.100.1 70 </dev/null)" = "out 203.0.113.1" ]
  [ "$(inside web nc -w 2 198.18.9.9 70 </dev/null)" = "side 192.0.2.1" ]
  # Between the uplinks the host forwards for nobody by our doing: what is not ours finds no way to a container.
  ip -n "$NET_SIDE" route add 10.0.0.0/8 via 192.0.2.1
  must_fail 1 side ping -c 1 -W 1 "$(address_of web)"
  ip netns del "$NET_SIDE"
  unplug web
}

@test "a range of the host's ports for one of the container's: the first that is free" {
  make_busybox_image
  network bridge
  serve "$NET_HOST" 8000 host
  for n in 1 2; do host wb run -d --name "r$n" -p 8000-8002:80 busybox sleep 100 >/dev/null; done
  [ "$(wb port r1) $(wb port r2)" = "80/tcp -> 0.0.0.0:8001 80/tcp -> 0.0.0.0:8002" ]
  must_fail 125 host wb run --rm -p 8000-8002:80 busybox true
  [[ $stderr = *"published port 8000-8002/tcp on 0.0.0.0: Address already in use (EADDRINUSE)"* ]]
  host wb rm -f r1 r2
  host wb run -d --name p -P --expose 90-91/udp -p 127.0.0.1:7000-7001:70-71 busybox sleep 100 >/dev/null
  [ "$(wb port p 71)" = 127.0.0.1:7001 ]
  [ "$(wb port p | wc -l)" = 4 ]
  host wb rm -f p
}
