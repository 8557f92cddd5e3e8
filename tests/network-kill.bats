#!/usr/bin/env bats
# Networks under kill -9: at every call of the tools that make and undo them, and 200 containers that come and go.

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

# killing TOOL N CMD…: CMD, in which TOOL is killed at its N-th call of the kernel, each time it is run.
killing () {
  local tool=$1 number=$2 path tools=$WB_SCRATCH/tools-to-die
  shift 2
  mkdir -p "$tools"
  for path in "$WB_BIN"/wb-*; do if [ -x "$path" ]; then ln -sf "$path" "$tools/"; fi; done
  rm "$tools/$tool"
  printf '#!/bin/sh\nWB_KILL_AT=%s exec %s/%s "$@"\n' "$number" "$WB_BIN" "$tool" >"$tools/$tool"
  chmod +x "$tools/$tool"
  status=0
  WB_BIN=$tools PATH=$tools:$PATH "$@" >/dev/null 2>&1 || status=$?
}

in_box () { nsenter --net="/run/netns/$id" "$@"; }

# What containers have on a network's account: nothing of it must be left.
nothing_left () {
  [ -z "$(wb-ipam list)" ] || return
  [ -z "$(host ip -br link | grep -E '^wb[0-9a-f]{12}@')" ] || return
  [ -z "$(host ss -Hltun 'sport = :8080')" ] || return
  [ -z "$(ls "$WB_RUN/ports" 2>/dev/null)" ] || return
  [ -z "$(find "$WB_RUN/dns" -type f ! -name aardvark.pid 2>/dev/null)" ] || return
  host nft list ruleset | must_fail 1 grep -E 'elements = .*8080' || return
  [ -z "$(wb ps -aq)" ]
}
show_left () {
  echo "left: $* $(wb-ipam list) $(host ip -br link | grep -E '^wb[0-9a-f]{12}@') $(ls "$WB_RUN/ports" "$WB_RUN/dns" 2>/dev/null) $(wb ps -a)"
  host nft list ruleset | grep -E 'elements = .*8080'
  return 1
}

# A tool killed at every call of its own, while a container starts, runs and ends with all that it can have.
walk_of_a_run () {
  local tool=$1 n=1
  host wb network create one >/dev/null
  while :; do
    killing "$tool" $n host wb run --rm --network one -p 8080:80 busybox true
    # Whoever cleared up was killed too.
    host wb gc
    eventually 3 nothing_left || show_left "$tool killed at call $n"
    [ "$status" != 0 ] || break
    n=$((n + 1))
  done
  echo "$tool: $((n - 1)) calls"
  [ "$n" -gt 4 ]
  host wb run --rm --network one -p 8080:80 busybox true
}

@test "wb-ipam killed at every call while a container comes and goes: wb gc leaves nothing" { walk_of_a_run wb-ipam; }
@test "wb-netns killed at every call while a container comes and goes: wb gc leaves nothing" { walk_of_a_run wb-netns; }

@test "killed at every call of network create and rm: it can be done again, and nothing half is left" {
  local n tool
  for tool in wb-ipam wb-netns; do
    n=1
    while :; do
      killing $tool $n host wb network create --subnet 10.226.0.0/24 half
      [ "$status" != 0 ] || break
      # It is there whole, or not at all.
      if [ -e "$WB_ROOT/networks/half.conflist" ]; then
        jq -e '.plugins[0].ipam.ranges[0][0].subnet == "10.226.0.0/24"' "$WB_ROOT/networks/half.conflist"
        host wb network rm half
      fi
      n=$((n + 1))
    done
    host wb network rm half
  done
  [ "$(find "$WB_ROOT/networks" -type f ! -name .lock | wc -l)" = 0 ]
  n=1
  while :; do
    if [ ! -e "$WB_ROOT/networks/half.conflist" ]; then
      host wb network create --subnet 10.226.0.0/24 half
      # With bridge, rules and books.
      host wb run --rm --network half busybox true
    fi
    killing wb-netns $n host wb network rm half
    [ "$status" != 0 ] || break
    if [ -e "$WB_ROOT/networks/half.conflist" ]; then host wb network rm half; fi
    host ip -br link | must_fail 1 grep '^wb-'
    host nft list ruleset | must_fail 1 grep '10.226.0'
    [ ! -e "$WB_ROOT/ipam/half" ]
    n=$((n + 1))
  done
  echo "rm: $((n - 1)) calls"
  [ "$n" -gt 4 ]
}

