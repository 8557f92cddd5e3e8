#!/usr/bin/env bats
# wb-netns and wb-ipam as CNI plugins: alone, mixed with the reference plugins, and called by podman.

load lib/common
load lib/net

setup () {
  wb_setup
  net_setup
  PLUGINS=/usr/lib/cni
  export CNI_PATH=$WB_BIN:$PLUGINS CNI_CONTAINERID=cid1 CNI_IFNAME=eth0
  NS=wbt-c1-$WB_MACHINE_HASH
  NS2=wbt-c2-$WB_MACHINE_HASH
  ip netns add "$NS"
  ip netns add "$NS2"
  export CNI_NETNS=/run/netns/$NS
}
teardown () {
  unset CNI_COMMAND
  ip netns del "$NS" 2>/dev/null || true
  ip netns del "$NS2" 2>/dev/null || true
  net_teardown
  rm -rf "/var/lib/cni/networks/wbt-$WB_MACHINE_HASH"
  wb_teardown
}

# cni PLUGIN COMMAND CONFIG
cni () { CNI_COMMAND=$2 host "$1" <<<"$3"; }

config () {
  jq -nc --arg ipam "${1:-wb-ipam}" '{cniVersion: "1.0.0", name: "t", type: "wb-netns", bridge: "wbt0", isGateway: true,
    isDefaultGateway: true, ipMasq: true, ipam: {type: $ipam, ranges: [[{subnet: "10.66.0.0/24"}], [{subnet: "fd00:66::/64"}]]}}'
}

@test "VERSION" {
  for tool in wb-netns wb-ipam; do
    cni $tool VERSION '{"cniVersion":"0.4.0"}' | jq -e '.cniVersion == "0.4.0" and (.supportedVersions | index("1.0.0") and index("1.1.0"))'
  done
}

@test "ADD, CHECK, DEL, and DEL again" {
  cni wb-netns ADD "$(config)" >result
  jq -e '.cniVersion == "1.0.0" and [.ips[].address] == ["10.66.0.2/24", "fd00:66::2/64"] and .ips[0].interface == 2
    and .interfaces[0].name == "wbt0" and .interfaces[2].name == "eth0"' result
  jq -e --arg ns "$CNI_NETNS" '.interfaces[2].sandbox == $ns' result
  inside "$NS" ping -c 1 -W 2 10.66.0.1
  inside "$NS" ping -c 1 -W 2 198.51.100.1
  inside "$NS" ping -c 1 -W 2 2001:db8::2
  checked=$(config | jq -c --slurpfile r result '.prevResult = $r[0]')
  cni wb-netns CHECK "$checked"
  ip -n "$NS" addr del 10.66.0.2/24 dev eth0
  must_fail 1 cni wb-netns CHECK "$checked"
  [ "$(jq -r .msg <<<"$output")" = "interface eth0: no address 10.66.0.2/24" ]
  cni wb-netns DEL "$checked"
  must_fail 1 ip -n "$NS" link show eth0
  cni wb-netns DEL "$checked"
  ip netns del "$NS"
  cni wb-netns DEL "$checked"
  CNI_NETNS='' cni wb-netns DEL "$checked"
  cni wb-ipam ADD "$(config)" | jq -e '.ips[0].address == "10.66.0.3/24"'
  cni wb-ipam DEL "$(config)"
}

@test "old results say which family an address is of" {
  cni wb-netns ADD "$(config | jq -c '.cniVersion = "0.4.0"')" |
    jq -e '.cniVersion == "0.4.0" and [.ips[].version] == ["4", "6"]'
  cni wb-netns DEL "$(config)"
}

