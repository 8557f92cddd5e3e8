# A small internet for tests of networks: a host of its own, and the outside, each a network namespace.
#
#   net_setup       makes both: host 203.0.113.1, outside 203.0.113.2 and, behind it, 198.51.100.1
#   net_teardown    ends the servers and takes both away
#   host CMD        CMD on that host
#   outside CMD     CMD outside
#   inside ID CMD   CMD in the container's network
#   serve NS PORT WORD [udp|tcp6|sctp]   a server that answers WORD and the client's address
#   fetch ADDRESS PORT              what the server says

net_setup () {
  NET_HOST=wbt-host-$WB_MACHINE_HASH
  NET_OUT=wbt-out-$WB_MACHINE_HASH
  ip netns add "$NET_HOST"
  ip netns add "$NET_OUT"
  ip -n "$NET_HOST" link set lo up
  ip -n "$NET_OUT" link set lo up
  ip -n "$NET_HOST" link add up0 mtu "${NET_MTU:-1500}" type veth peer name eth0 mtu "${NET_MTU:-1500}" netns "$NET_OUT"
  ip -n "$NET_HOST" addr add 203.0.113.1/24 dev up0
  ip -n "$NET_HOST" addr add 2001:db8::1/64 dev up0 nodad
  ip -n "$NET_OUT" addr add 203.0.113.2/24 dev eth0
  ip -n "$NET_OUT" addr add 2001:db8::2/64 dev eth0 nodad
  ip -n "$NET_OUT" addr add 198.51.100.1/32 dev lo
  ip -n "$NET_HOST" link set up0 up
  ip -n "$NET_OUT" link set eth0 up
  ip -n "$NET_HOST" route add default via 203.0.113.2
  ip -n "$NET_HOST" route add default via 2001:db8::2
  NET_SERVERS=
}

net_teardown () {
  local pid file name
  for pid in ${NET_SERVERS:-}; do kill "$pid" 2>/dev/null || true; done
  # A test that failed half-way: what it had made.
  for file in "$WB_RUN"/ports/*; do
    if [ -e "$file" ]; then unplug "${file##*/}"; fi
  done
  sort -u "$WB_SCRATCH/plugged" 2>/dev/null | while read -r name; do
    if [ -e "/run/netns/$name" ]; then unplug "$name"; fi
  done
  for file in "$WB_ROOT"/networks/*.conflist; do
    [ -e "$file" ] || continue
    name=${file##*/}
    host wb-netns network rm "${name%.conflist}" >/dev/null || true
  done
  ip netns del "$NET_HOST" 2>/dev/null || true
  ip netns del "$NET_OUT" 2>/dev/null || true
}

host () { nsenter --net="/run/netns/$NET_HOST" "$@"; }
outside () { nsenter --net="/run/netns/$NET_OUT" "$@"; }
inside () {
  local id=$1
  shift
  nsenter --net="/run/netns/$id" "$@"
}

# Both filters, as the wrappers use them.
plug () {
  local id=$1
  shift
  echo "$id" >>"$WB_SCRATCH/plugged"
  host wb-ipam -n add --id "$id" "$@" | host wb-netns add
}
unplug () {
  local id
  for id; do host wb-netns -n del --id "$id" | host wb-ipam del; done >/dev/null
}
address_of () { ip -n "$1" -o -"${2:-4}" addr show dev eth0 scope global | awk '{ sub("/.*", "", $4); print $4 }'; }

# network NAME FLAGS…: a network on that host.
network () {
  local name=$1
  shift
  host wb-ipam -n create --network "$name" "$@" | host wb-netns network create --quiet >/dev/null
}

serve () {
  local script='
import socket, sys
port, word, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM, 132 if kind == "sctp" else 0)
s.bind(("", port))
if kind.startswith("udp"):
    while True:
        _, who = s.recvfrom(100)
        s.sendto((word + " " + who[0] + "\n").encode(), who)
s.listen(50)
while True:
    c, who = s.accept()
    c.sendall((word + " " + who[0].replace("::ffff:", "") + "\n").encode())
    c.close()
'
  nsenter --net="/run/netns/$1" python3 -c "$script" "$2" "$3" "${4:-tcp}" 3>&- &
  NET_SERVERS="$NET_SERVERS $!"
  eventually 10 listening "$1" "$2"
}

listening () { [ -n "$(nsenter --net="/run/netns/$1" ss -HltunS "sport = :$2")" ]; }

fetch () { timeout 3 nc -w 2 "$@" </dev/null; }
fetch_udp () { echo x | timeout 3 nc -u -w 1 "$@" | head -n 1; }

# publish_on ID NETWORK HOST:CONTAINER[/PROTOCOL]… [HOST_IP]
publish_on () {
  local id=$1 name=$2 ports=
  shift 2
  echo "$id" >>"$WB_SCRATCH/plugged"
  ports=$(for port; do
    proto=tcp
    case $port in */*) proto=${port#*/} port=${port%/*} ;; esac
    ip=null
    case $port in *@*) ip="\"${port%@*}\"" port=${port#*@} ;; esac
    echo "{\"hostIP\":$ip,\"hostPort\":${port%:*},\"containerPort\":${port#*:},\"protocol\":\"$proto\"}"
  done | jq -sc .)
  echo "{\"wb\":{\"id\":\"$id\",\"network\":{\"name\":\"$name\",\"ports\":$ports}}}" |
    host wb-ipam add | host wb-netns add
}
