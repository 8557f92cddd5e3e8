#!/usr/bin/env bats
# wb-netns: networks seen from the far end. The "host" is a network namespace, so the machine's own stays as it is.

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

@test "two containers reach each other, the host and the outside; outside, they are the host" {
  network bridge
  plug a >a.json
  plug b >b.json
  inside a ping -c 1 -W 2 "$(address_of b)"
  inside a ping -c 1 -W 2 203.0.113.1
  inside b ping -c 1 -W 2 198.51.100.1
  serve "$NET_OUT" 80 out
  [ "$(inside a nc -w 2 198.51.100.1 80 </dev/null)" = "out 203.0.113.1" ]
  jq -e '.linux.namespaces == [{"type":"network","path":"/run/netns/a"}]' a.json
  jq -e '.wb.network.result | .ips[0].interface == 2 and .interfaces[2].name == "eth0"' a.json
  [ "$(jq -r '.wb.network.result.interfaces[2].mac' a.json)" = \
    "$(ip -n a -j link show eth0 | jq -r '.[0].address')" ]
  host wb-netns check <a.json >/dev/null
  unplug a b
}

@test "the second container costs no process and no more than a few requests" {
  network bridge
  plug a >/dev/null
  host wb-ipam -n add --id b >b.json
  host strace -f -o calls -e trace=execve,sendto,unshare,mount,clone,clone3,fork,vfork wb-netns add <b.json >/dev/null
  [ "$(grep -c execve calls)" = 1 ]
  must_fail 1 grep -E 'clone|fork' calls
  [ "$(grep -c sendto calls)" -le 9 ]
  # One queue each way from the start: the kernel has nothing to take back and to wait for (synchronize_rcu).
  [ "$(ip -n b -j -d link show eth0 | jq -c '.[0] | [.num_tx_queues, .num_rx_queues]')" = '[1,1]' ]
  host ip -j -d link show type veth | jq -e 'map(select(.ifname | test("^wb[0-9a-f]{12}$"))) |
    length == 2 and all(.num_tx_queues == 1 and .num_rx_queues == 1)'
  # What the tool says of itself is what strace saw.
  host wb-ipam -n add --id c | WB_TRACE=1 host wb-netns add 2>trace >/dev/null
  [ "$(grep -c 'sendto(NETLINK' trace)" = "$(grep -c sendto calls)" ]
  unplug a b c
}

@test "del needs the id alone, may be repeated, and leaves nothing" {
  network bridge
  host ip -br link >before
  plug a >/dev/null
  cable=$(host ip -br link | grep -oE '^wb[0-9a-f]{12}')
  [ "${#cable}" = 14 ]
  host wb-netns -n del --id a
  [ ! -e /run/netns/a ]
  host wb-netns -n del --id a
  host wb-netns -n del --id never-was
  eventually 2 must_fail 1 host ip link show "$cable"
  host wb-ipam -n del --id a
}

@test "a bridge that a reboot took away is made again" {
  network bridge
  plug a >/dev/null
  unplug a
  host ip link del "wb0-$WB_MACHINE_HASH"
  host nft delete table inet "wb-$WB_MACHINE_HASH"
  host sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
  plug a >/dev/null
  inside a ping -c 1 -W 2 198.51.100.1
  unplug a
}

@test "another firewall that drops what is forwarded: the way out is open, and its rules come back as they were" {
  host nft -f - <<'NFT'
table ip filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    iifname "eth7" accept
  }
}
table inet firewall {
  chain forward {
    type filter hook forward priority filter + 10; policy accept;
    ct state established,related accept
    reject with icmpx admin-prohibited
  }
}
table inet harmless {
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "eth9" drop
  }
}
NFT
  host nft list ruleset >before
  network bridge
  plug a >/dev/null
  plug b >/dev/null
  inside a ping -c 1 -W 2 198.51.100.1
  inside a ping -c 1 -W 2 "$(address_of b)"
  # A second container finds the way open: no nft is run for it.
  [ "$(host nft list chain ip filter FORWARD | grep -c "wb-$WB_MACHINE_HASH: bridge")" = 2 ]
  host nft list table inet harmless | must_fail 1 grep wb
  # A firewall that comes later is seen when the next container joins.
  host nft add rule inet harmless forward drop
  must_fail 1 inside b ping -c 1 -W 1 198.51.100.1
  plug c >/dev/null
  inside b ping -c 1 -W 2 198.51.100.1
  handle=$(host nft -a list chain inet harmless forward | sed -n 's/^[[:space:]]*drop # handle //p')
  host nft delete rule inet harmless forward handle "$handle"
  unplug a b c
  host wb-netns network rm bridge
  host nft list ruleset >after
  diff before after
}