@test "the specification's errors" {
  must_fail 1 cni wb-netns ADD "$(config | jq -c '.cniVersion = "9.9.9"')"
  [ "$(jq .code <<<"$output")" = 1 ]
  must_fail 1 cni wb-netns ADD '{nonsense'
  [ "$(jq .code <<<"$output")" = 6 ]
  must_fail 1 cni wb-netns ADD "$(config | jq -c '.name = "../x"')"
  [ "$(jq .code <<<"$output")" = 7 ]
  must_fail 1 env -u CNI_NETNS CNI_COMMAND=ADD wb-netns <<<"$(config)"
  [ "$(jq .code <<<"$output")" = 4 ]
  must_fail 1 env CNI_IFNAME=a/b CNI_COMMAND=ADD wb-netns <<<"$(config)"
  [ "$(jq .code <<<"$output")" = 4 ]
  must_fail 1 env CNI_CONTAINERID=../x CNI_COMMAND=DEL wb-ipam <<<"$(config)"
  [ "$(jq .code <<<"$output")" = 4 ]
  must_fail 1 cni wb-netns FROBNICATE "$(config)"
  [ "$(jq .code <<<"$output")" = 4 ]
  must_fail 1 cni wb-netns ADD "$(config nosuch)"
  [ "$(jq .code <<<"$output")" = 7 ]
  must_fail 1 cni wb-ipam ADD '{"cniVersion":"1.0.0","name":"t","ipam":{"type":"wb-ipam"}}'
  [ "$(jq .code <<<"$output")" = 7 ]
  # A failed ADD gives the address back.
  must_fail 1 env CNI_NETNS=/nonexistent CNI_COMMAND=ADD nsenter --net="/run/netns/$NET_HOST" wb-netns <<<"$(config)"
  must_fail 1 cni wb-ipam CHECK "$(config)"
}

@test "IPAM: an address asked for, two interfaces, an exhausted range" {
  small='{"cniVersion":"1.0.0","name":"s","ipam":{"type":"wb-ipam","ranges":[[{"subnet":"10.67.0.0/29"}]]}}'
  CNI_ARGS='IgnoreUnknown=1;IP=10.67.0.5' cni wb-ipam ADD "$small" | jq -e '.ips[0].address == "10.67.0.5/29"'
  CNI_IFNAME=eth1 cni wb-ipam ADD "$small" | jq -e '.ips[0].address == "10.67.0.2/29"'
  CNI_IFNAME=eth1 cni wb-ipam ADD "$small" | jq -e '.ips[0].address == "10.67.0.2/29"'
  for n in 2 3 4; do CNI_IFNAME=eth$n cni wb-ipam ADD "$small" >/dev/null; done
  must_fail 1 env CNI_IFNAME=eth9 CNI_COMMAND=ADD wb-ipam <<<"$small"
  [ "$(jq -r .msg <<<"$output")" = "no free address in 10.67.0.0/29" ]
  must_fail 1 cni wb-ipam STATUS "$small"
  [ "$(jq .code <<<"$output")" = 50 ]
  # GC keeps what the runtime still knows.
  cni wb-ipam GC "$(jq -c '."cni.dev/valid-attachments" = [{"containerID":"cid1","ifname":"eth1"}]' <<<"$small")"
  cni wb-ipam STATUS "$small"
  CNI_IFNAME=eth1 cni wb-ipam CHECK "$small"
  must_fail 1 cni wb-ipam CHECK "$small"
}

@test "port mappings" {
  published=$(config | jq -c '.runtimeConfig.portMappings = [{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""}]')
  cni wb-netns ADD "$published" >result || { cat result >&2; false; }
  serve "$NS" 80 web
  [ "$(outside nc -w 2 203.0.113.1 8080 </dev/null)" = "web 203.0.113.2" ]
  cni wb-netns DEL "$published"
  [ -z "$(ls "$WB_RUN/ports")" ]
  # And what a runtime has forgotten.
  cni wb-netns ADD "$published" >result || { cat result >&2; false; }
  cni wb-netns GC "$(jq -c '.cniVersion = "1.1.0" | ."cni.dev/valid-attachments" = []' <<<"$published")"
  [ -z "$(ls "$WB_RUN/ports")" ]
  cni wb-netns DEL "$published"
}