# A tool killed at every call of its own, while a running container is put on a network or taken off.
walk_of_a_cable () {
  local verb=$1 n tool
  host wb network create one >/dev/null
  host wb network create two >/dev/null
  host wb run -d --name box --network one -p 8080:80 busybox sleep 1000 >/dev/null
  id=$(wb inspect box | jq -r '.[0].wb.id')
  serve "$id" 80 web
  for tool in wb-ipam wb-netns; do
    n=1 status=1
    while [ "$status" != 0 ]; do
      [ $verb = connect ] || host wb network connect two box
      killing $tool $n host wb network $verb two box
      # Whatever state it was left in: off it, on it and off it again.
      host wb network disconnect two box 2>/dev/null || true
      host wb network connect two box
      in_box ping -c 1 -W 2 "$(in_box ip -4 -j addr show dev eth1 | jq -r '.[0].addr_info[0].local')" >/dev/null
      host wb network disconnect two box
      [ "$(in_box ip -br link | awk '{ print $1 }' | cut -d@ -f1 | tr '\n' ' ')" = 'lo eth0 ' ] || show_left "$tool $verb $n"
      [ "$(wb-ipam list | jq -r .network)" = one ] || show_left "$tool $verb $n"
      [ ! -e "$WB_RUN/dns/two" ] || show_left "$tool $verb $n"
      n=$((n + 1))
    done
    echo "$tool $verb: $((n - 1)) calls"
    [ "$n" -gt 3 ]
  done
  # And where nobody does it again: the container's end and wb gc.
  for n in 1 2 3 4 5 6; do killing wb-ipam $n host wb network connect two box; done
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  # It lives in the container's namespace, and with it the cables.
  kill $NET_SERVERS
  host wb rm -f box
  host wb gc
  eventually 3 nothing_left || show_left end
}

@test "killed at every call of connect: the container runs on, and can be taken off" { walk_of_a_cable connect; }
@test "killed at every call of disconnect: the container runs on, and can be taken off" { walk_of_a_cable disconnect; }

@test "200 containers, 20 at a time: no address given twice, nothing left" {
  # Emulated processors need a smaller crowd.
  local crowd=200
  if [ -n "${WB_VM:-}" ]; then crowd=40; fi
  host wb network create --subnet 10.227.0.0/24 crowd >/dev/null
  export NET_HOST
  # Each tells the address it has.
  seq $crowd | xargs -P 20 -I{} nsenter --net="/run/netns/$NET_HOST" \
    wb run --rm --network crowd busybox ip -4 -o addr show dev eth0 >told 2>errors ||
    { cat errors; false; }
  [ "$(grep -c 10.227.0 told)" = $crowd ] || { sort told | uniq -c | sort -rn | head -3; grep -vn " inet 10.227.0" told; wc told; cat errors; false; }
  eventually 5 nothing_left || show_left crowd
  [ -z "$(ls "$WB_ROOT/containers")" ]
  [ -z "$(host ip -br link show master "$(host ip -br link | sed -n 's/^\(wb-[0-9a-f]*\).*/\1/p')")" ]
  # The next address comes after the last one given, so that none of a subnet this large was given twice.
  [ "$(sed -n 's/.*inet \(10[0-9.]*\).*/\1/p' told | sort | uniq -d | wc -l)" = 0 ]
  [ -z "$(cat errors)" ]
}
