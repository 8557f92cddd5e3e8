#!/usr/bin/env bats
# wb-ipam: addresses that never collide, whoever runs at once and whoever is killed.

load lib/common

setup () { wb_setup; }
teardown () {
  ip netns del "wbt-$WB_MACHINE_HASH" 2>/dev/null || true
  wb_teardown
}

# network NAME FLAGS…: a network with these addresses.
network () {
  local name=$1
  shift
  wb-ipam -n create --network "$name" "$@" | wb-netns network create --quiet >/dev/null
}

add () { wb-ipam -n add --network "$@"; }
address () { jq -r '.wb.network.result.ips[].address'; }
documents () { sed "s/.*/{\"wb\":{\"id\":\"c&\",\"network\":{\"name\":\"$1\"}}}/"; }

# The leases in the store, read by nobody but ourselves: every slot that has an owner.
slots () {
  python3 - "$WB_ROOT"/ipam/"$1"/* <<'PY'
import sys
for path in sys.argv[1:]:
    data = open(path, 'rb').read()
    size = int.from_bytes(data[56:60], 'little')
    for at in range(len(data) - 256 * size, len(data), 256):
        if data[at]:
            print(data[at + 1:at + 1 + data[at]].decode())
PY
}

@test "a /29 gives its five addresses and then says so" {
  network small --subnet 198.18.7.64/29
  for n in 1 2 3 4 5; do add small --id "c$n" | address; done >given
  [ "$(cat given)" = "198.18.7.66/29
198.18.7.67/29
198.18.7.68/29
198.18.7.69/29
198.18.7.70/29" ]
  must_fail 1 add small --id c6
  [ "$stderr" = "wb-ipam: add: network small: no free address in 198.18.7.64/29" ]
  [ "$(jq -r .wb.error.code <<<"$output")" = 1 ]
  wb-ipam -n del --network small --id c3 >/dev/null
  [ "$(add small --id c6 | address)" = 198.18.7.68/29 ]
}

@test "the same container gets the same address; the next one comes after the last" {
  network n --subnet 198.18.7.0/25
  [ "$(add n --id a | address)" = 198.18.7.2/25 ]
  [ "$(add n --id a | address)" = 198.18.7.2/25 ]
  wb-ipam -n del --id a >/dev/null
  [ "$(add n --id a | address)" = 198.18.7.3/25 ]
  wb-ipam -n del --network n --id a >/dev/null
  wb-ipam -n del --network n --id a >/dev/null
  [ -z "$(wb-ipam list)" ]
}

@test "an upper half gives the upper half" {
  network half --subnet 198.18.7.128/25
  seq 125 | documents half | wb-ipam add | address | sort -u >given
  [ "$(wc -l <given)" = 125 ]
  must_fail 1 grep -vE '^198\.18\.7\.(1[3-9][0-9]|2[0-4][0-9]|25[0-4])/25$' given
}

@test "both families; the result is CNI's" {
  network dual --subnet 198.18.7.0/24 --subnet fd00:1::/64 --gateway 198.18.7.254
  add dual --id a >doc
  jq -e '.wb.network.result == {"cniVersion":"1.0.0","ips":[
      {"address":"198.18.7.1/24","gateway":"198.18.7.254"},{"address":"fd00:1::2/64","gateway":"fd00:1::1"}],
    "routes":[{"dst":"0.0.0.0/0","gw":"198.18.7.254"},{"dst":"::/0","gw":"fd00:1::1"}]}' doc
}

@test "an address asked for is given, or refused with the reason" {
  network n --subnet 198.18.7.0/24 --ip-range 198.18.7.128/26 --exclude 198.18.7.130
  [ "$(add n --id a | address)" = 198.18.7.128/24 ]
  [ "$(add n --id b --ip 198.18.7.7 | address)" = 198.18.7.7/24 ]
  for case in '198.18.7.7:in use by b' '198.18.7.0:the network'"'"'s or broadcast address of 198.18.7.0/24' \
    "198.18.7.1:the gateway's" '198.18.7.130:excluded by 198.18.7.130/32' '198.51.100.1:outside of 198.18.7.0/24'; do
    must_fail 1 add n --id c --ip "${case%%:*}"
    [ "$stderr" = "wb-ipam: add: network n: address ${case%%:*}: ${case#*:}" ]
  done
  add n --id c >/dev/null
  [ "$(add n --id d | address)" = 198.18.7.131/24 ]
  [ "$(slots n)" = 'b
a
c
d' ]
}

@test "several parts of a subnet, several subnets of a family: one after the other, and the next after the last" {
  network parts --subnet 198.18.7.0/24 --ip-range 198.18.7.32/31 --ip-range 198.18.7.64/31
  for n in 1 2 3 4; do add parts --id "c$n" | address; done >given
  [ "$(cat given)" = "198.18.7.32/24
198.18.7.33/24
198.18.7.64/24
198.18.7.65/24" ]
  must_fail 1 add parts --id c5
  [ "$stderr" = "wb-ipam: add: network parts: no free address in 198.18.7.0/24" ]
  # The one given back first is not the one given next.
  for n in 1 3; do wb-ipam -n del --network parts --id "c$n" >/dev/null; done
  [ "$(add parts --id c6 | address)" = 198.18.7.32/24 ]
  wb-ipam -n del --network parts --id c6 >/dev/null
  [ "$(add parts --id c7 | address)" = 198.18.7.64/24 ]
  network two --subnet 198.18.8.0/30 --subnet 198.18.9.0/30 --subnet fd00:8::/126
  add two --id a | jq -e '[.wb.network.result.ips[] | .address, .gateway] ==
    ["198.18.8.2/30", "198.18.8.1", "fd00:8::2/126", "fd00:8::1"]'
  add two --id b | jq -e '.wb.network.result.ips[0].address == "198.18.9.2/30" and .wb.network.result.ips[0].gateway == "198.18.9.1"'
  # Who has one of the second has no need of the first, however free that is.
  wb-ipam -n del --network two --id a >/dev/null
  [ "$(add two --id b | address | head -n 1)" = 198.18.9.2/30 ]
  [ "$(wb-ipam list --network two | jq -r '.id + " " + .address' | sort)" = "b 198.18.9.2/30
b fd00:8::3/126" ]
  must_fail 1 add two --id b --ip 198.18.8.2
  [ "$stderr" = "wb-ipam: add: network two: address 198.18.8.2: b has 198.18.9.2 already" ]
  must_fail 2 network three --subnet 198.18.10.0/24 --subnet 198.18.10.0/25
  must_fail 2 network three --subnet 198.18.10.0/24 --gateway 198.18.10.1 --gateway 198.18.10.2
}

@test "host, none and another container's network pass through" {
  for name in host none container:x; do
    [ "$(add $name --id a)" = "{\"wb\":{\"id\":\"a\",\"network\":{\"name\":\"$name\"}}}" ]
  done
}

@test "no such network, no such flag, no id" {
  must_fail 1 add nosuch --id a
  [ "${stderr%%$'\n'*}" = "wb-ipam: add: no such network: nosuch" ]
  must_fail 2 wb-ipam -n add --bogus
  must_fail 2 wb-ipam -n add
  must_fail 2 wb-ipam -n add --id ../x
  must_fail 2 wb-ipam -n create --network ../x
  must_fail 2 wb-ipam -n create --network host
}

@test "a subnet overlaps nothing of the host, given or chosen" {
  ip netns add "wbt-$WB_MACHINE_HASH"
  inside () { nsenter --net="/run/netns/wbt-$WB_MACHINE_HASH" "$@"; }
  inside ip link add d0 type bridge
  inside ip link set d0 up
  inside ip addr add 10.77.3.4/24 dev d0
  inside ip route add 10.78.0.0/15 dev d0
  must_fail 1 inside wb-ipam -n create --network x --subnet 10.77.3.0/25
  [ "$stderr" = "wb-ipam: create: subnet 10.77.3.0/25: overlaps the host's address 10.77.3.4" ]
  must_fail 1 inside wb-ipam -n create --network x --subnet 10.79.8.0/24
  [ "$stderr" = "wb-ipam: create: subnet 10.79.8.0/24: overlaps the host's route 10.78.0.0/15" ]
  inside wb-ipam -n create --network bridge | jq -e '.wb.network.ipam.ranges[0][0].subnet == "172.29.0.0/16"'
  inside ip route add 10.80.0.0/24 dev d0
  inside wb-ipam -n create --network x | jq -e '.wb.network.ipam.ranges[0][0].subnet == "10.80.1.0/24"'
  # A tunnel's two ends, a VPN's routes in a table of their own, a route that leads nowhere.
  inside ip addr add 10.80.1.1 peer 10.80.2.1/32 dev d0
  inside ip route add 10.80.3.0/24 dev d0 table 100
  inside ip route add blackhole 10.80.4.0/24
  inside wb-ipam -n create --network x | jq -e '.wb.network.ipam.ranges[0][0].subnet == "10.80.5.0/24"'
  must_fail 1 inside wb-ipam -n create --network x --subnet 10.80.1.0/24
  [ "$stderr" = "wb-ipam: create: subnet 10.80.1.0/24: overlaps the host's address 10.80.1.1" ]
  # The resolvers, those that a loopback resolver asks too.
  echo 'nameserver 10.80.5.53' >resolv.conf
  resolver () { unshare --mount sh -c "mount --bind $PWD/resolv.conf /etc/resolv.conf && exec nsenter --net=/run/netns/wbt-$WB_MACHINE_HASH \"\$@\"" - "$@"; }
  resolver wb-ipam -n create --network x | jq -e '.wb.network.ipam.ranges[0][0].subnet == "10.80.6.0/24"'
  must_fail 1 resolver wb-ipam -n create --network x --subnet 10.80.5.0/30 --subnet 10.80.5.52/30
  [ "$stderr" = "wb-ipam: create: subnet 10.80.5.52/30: overlaps the nameserver 10.80.5.53" ]
  network one --subnet 198.18.7.0/24
  must_fail 1 wb-ipam -n create --network two --subnet 198.18.7.128/25
  [ "$stderr" = "wb-ipam: create: subnet 198.18.7.128/25: overlaps the network one" ]
}

@test "100 at once: no address twice" {
  network crowd --subnet 198.18.7.0/24
  seq 100 | xargs -P 100 -I{} sh -c 'wb-ipam -n add --network crowd --id c{} >doc.{}'
  cat doc.* | address | sort -u >given
  [ "$(wc -l <given)" = 100 ]
  [ "$(wb-ipam list --network crowd | wc -l)" = 100 ]
  seq 100 | xargs -P 100 -I{} sh -c 'wb-ipam del <doc.{} >/dev/null'
  [ -z "$(wb-ipam list)" ]
}

@test "the same container at once gets one address" {
  network same --subnet 198.18.7.0/24
  seq 30 | xargs -P 30 -I{} sh -c 'wb-ipam -n add --network same --id one >doc.{}'
  [ "$(cat doc.* | address | sort -u | wc -l)" = 1 ]
}

@test "killed at any moment: no lease lost, none double" {
  network k --subnet 198.18.7.0/28
  add k --id before >/dev/null
  for verb in add del; do
    n=1
    while :; do
      [ "$verb" = add ] || add k --id victim >/dev/null
      status=0
      WB_KILL_AT=$n wb-ipam -n $verb --network k --id victim >/dev/null 2>&1 || status=$?
      # Whatever state it was left in: the others keep theirs, the victim can be added and removed.
      [ "$(add k --id before | address)" = 198.18.7.2/28 ]
      other=$(add k --id other | address)
      victim=$(add k --id victim | address)
      [ "$other" != "$victim" ] && [ "$victim" != 198.18.7.2/28 ] && [ -n "$victim" ]
      wb-ipam -n del --network k --id other >/dev/null
      wb-ipam -n del --network k --id victim >/dev/null
      [ "$(wb-ipam list | jq -r .id)" = before ]
      [ "$status" = 137 ] || break
      n=$((n + 1))
    done
    [ "$n" -gt 4 ]
  done
  # Nothing has gone missing from the pool.
  seq 12 | documents k | wb-ipam add >/dev/null
  must_fail 1 add k --id late
}

# work CMD…: what a command asks of the kernel: its calls on files, and the bytes it reads.
work () {
  strace -f -o calls -e trace=read,pread64,pwrite64,lseek,flock "$@" >/dev/null
  awk '/pread64|pwrite64|lseek|flock/ { calls++ } /pread64/ { bytes += $NF } END { print calls, bytes }' calls
}

@test "a /16 nearly full answers at once, with no more work than an empty one" {
  network empty --subnet 10.201.0.0/16
  add empty --id first >/dev/null
  read -r calls bytes < <(work wb-ipam -n add --network empty --id second)
  network large --subnet 10.200.0.0/16
  seq 65532 | documents large | wb-ipam add >/dev/null
  wb-ipam -n del --network large --id c40000 >/dev/null
  wb-ipam -n del --network large --id c60000 >/dev/null
  # Two places free, far apart, the search starting behind both.
  [ "$(add large --id x | address)" = 10.200.255.254/16 ]
  [ "$(add large --id y | address)" = "$(python3 -c 'import ipaddress; print(ipaddress.ip_address("10.200.0.1") + 40000)')/16" ]
  read -r full_calls full_bytes < <(work wb-ipam -n add --network large --id z)
  # The summary of the bits, and owners whose places in the index are taken: a few, and not thousands.
  echo "calls $calls, $full_calls when full; bytes $bytes, $full_bytes when full"
  [ "$full_calls" -le $((calls + 40)) ]
  [ "$full_bytes" -le $((bytes + 8192)) ]
  must_fail 1 add large --id late
  [ "$(wb-ipam list --network large | jq -r .address | sort -u | wc -l)" = 65533 ]
}

@test "killed at random moments: what was given is kept, and given once" {
  network k --subnet 10.200.0.0/18
  # kill_after LINES FILE CMD…: CMD writes FILE and is killed when so many lines have come.
  kill_after () {
    local least=$1 told=$2
    shift 2
    "$@" <in >"$told" &
    while [ "$(wc -l <"$told")" -lt "$least" ] && kill -0 $! 2>/dev/null; do :; done
    kill -9 $! 2>/dev/null || true
    wait $! || true
  }
  for round in $(seq 10); do
    seq $((round * 1000)) $((round * 1000 + 999)) | documents k >in
    kill_after $((1 + RANDOM % 200)) "out.$round" wb-ipam add
    kill_after $((1 + RANDOM % 100)) "gone.$round" wb-ipam del
  done
  wb-ipam list --network k >leases
  [ -z "$(jq -r .address leases | sort | uniq -d)" ]
  [ -z "$(jq -r .id leases | sort | uniq -d)" ]
  # Whole lines: a document that came out of the pipe.
  python3 - <<'PY'
import glob, json
kept = {(l["id"], l["address"]) for l in map(json.loads, open("leases"))}
gone = set()
whole = lambda name: [json.loads(line) for line in open(name) if line.endswith("\n")]
for name in glob.glob("gone.*"):
    # The one behind the last that is told may be gone too.
    first = int(name.split(".")[1]) * 1000
    gone |= {f"c{n}" for n in range(first, first + len(whole(name)) + 1)}
given = [(d["wb"]["id"], d["wb"]["network"]["result"]["ips"][0]["address"]) for name in glob.glob("out.*") for d in whole(name)]
assert all(lease in kept for lease in given if lease[0] not in gone), "a lease was lost"
print(len(given), "given,", len(gone), "given back,", len(kept), "kept")
assert len(kept) > 0 and len(given) < 10000, "nobody was killed"
PY
  # And nothing is missing from the pool.
  jq -r '"{\"wb\":{\"id\":\"" + .id + "\",\"network\":{\"name\":\"k\"}}}"' leases | wb-ipam del >/dev/null
  seq 16381 | documents k | wb-ipam add >/dev/null
  must_fail 1 add k --id late
}

@test "books that were emptied, cut off, or filled with rubbish: who lives keeps its address" {
  network n --subnet 198.18.7.0/24
  # As a container that runs: a record, and a network namespace of its name.
  add n --id "wbt-$WB_MACHINE_HASH" >doc
  ip netns add "wbt-$WB_MACHINE_HASH"
  mkdir -p "$WB_ROOT/containers/wbt-$WB_MACHINE_HASH" "$WB_ROOT/containers/ended"
  cp doc "$WB_ROOT/containers/wbt-$WB_MACHINE_HASH/config.json"
  [ "$(add n --id ended | tee "$WB_ROOT/containers/ended/config.json" | address)" = 198.18.7.3/24 ]
  file=$WB_ROOT/ipam/n/198.18.7.0_24
  for spoil in ': >$file' 'echo x >$file' 'head -c 5000 /dev/zero | tr "\0" y >$file' 'truncate -s 4096 $file' 'rm $file'; do
    eval "$spoil"
    given=$(for n in 1 2 3; do add n --id "new$n" | address; done)
    must_fail 1 grep -qx 198.18.7.2/24 <<<"$given"
    [ "$(wc -l <<<"$given")" = 3 ]
    [ "$(add n --id "wbt-$WB_MACHINE_HASH" | address)" = 198.18.7.2/24 ]
    wb-ipam check <doc >/dev/null
    [ "$(wb-ipam list | jq -r .id | sort | tr '\n' ' ')" = "new1 new2 new3 wbt-$WB_MACHINE_HASH " ]
    for n in 1 2 3; do wb-ipam -n del --network n --id "new$n" >/dev/null; done
  done
  rm -r "$WB_ROOT/containers"
}

@test "gc takes back what nobody has any more" {
  network n --subnet 198.18.7.0/24
  add n --id dead >/dev/null
  add n --id recorded >/dev/null
  mkdir -p "$WB_ROOT/containers/recorded"
  echo '{}' >"$WB_ROOT/containers/recorded/config.json"
  wb-ipam gc
  [ "$(wb-ipam list | jq -r .id)" = recorded ]
  rm -r "$WB_ROOT/containers/recorded"
}

@test "check tells a document that lies" {
  network n --subnet 198.18.7.0/24
  add n --id a >doc
  wb-ipam check <doc >/dev/null
  must_fail 1 wb-ipam check < <(jq -c '.wb.network.result.ips[0].address = "198.18.7.9/24"' doc)
  wb-ipam del <doc >/dev/null
  must_fail 1 wb-ipam check <doc
}