@test "our bridge with host-local; the reference bridge with our addresses" {
  require_program "$PLUGINS/bridge" "$PLUGINS/host-local"
  name=wbt-$WB_MACHINE_HASH
  mixed=$(config host-local | jq -c --arg name "$name" '.name = $name | .ipam.dataDir = "'"$WB_SCRATCH"'/host-local"')
  cni wb-netns ADD "$mixed" | jq -e '.ips[0].address == "10.66.0.2/24"'
  inside "$NS" ping -c 1 -W 2 198.51.100.1
  cni wb-netns DEL "$mixed"
  find "$WB_SCRATCH/host-local" -name '10.66*' | must_fail 1 grep .
  theirs=$(config | jq -c '.type = "bridge" | .bridge = "wbt1" | .name = "theirs" |
    .ipam.ranges = [[{"subnet": "10.68.0.0/24"}]]')
  cni "$PLUGINS/bridge" ADD "$theirs" | jq -e '.ips[0].address == "10.68.0.2/24"'
  inside "$NS" ping -c 1 -W 2 10.68.0.1
  CNI_COMMAND=CHECK host wb-ipam <<<"$theirs"
  cni "$PLUGINS/bridge" DEL "$theirs"
  must_fail 1 cni wb-ipam CHECK "$theirs"
}

@test "the reference portmap chained after ours" {
  require_program "$PLUGINS/portmap" iptables
  cni wb-netns ADD "$(config)" >result
  chained=$(config | jq -c --slurpfile r result '{cniVersion, name, type: "portmap", snat: true, prevResult: $r[0],
    runtimeConfig: {portMappings: [{hostPort: 8088, containerPort: 80, protocol: "tcp"}]}}')
  cni "$PLUGINS/portmap" ADD "$chained" >/dev/null
  serve "$NS" 80 web
  [ "$(outside nc -w 2 203.0.113.1 8088 </dev/null)" = "web 203.0.113.2" ]
  cni "$PLUGINS/portmap" DEL "$chained"
  cni wb-netns DEL "$(config)"
}

no_lease () { must_fail 1 grep -q /eth0 "$WB_ROOT"/ipam/mine/*; }

@test "podman calls them" {
  require_program podman
  mkdir -p conf storage run-podman tmp root/bin root/etc root/proc root/sys root/dev root/run
  cp "$(command -v busybox)" root/bin/busybox
  for applet in sh ping nc ip sleep; do ln -s busybox "root/bin/$applet"; done
  config | jq '{cniVersion: "0.4.0", name: "mine", plugins: [del(.cniVersion, .name) | .capabilities = {"portMappings": true}]}' >conf/mine.conflist
  # Its clean-up hands no environment on: a plugin that knows its place.
  mkdir plugins
  for tool in wb-netns wb-ipam; do
    printf '#!/bin/sh\nexport WB_ROOT=%s WB_RUN=%s\nexec %s/%s\n' "$WB_ROOT" "$WB_RUN" "$WB_BIN" $tool >plugins/$tool
    chmod +x plugins/$tool
  done
  cat >containers.conf <<CONF
[network]
network_backend = "cni"
cni_plugin_dirs = ["$PWD/plugins", "$PLUGINS"]
network_config_dir = "$PWD/conf"
[engine]
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
CONF
  export CONTAINERS_CONF=$PWD/containers.conf
  p () { host podman --root "$PWD/storage" --runroot "$PWD/run-podman" --tmpdir "$PWD/tmp" --storage-driver vfs "$@"; }
  unset CNI_CONTAINERID CNI_IFNAME CNI_NETNS CNI_PATH
  p network ls 2>/dev/null | grep -q mine || skip "hardware: this podman has no CNI backend"
  within 60 bash -c "$(declare -f p host); NET_HOST=$NET_HOST; p --runtime runc run --rm --network mine --rootfs '$PWD/root' ping -c 1 -W 2 198.51.100.1"
  # podman's own clean-up runs after the container has gone.
  eventually 10 no_lease
  [ "$(host ip -br link | grep -cE '^wb[0-9a-f]{12}')" = 0 ]
  p system reset -f >/dev/null 2>&1 || true
}