@test "a firewall of the old iptables that drops what is forwarded: the way out is open, and its rules come back as they were" {
  require_program iptables-legacy ip6tables-legacy
  require_hardware 'host iptables-legacy -S' 'no ip_tables'
  require_hardware 'host ip6tables-legacy -S' 'no ip6_tables'
  # Docker's way, and a distribution's.
  host iptables-legacy -P FORWARD DROP
  host iptables-legacy -A FORWARD -i docker0 -j ACCEPT
  host ip6tables-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
  host ip6tables-legacy -A FORWARD -j REJECT
  host iptables-legacy -S >before
  host ip6tables-legacy -S >before6
  network bridge --subnet 10.224.0.0/24 --subnet fd00:224::/64
  publish_on a bridge 8080:80 >/dev/null
  plug b >/dev/null
  inside a ping -c 1 -W 2 198.51.100.1
  inside a ping -c 1 -W 2 2001:db8::2
  serve a 80 web
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  # Once, however many join; and no program is run for them.
  [ "$(host iptables-legacy -S FORWARD | grep -c "wb-$WB_MACHINE_HASH: bridge")" = 2 ]
  host wb-ipam -n add --id c >c.json
  echo c >>"$WB_SCRATCH/plugged"
  host strace -f -o calls -e trace=execve,clone,clone3,fork,vfork wb-netns add <c.json >/dev/null
  [ "$(grep -c execve calls)" = 1 ]
  must_fail 1 grep -E 'clone|fork' calls
  # A firewall that comes later is seen when the next container joins; and its other rules stay.
  host iptables-legacy -F FORWARD
  must_fail 1 inside b ping -c 1 -W 1 198.51.100.1
  plug d >/dev/null
  inside b ping -c 1 -W 2 198.51.100.1
  host iptables-legacy -A FORWARD -i docker0 -j ACCEPT
  unplug a b c d
  # It lives in the namespace of a, and with it the cable.
  kill $NET_SERVERS
  host wb-netns network rm bridge
  host iptables-legacy -S | diff before -
  host ip6tables-legacy -S | diff before6 -
}

@test "a rule set that another program emptied comes back for all when the next container joins" {
  network one
  network two
  publish_on web one 8080:80 5353:53/udp >web.json
  publish_on far two 9090:80 >far.json
  # As the wrappers do: on record.
  for id in web far; do
    mkdir -p "$WB_ROOT/containers/$id"
    mv $id.json "$WB_ROOT/containers/$id/config.json"
  done
  serve web 80 web
  serve far 80 far
  host nft flush ruleset
  [ -z "$(outside nc -w 1 203.0.113.1 8080 </dev/null)" ]
  plug late --network one >/dev/null
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  [ "$(outside nc -w 2 203.0.113.1 9090 </dev/null)" = "far 203.0.113.2" ]
  inside far ping -c 1 -W 2 198.51.100.1
  must_fail 1 inside far ping -c 1 -W 1 "$(address_of late)"
  unplug web far late
  rm -r "$WB_ROOT/containers"
  host nft list ruleset | must_fail 1 grep -E 'elements = .*(8080|9090|5353)'
}

