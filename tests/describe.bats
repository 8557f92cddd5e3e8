#!/usr/bin/env bats
# wb describe: a document from any process, whoever started it; and another runtime starts what it says.

load lib/common
load lib/engines

setup () {
  wb_setup
  engines_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  if [ -n "${runc_id:-}" ]; then runc --root "$WB_SCRATCH/runc" delete -f "$runc_id" >/dev/null 2>&1 || true; fi
  stop_engines
  wb_teardown
}

# The description in d.json, as another runtime's configuration: it runs, and what it shows of itself is in ./shown.
runs_under_runc () {
  require_program runc python3
  mkdir -p bundle
  runc_id=described-$WB_MACHINE_HASH
  # As it is: the same program in the same root, detached.
  # Not by jq, whose older versions round the number that stands for no limit.
  python3 -c 'import json, sys
config = json.load(sys.stdin)
del config["wb"]
config["linux"]["cgroupsPath"] = sys.argv[1]
json.dump(config, sys.stdout)' "/wb-$WB_MACHINE_HASH/described" <d.json >bundle/config.json
  within 30 runc --root "$WB_SCRATCH/runc" run -d --bundle bundle "$runc_id" >runc.out 2>&1 </dev/null || {
    cat runc.out >&2
    return 1
  }
  [ "$(runc --root "$WB_SCRATCH/runc" state "$runc_id" | jq -r .status)" = running ]
  pid=$(runc --root "$WB_SCRATCH/runc" state "$runc_id" | jq .pid)
  [ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" = 'sleep 1000 ' ]
  wb-describe "$pid" | wb-cgroup limits >again.json
  runc --root "$WB_SCRATCH/runc" delete -f "$runc_id"
}

# What both descriptions must have in common, whichever engine made the process.
alike () { jq -S '{hostname, cwd: .process.cwd, user: .process.user, capabilities: .process.capabilities, env: .process.env,
  noNewPrivileges: .process.noNewPrivileges, kinds: [.linux.namespaces[].type] | sort, limit: .linux.resources.memory.limit,
  seccomp: .wb.described.seccomp}' "$1"; }

@test "a docker container's description starts under runc" {
  start_docker
  "${docker[@]}" import "$(busybox_tar)" bench >/dev/null
  mkdir data && echo hello >data/file
  id=$("${docker[@]}" run -d --network none -m 64m --cap-drop NET_RAW --hostname kiste -e A=1 -w /tmp -u 1000:1000 \
    --security-opt no-new-privileges -v "$PWD/data:/data:ro" --tmpfs /scratch --pids-limit 50 bench sleep 1000)
  pid=$("${docker[@]}" inspect -f '{{.State.Pid}}' "$id")
  wb describe "$pid" >d.json
  jq -e '.hostname == "kiste" and .process.args == ["sleep", "1000"] and .process.cwd == "/tmp" and .process.user.uid == 1000
    and .process.noNewPrivileges and (.process.env | index("A=1")) and (.process.capabilities.bounding | index("CAP_NET_RAW") | not)
    and (.process.capabilities.bounding | index("CAP_CHOWN"))
    and .linux.resources.memory.limit == 67108864 and .linux.resources.pids.limit == 50
    and .wb.described.seccomp == "filter" and .root.readonly == false
    and (.mounts[] | select(.destination == "/data") | .options | index("ro"))
    and any(.mounts[]; .destination == "/scratch" and .type == "tmpfs")
    and ([.linux.namespaces[].type] | index("pid") and index("mount") and index("network"))
    and (.linux.maskedPaths | index("/sys/firmware")) and (.linux.readonlyPaths | index("/proc/sys"))
    and .wb.network.result.interfaces[0].name == "lo"' d.json
  [ "$(jq .wb.described.namespaces.network.inode d.json)" = "$(stat -Lc %i "/proc/$pid/ns/net")" ]
  runs_under_runc
  alike d.json >a
  # A filter is not readable from outside: runc was asked for none.
  alike again.json | jq -S '.seccomp = "filter"' >b
  diff a b
}

@test "a podman container's description starts under runc" {
  use_podman
  "${podman[@]}" import -q "$(busybox_tar)" bench >/dev/null
  id=$(within 60 "${podman[@]}" --runtime runc run -d --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 -m 64m \
    --hostname kiste -e A=1 bench sleep 1000)
  pid=$("${podman[@]}" inspect -f '{{.State.Pid}}' "$id")
  wb describe "$pid" >d.json
  jq -e '.hostname == "kiste" and .process.args == ["sleep", "1000"] and (.process.env | index("A=1"))
    and .linux.resources.memory.limit == 67108864 and any(.process.rlimits[]; .type == "RLIMIT_NOFILE" and .hard == 1024)' d.json
  runs_under_runc
  alike d.json >a
  alike again.json | jq -S '.seccomp = "filter"' >b
  diff a b
}

@test "ours: addresses, routes, who shares its namespaces, ids as it sees them" {
  wb run -d --name one --userns 0:231072:65536 -u 1000 busybox sleep 1000 >/dev/null
  wb run -d --name two --net container:one busybox sleep 1000 >/dev/null
  one=$(wb inspect one | jq '.[0].wb.state.pid') two=$(wb inspect two | jq '.[0].wb.state.pid')
  wb describe one >d.json
  [ "$(jq .process.user.uid d.json)" = 1000 ]
  [ "$(awk '/^Uid/ { print $2 }' "/proc/$one/status")" = 232072 ]
  [ "$(jq -c .linux.uidMappings d.json)" = '[{"containerID":0,"hostID":231072,"size":65536}]' ]
  jq -e --argjson other "$two" '.wb.described.namespaces.network | .ours == false and (.sharedWith | index($other))' d.json
  jq -e --argjson other "$two" '.wb.described.namespaces.pid.sharedWith | index($other) | not' d.json
  address=$(nsenter -t "$one" -n ip -json -4 address show eth0 | jq -r '.[0].addr_info[0] | "\(.local)/\(.prefixlen)"')
  gateway=$(nsenter -t "$one" -n ip -json route show default | jq -r '.[0].gateway')
  mac=$(nsenter -t "$one" -n cat /sys/class/net/eth0/address 2>/dev/null || nsenter -t "$one" -n ip -json link show eth0 | jq -r '.[0].address')
  [ -n "$address" ] && [ -n "$gateway" ]
  jq -e --arg address "$address" --arg gateway "$gateway" '.wb.network.result as $net | $net.interfaces as $links |
    any($net.ips[]; .address == $address and .gateway == $gateway and $links[.interface].name == "eth0")
    and any($net.routes[]; .dst == "0.0.0.0/0" and .gw == $gateway)' d.json
  [ "$(nsenter -t "$one" -n ip -json link show eth0 | jq -r '.[0].address')" = \
    "$(jq -r '.wb.network.result.interfaces[] | select(.name == "eth0") | .mac' d.json)" ]
  # This process is where it was.
  [ "$(wb describe $$ | jq .wb.described.namespaces.network.ours)" = true ]
}

@test "drift: nothing where nobody meddled, and each thing somebody did" {
  wb run -d --name box --net none --cap-drop ALL busybox sleep 1000 >/dev/null
  pid=$(wb inspect box | jq '.[0].wb.state.pid')
  [ "$(wb drift box | jq -c .wb.drift)" = '[]' ]
  nsenter -t "$pid" -u hostname other
  nsenter -t "$pid" -m mount -t tmpfs none /tmp
  prlimit --pid "$pid" --nofile=100:100
  echo 900 >"/proc/$pid/oom_score_adj"
  wb drift box | jq -r '.wb.drift[].member' | sort >members
  [ "$(paste -sd' ' members)" = 'hostname mounts process.rlimits RLIMIT_NOFILE' ]
  must_fail 1 wb drift nosuch
  wb kill box >/dev/null
  eventually 5 sh -c 'wb inspect box | jq -e ".[0].wb.state.status == \"exited\"" >/dev/null'
  must_fail 1 wb drift box
  [[ $stderr == *'container '*' is not running'* ]]
}

@test "drift: limits, addresses and routes" {
  wb network create --subnet 10.98.9.0/24 lab >/dev/null
  wb run -d --name box -m 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 busybox sleep 1000 >/dev/null
  wb network connect lab box
  [ "$(wb drift box | jq -c .wb.drift)" = '[]' ]
  pid=$(wb inspect box | jq '.[0].wb.state.pid')
  wb inspect box | jq -r '.[0].wb.cgroup.paths | to_entries[] | .value' | sort -u >directories
  while read -r directory; do
    for limit in memory.limit_in_bytes=33554432 memory.max=33554432 pids.max=49; do
      [ ! -e "$directory/${limit%=*}" ] || echo "${limit#*=}" >"$directory/${limit%=*}"
    done
  done <directories
  nsenter -t "$pid" -n ip address add 10.9.9.9/24 dev eth0
  nsenter -t "$pid" -n ip route del default
  nsenter -t "$pid" -n ip address flush dev eth1
  wb drift box | jq -c '.wb.drift[]' | sort >found
  sort >wanted <<'END'
{"member":"linux.resources.memory.limit","asked":67108864,"is":33554432}
{"member":"linux.resources.pids.limit","asked":50,"is":49}
{"member":"wb.network.result.ips","asked":["10.98.9.2/24"],"is":null}
{"member":"wb.network.result.ips","asked":null,"is":["10.9.9.9/24"]}
{"member":"wb.network.result.routes","asked":["0.0.0.0/0"],"is":null}
END
  diff wanted found
  wb update -m 32m --pids-limit 49 box >/dev/null
  wb drift box | jq -e '[.wb.drift[].member | select(startswith("linux.resources"))] == []'
  wb rm -f box >/dev/null
  wb network rm lab >/dev/null
}

@test "a process that is none, one that has ended, and another user's" {
  must_fail 1 wb describe 4194999
  [[ $stderr == 'wb-describe: process 4194999: '* ]]
  # A child that has ended, and whose parent does something else.
  sh -c 'sh -c "until grep -qz sleep /proc/\$PPID/cmdline; do :; done" & echo $! >zombie; exec sleep 1000' &
  parent=$!
  eventually 10 sh -c 'grep -qs "^State:.Z" "/proc/$(cat zombie)/status"'
  must_fail 1 wb describe "$(<zombie)"
  kill "$parent"
  wait "$parent" || true
  [ "$stderr" = "wb-describe: process $(<zombie): a zombie: it has ended, and its parent has not asked for its status yet" ]
  # Somebody else's.
  sleep 1000 &
  other=$!
  chmod 755 "$WB_SCRATCH"
  must_fail 1 setpriv --reuid 65533 --regid 65533 --clear-groups env WB_ROOT="$PWD/his" WB_RUN="$PWD/his-run" "$WB_BIN/wb-describe" "$other"
  kill "$other"
  wait "$other" || true
  [[ $stderr == "wb-describe: process $other: "*'Permission denied (EACCES)'$'\n''hint: only its owner, or somebody with all of its capabilities,'* ]]
}

@test "a thread of the kernel" {
  # In a pid namespace of its own a machine shows none.
  require_hardware 'grep -q "^Kthread:.1" /proc/2/status' 'no thread of the kernel is to be seen from here'
  must_fail 1 wb describe 2
  [ "$stderr" = 'wb-describe: process 2: a thread of the kernel, which has no program and no environment' ]
}

@test "a process by the wrong name" {
  must_fail 1 wb describe
  must_fail 1 wb describe nosuch
}