@test "a network without masquerade: containers go out with their own addresses" {
  network plain --subnet 10.225.0.0/24 -o com.docker.network.bridge.enable_ip_masquerade=false
  publish_on a plain 8080:80 >/dev/null
  serve "$NET_OUT" 70 out
  ip -n "$NET_OUT" route add 10.225.0.0/24 via 203.0.113.1
  [ "$(inside a nc -w 2 198.51.100.1 70 </dev/null)" = "out $(address_of a)" ]
  # The way back is for answers alone.
  must_fail 1 outside ping -c 1 -W 1 "$(address_of a)"
  serve a 80 web
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  # What goes round through the host still needs the host's address.
  [[ $(inside a nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  unplug a
}

@test "networks are isolated from each other, and from strangers" {
  network one
  network two
  plug a --network one >/dev/null
  plug b --network two >/dev/null
  must_fail 1 inside a ping -c 1 -W 1 "$(address_of b)"
  must_fail 1 inside b ping -c 1 -W 1 "$(address_of a)"
  inside a ping -c 1 -W 2 198.51.100.1
  # Another host on the wire that knows the way gets no further than the host.
  ip -n "$NET_OUT" route add 10.0.0.0/8 via 203.0.113.1
  must_fail 1 outside ping -c 1 -W 1 "$(address_of a)"
  unplug a b
}

@test "an internal network has no way out and none in" {
  host wb-ipam -n create --internal shut | host wb-netns network create --quiet
  network open
  plug a --network shut >/dev/null
  plug b --network shut >/dev/null
  plug c --network open >/dev/null
  inside a ping -c 1 -W 2 "$(address_of b)"
  must_fail 2 inside a ping -c 1 -W 1 198.51.100.1
  ip -n a route add default via "$(ip -n a route | sed -n 's,^\(10\.[0-9.]*\)0/24.*,\11,p')"
  must_fail 1 inside a ping -c 1 -W 1 198.51.100.1
  must_fail 1 inside c ping -c 1 -W 1 "$(address_of a)"
  must_fail 1 publish_on d shut 8080:80
  unplug a b c d
}

@test "a published port: from outside, the host, 127.0.0.1, a neighbour, another network, itself" {
  network bridge
  network other
  publish_on web bridge 8080:80 >web.json
  plug near >/dev/null
  plug far --network other >/dev/null
  serve web 80 web
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  [[ $(host nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  [[ $(host nc -w 2 127.0.0.1 8080 </dev/null) = "web "* ]]
  [[ $(host nc -w 2 127.1.2.3 8080 </dev/null) = "web "* ]]
  [[ $(inside near nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  [[ $(inside far nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  [[ $(inside web nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  # What only passes through the host on the same port is not ours to take.
  serve "$NET_OUT" 8080 other
  [ "$(inside near nc -w 2 198.51.100.1 8080 </dev/null)" = "other 203.0.113.1" ]
  unplug web near far
  must_fail 1 outside nc -w 2 203.0.113.1 8080
  host nft list map inet "wb-$WB_MACHINE_HASH" any4 | must_fail 1 grep elements
}

@test "frames that pass the bridge without netfilter do too" {
  host sh -c 'f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 0 >$f'
  network bridge
  publish_on web bridge 8080:80 >/dev/null
  plug near >/dev/null
  serve web 80 web
  [[ $(inside near nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  [[ $(inside web nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  unplug web near
}

@test "a port on one address of the host is on that one only; 127.0.0.1 is nobody else's" {
  network bridge
  publish_on web bridge 127.0.0.1@8080:80 203.0.113.1@9090:80 >/dev/null
  plug near >/dev/null
  serve web 80 web
  [[ $(host nc -w 2 127.0.0.1 8080 </dev/null) = "web "* ]]
  must_fail 1 host nc -w 2 203.0.113.1 8080
  must_fail 1 outside nc -w 2 203.0.113.1 8080
  [ "$(outside nc -w 2 203.0.113.1 9090 </dev/null)" = "web 203.0.113.2" ]
  must_fail 1 host nc -w 2 127.0.0.1 9090
  # A neighbour, and another host on the wire, that send to the host's loopback address.
  serve "$NET_HOST" 7070 host
  for ns in near "$NET_OUT"; do
    gateway=203.0.113.1
    [ $ns = "$NET_OUT" ] || gateway=$(ip -n near route | sed -n 's/^default via \([^ ]*\).*/\1/p')
    dev=eth0
    nsenter --net=/run/netns/$ns sh -c "echo 1 >/proc/sys/net/ipv4/conf/$dev/route_localnet"
    ip -n "$ns" addr del 127.0.0.1/8 dev lo
    ip -n "$ns" route add 127.0.0.1/32 via $gateway dev $dev src "$(address_of "$ns" | head -n 1)"
    for port in 7070 8080; do must_fail 1 nsenter --net=/run/netns/$ns timeout 2 nc -w 1 127.0.0.1 $port; done
  done
  unplug web near
}

@test "IPv6: out, in, and between" {
  network six --subnet fd00:77::/64
  publish_on web six 8080:80 >/dev/null
  plug near --network six >/dev/null
  serve web 80 web tcp6
  inside near ping -c 1 -W 2 "$(address_of web 6)"
  inside near ping -c 1 -W 2 2001:db8::2
  [ "$(outside nc -w 2 2001:db8::1 8080 </dev/null)" = "web 2001:db8::2" ]
  [[ $(host nc -w 2 2001:db8::1 8080 </dev/null) = "web "* ]]
  [[ $(inside near nc -w 2 2001:db8::1 8080 </dev/null) = "web "* ]]
  [ -z "$(ip -n web -4 addr show dev eth0)" ]
  unplug web near
}

# without_ipv6 CMD…: CMD on that host, as if the kernel had been booted with ipv6.disable=1: there is nothing to
# configure it. Only /proc is private, so that network namespaces made there are bound for everybody.
without_ipv6 () {
  # shellcheck disable=SC2016 # for the shell inside
  host unshare --mount --propagation unchanged sh -euc 'mount --make-rprivate /proc
    exec 5</proc/sys/net/ipv4
    mount -t tmpfs none /proc/sys/net
    mkdir /proc/sys/net/ipv4
    mount --no-canonicalize --bind /proc/self/fd/5 /proc/sys/net/ipv4
    exec 5<&-
    exec "$@"' - "$@"
}

@test "a host booted without IPv6: nothing of it is asked for, and a network that needs it says so" {
  network bridge
  network six --subnet fd00:79::/64
  for id in a b; do
    echo $id >>"$WB_SCRATCH/plugged"
    host wb-ipam -n add --id $id | jq -c '.wb.network.ports = [{"hostPort":0,"containerPort":80}]' >$id.json
    WB_TRACE=$WB_SCRATCH/trace without_ipv6 wb-netns add <$id.json >$id.made
    [ -s trace ]
    must_fail 1 grep -E 'addrgenmode|/ipv6/' trace
  done
  inside a ping -c 1 -W 2 198.51.100.1
  inside a ping -c 1 -W 2 "$(address_of b)"
  serve a 80 web
  [ "$(outside nc -w 2 203.0.113.1 "$(jq '.wb.network.ports[0].hostPort' a.made)" </dev/null)" = "web 203.0.113.2" ]
  host wb-ipam -n add --id c --network six >c.json
  must_fail 1 without_ipv6 wb-netns add <c.json
  [ "${stderr%%: IPv6*}" = "wb-netns: add: bridge $(jq -r '.plugins[0].bridge' "$WB_ROOT/networks/six.conflist")" ]
  [[ $stderr = *'Address family not supported by protocol (EAFNOSUPPORT)
hint: the host was booted without IPv6' ]]
  [ ! -e /run/netns/c ]
  unplug a b c
}

@test "UDP, ranges, and ports the kernel chooses" {
  network bridge
  publish_on web bridge 5353:53/udp 7000:7000 7001:7001 7002:7002 0:80 >web.json
  serve web 53 name udp
  serve web 7001 range
  serve web 80 any
  [ "$(outside sh -c 'echo x | timeout 3 nc -u -w 1 203.0.113.1 5353')" = "name 203.0.113.2" ]
  [ "$(outside nc -w 2 203.0.113.1 7001 </dev/null)" = "range 203.0.113.2" ]
  port=$(jq '.wb.network.ports[] | select(.containerPort == 80).hostPort' web.json)
  [ "$port" -gt 1023 ]
  [ "$(outside nc -w 2 203.0.113.1 "$port" </dev/null)" = "any 203.0.113.2" ]
  unplug web
  echo '{"wb":{"id":"all","network":{"publishAll":true,"exposed":["80/tcp","90-91/udp"]}}}' |
    host wb-ipam add | host wb-netns add >all.json
  [ "$(jq -c '[.wb.network.ports[] | [.containerPort, .protocol, .hostPort > 0]]' all.json)" = \
    '[[80,"tcp",true],[90,"udp",true],[91,"udp",true]]' ]
  unplug all
}

@test "a published port is held: honest errors at once, and free again at once" {
  network bridge
  publish_on web bridge 8080:80 >/dev/null
  must_fail 125 publish_on late bridge 8080:80
  [ "$stderr" = "wb-netns: add: published port 8080/tcp on 0.0.0.0: Address already in use (EADDRINUSE)" ]
  [ ! -e /run/netns/late ]
  must_fail 125 publish_on late bridge 127.0.0.1@8080:80
  must_fail 1 host python3 -c 'import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 8080)); s.listen()'
  [[ $stderr = *"Address already in use"* ]]
  # Small, and none but the sockets open.
  pid=$(jq .pid "$WB_RUN/ports/web")
  [ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" = 1 ]
  [ "$(awk '$1 == "Anonymous:" { print $2 }' "/proc/$pid/smaps_rollup")" -le 32 ]
  unplug late web
  publish_on web bridge 8080:80 >/dev/null
  unplug web
  # Somebody else has it.
  serve "$NET_HOST" 8080 host
  must_fail 125 publish_on web bridge 8080:80
  [ ! -e /run/netns/web ]
  unplug web
}

@test "rules left by one that was killed do not hinder the next on the same port" {
  network bridge
  publish_on dead bridge 8080:80 >/dev/null
  kill -9 "$(jq .pid "$WB_RUN/ports/dead")"
  publish_on web bridge 8080:80 >/dev/null
  serve web 80 web
  [[ $(outside nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  unplug dead
  [[ $(outside nc -w 2 203.0.113.1 8080 </dev/null) = "web "* ]]
  unplug web
}

@test "a container sees the uplink's MTU" {
  ip -n "$NET_HOST" link set up0 mtu 1400
  network bridge
  network fixed -o mtu=1300
  plug a >/dev/null
  plug b --network fixed >/dev/null
  [ "$(ip -n a -j link show eth0 | jq '.[0].mtu')" = 1400 ]
  [ "$(ip -n b -j link show eth0 | jq '.[0].mtu')" = 1300 ]
  # What fits is not cut into pieces on the way, and nothing larger is sent.
  inside a ping -c 1 -W 2 -M 'do' -s 1372 198.51.100.1
  must_fail 1 inside a ping -c 1 -W 1 -M 'do' -s 1373 198.51.100.1
  unplug a b
}

@test "hosts, resolv.conf and hostname: generated, never the host's" {
  network bridge
  mkdir -p "$WB_ROOT/containers/box"
  echo '{"hostname":"kiste","mounts":[],"wb":{"id":"box","network":{"hosts":["db:192.0.2.7","h:host-gateway"],
    "dns":{"nameservers":["192.0.2.53"],"search":["example.org"],"options":["ndots:2"]}}}}' |
    host wb-ipam add | host wb-netns add >box.json
  cd "$WB_ROOT/containers/box"
  ip=$(address_of box)
  gateway=$(ip -n box route | sed -n 's/^default via \([^ ]*\).*/\1/p')
  [ "$(cat hostname)" = kiste ]
  [ "$(cat resolv.conf)" = "search example.org
nameserver 192.0.2.53
options ndots:2" ]
  grep -qx "$ip	kiste" hosts
  grep -qx "192.0.2.7	db" hosts
  grep -qx "$gateway	h" hosts
  grep -qx "$gateway	host.containers.internal host.docker.internal" hosts
  [ "$(stat -c %a hosts)" = 644 ]
  jq -e --arg d "$PWD" '[.mounts[] | [.destination, .source]] == [["/etc/hosts", $d + "/hosts"],
    ["/etc/resolv.conf", $d + "/resolv.conf"], ["/etc/hostname", $d + "/hostname"]]' "$OLDPWD/box.json"
  # A second time nothing is added twice; what the user mounts there stays the user's.
  host wb-netns -n del --id box >/dev/null
  jq -c '.mounts[0].source = "/mine"' "$OLDPWD/box.json" | host wb-netns add | jq -e '[.mounts[].source][0] == "/mine" and (.mounts | length) == 3'
  cd "$WB_SCRATCH"
  unplug box
  rm -r "$WB_ROOT/containers/box"
}

@test "none, host, and another container's network" {
  network bridge
  for name in none host; do
    echo "{\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"}]},\"wb\":{\"id\":\"a\",\"network\":{\"name\":\"$name\"}}}" |
      host wb-netns add >$name.json
  done
  jq -e '.linux.namespaces == [{"type":"pid"},{"type":"network"}]' none.json
  jq -e '.linux.namespaces == [{"type":"pid"}]' host.json
  [ ! -e /run/netns/a ]
  wb-spec -n run --name first busybox | wb-state create | host wb-ipam add | host wb-netns add | wb-state put --quiet >id
  echo '{"wb":{"id":"b","network":{"name":"container:first"}}}' | host wb-netns add >joined.json
  [ "$(jq -r '.linux.namespaces[0].path' joined.json)" = "/run/netns/$(cat id)" ]
  [ "$(jq -r '.mounts[0].source' joined.json)" = "$WB_ROOT/containers/$(cat id)/hosts" ]
  host wb-netns del <joined.json >/dev/null
  [ -e "/run/netns/$(cat id)" ]
  wb-state get first | host wb-netns del | host wb-ipam del | wb-state rm >/dev/null
  must_fail 1 host wb-netns add <<<'{"wb":{"id":"b","network":{"name":"container:nosuch"}}}'
}

@test "several networks: an interface each, one way out" {
  network one
  network two
  echo '{"wb":{"id":"a","network":{"name":"one"},"networks":[{"name":"two","mac":"02:00:00:00:00:07"}]}}' |
    host wb-ipam add | host wb-netns add >a.json
  plug b --network two >/dev/null
  [ "$(ip -n a -j addr | jq -c '[.[].ifname]')" = '["lo","eth0","eth1"]' ]
  [ "$(ip -n a -j link show eth1 | jq -r '.[0].address')" = 02:00:00:00:00:07 ]
  [ "$(ip -n a route show default | wc -l)" = 1 ]
  inside a ping -c 1 -W 2 "$(address_of b)"
  inside a ping -c 1 -W 2 198.51.100.1
  host wb-netns check <a.json >/dev/null
  host wb-netns del <a.json | host wb-ipam del >/dev/null
  [ "$(wb-ipam list | jq -r .id)" = b ]
  unplug b
}

@test "alone, it is a lesson" {
  host wb-netns -n add --id lab --bridge br0 --address 10.9.0.2/24 --gateway 10.9.0.1 >lab.json
  ip netns exec lab ping -c 1 -W 2 10.9.0.1
  [ "$(ip -n lab route)" = "default via 10.9.0.1 dev eth0 
10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.2 " ]
  host wb-netns list | jq -se 'any(.[]; .id == "lab" and .path == "/run/netns/lab")'
  must_fail 1 host wb-netns -n add --id lab --bridge br0 --address 10.9.0.3/24
  [ "${lines[0]:-}${stderr%%$'\n'*}" = "${output}wb-netns: add: network namespace lab: File exists (EEXIST)" ]
  host wb-netns -n del --id lab >/dev/null
  host nft list tables | must_fail 1 grep .
  host ip link del br0
}

@test "where a container is about to start, a failure has docker's status" {
  for doc in '{"process":{},"wb":{"id":"a","network":{"name":"nosuch"}}}' '{"wb":{"id":"a","network":{"name":"nosuch"}}}'; do
    want=1
    case $doc in *process*) want=125 ;; esac
    must_fail $want host wb-ipam add <<<"$doc"
    [ "${stderr%%$'\n'*}" = "wb-ipam: add: no such network: nosuch" ]
    must_fail $want host wb-netns add < <(jq -c '.wb.network.result.ips = [{"address":"198.18.7.2/24"}]' <<<"$doc")
    [ "${stderr%%$'\n'*}" = "wb-netns: add: no such network: nosuch" ]
  done
}

@test "networks: made, listed, shown, refused while in use, removed" {
  network mine --subnet 10.66.0.0/24 --label a=b -o bridge=br-mine
  [ "$(host wb-netns network list -q)" = mine ]
  host wb-netns network list | jq -e '.name == "mine" and .plugins[0].bridge == "br-mine" and ."wb.labels".a == "b"'
  host wb-netns network inspect mine | jq -e '.[0].cniVersion == "1.0.0"'
  host wb-netns network list --table | grep -qE '^mine +bridge +br-mine +10\.66\.0\.0/24$'
  must_fail 1 network mine --subnet 10.67.0.0/24
  must_fail 1 network twice --subnet 10.66.0.0/25
  plug a --network mine >/dev/null
  must_fail 1 host wb-netns network rm mine
  [ "$stderr" = "wb-netns: network rm: network mine: in use by a container" ]
  host wb-netns network prune
  unplug a
  [ "$(host wb-netns network rm mine)" = mine ]
  must_fail 1 host ip link show br-mine
  host nft list tables | must_fail 1 grep .
  must_fail 1 host wb-netns network rm mine
  must_fail 1 host wb-netns network inspect mine
  must_fail 2 network mine -o nosuch=1
  must_fail 2 network mine -o bridge=a-name-of-sixteen
  for option in mtu=x mtu=67 mtu=65536 ip_masq=perhaps parent=up0; do
    must_fail 2 network mine -o $option
  done
  [ ! -e "$WB_ROOT/networks/mine.conflist" ]
}

@test "40 at once: one bridge, no address twice, nothing left" {
  network bridge
  export NET_HOST
  seq 40 | xargs -P 20 -I{} sh -c 'nsenter --net=/run/netns/$NET_HOST sh -c "wb-ipam -n add --id c{} | wb-netns add" >doc.{}'
  [ "$(cat doc.* | jq -r '.wb.network.result.ips[0].address' | sort -u | wc -l)" = 40 ]
  inside c7 ping -c 1 -W 2 "$(address_of c31)"
  inside c40 ping -c 1 -W 2 198.51.100.1
  seq 40 | xargs -P 20 -I{} sh -c 'nsenter --net=/run/netns/$NET_HOST sh -c "wb-netns del | wb-ipam del" <doc.{} >/dev/null'
  eventually 5 no_cables
  [ -z "$(wb-ipam list)" ]
}

port_is_free () { [ -z "$(host ss -Hltn "sport = :$1")" ]; }
no_cables () { [ -z "$(host ip -br link | grep -E '^wb[0-9a-f]{12}@')" ]; }

@test "killed at any call of add or del: del clears up, and it works again" {
  network bridge
  export -f publish_on host
  for verb in add del; do
    n=1
    while :; do
      [ "$verb" = add ] || publish_on a bridge 8080:80 >/dev/null
      host wb-ipam -n add --id a | jq -c '.wb.network.ports = [{"hostPort":8080,"containerPort":80}]' >in.json
      status=0
      WB_KILL_AT=$n host wb-netns $verb <in.json >/dev/null 2>&1 || status=$?
      unplug a
      [ ! -e /run/netns/a ] && [ ! -e "$WB_RUN/ports/a" ]
      eventually 2 no_cables
      eventually 2 port_is_free 8080
      host nft list ruleset | must_fail 1 grep 8080
      [ -z "$(wb-ipam list)" ]
      # 1, and not 137, where the process that is to hold the port was killed and its parent was not.
      [ "$status" != 0 ] || break
      n=$((n + 1))
    done
    echo "$verb: $((n - 1)) calls"
    [ "$n" -gt 8 ]
  done
  plug a >/dev/null
  inside a ping -c 1 -W 2 198.51.100.1
  unplug a
}

@test "on a network that somebody made, containers have names, also those that join later" {
  require_program busybox
  [ -x /usr/lib/podman/aardvark-dns ] || skip "aardvark-dns is missing"
  network named
  named () { # ID NAME ALIASES
    mkdir -p "$WB_ROOT/containers/$1"
    echo "$1" >>"$WB_SCRATCH/plugged"
    jq -nc --arg id "$1" --arg name "$2" --argjson aliases "$3" \
      '{wb: {id: $id, name: $name, network: {name: "named", aliases: $aliases}}}' |
      host wb-ipam add | host wb-netns add >"$1.json"
  }
  ask () { inside "$1" timeout 4 busybox nslookup -type=a "$2" "$(sed -n 's/^nameserver //p' "$WB_ROOT/containers/$1/resolv.conf")"; }
  named aaaa web '["www"]'
  named bbbb db '[]'
  for name in web www web.wb.internal aaaa; do
    ask bbbb $name | grep -qx "Address: $(address_of aaaa)"
  done
  eventually 2 ask aaaa db
  ask aaaa db | grep -qx "Address: $(address_of bbbb)"
  grep -qx 'search wb.internal.*' "$WB_ROOT/containers/aaaa/resolv.conf"
  must_fail 1 ask aaaa nosuch
  unplug bbbb
  eventually 2 forgotten aaaa db
  # A resolver that somebody killed is started again by the next who joins.
  kill -9 "$(cat "$WB_RUN/dns/aardvark.pid")"
  named cccc late '[]'
  ask aaaa late | grep -qx "Address: $(address_of cccc)"
  ask cccc www | grep -qx "Address: $(address_of aaaa)"
  unplug cccc
  pid=$(cat "$WB_RUN/dns/aardvark.pid")
  unplug aaaa
  eventually 2 ended "$pid"
  rm -r "$WB_ROOT/containers"
}

forgotten () { must_fail 1 ask "$@"; }
# Gone, or dead and not yet collected by whoever is its parent now.
ended () { case $(ps -o stat= -p "$1") in '' | Z*) ;; *) return 1 ;; esac; }
