#!/usr/bin/env bats
# wb-oci under podman, docker, containerd and a swarm: the same commands with runc first, and the same outcome.

load lib/common

setup () {
  wb_setup
  require_program docker dockerd podman runc ctr jq
  export HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
  oci=$(command -v wb-oci)
  netns=() dockerd_pids=()
}

teardown () {
  local file pid name tries
  if [ -n "${podman:-}" ]; then
    "${podman[@]}" pod rm -fa -t 0 >/dev/null 2>&1 || true
    "${podman[@]}" rm -fa -t 0 >/dev/null 2>&1 || true
  fi
  for file in *.pid; do
    [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
  done
  for pid in "${dockerd_pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  for name in "${netns[@]}"; do ip netns del "$name" 2>/dev/null || true; done
  # In hierarchies without limits podman leaves what it made for a pod itself, whoever the runtime is.
  find /sys/fs/cgroup/{systemd,unified}/"wb-$WB_MACHINE_HASH" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
  # Engines leave their sandboxes mounted.
  for tries in 1 2 3; do
    cut -d' ' -f5 /proc/self/mountinfo | grep -F "$WB_SCRATCH/" | sort -r | xargs -r -n 1 umount -l
  done
  wb_teardown
}

# outcome COMMAND…: what it prints and how it ends, in one block. Engines bring the two streams on ways of their own:
# which comes first would be chance.
outcome () {
  local status=0
  echo "-- ${*: -1}"
  timeout $((60 * ${WB_TEST_SLOW:-1})) "$@" 2>"$WB_SCRATCH/outcome.err" </dev/null 3>&- || status=$?
  cat "$WB_SCRATCH/outcome.err"
  echo "status $status"
}

# compare NAME CASES: CASES runs with each runtime in turn; both blocks are the same.
compare () {
  "$2" "$3" >"$1.runc"
  "$2" "$4" >"$1.wb"
  diff -u "$1.runc" "$1.wb"
  # A comparison of nothing would be the same, too.
  [ "$(grep -c '^status 0' "$1.wb")" -ge 5 ]
}

# Ids, times and the runtimes' own words are no outcome.
plain () { sed -E 's/^time="[^"]*" //; s/[0-9a-f]{64}/ID/g; s/[0-9a-f]{12}\b/ID/g'; }

# --- podman ----------------------------------------------------------------------------------------------------------

podman_is_here () {
  podman=(podman --root "$WB_SCRATCH/podman" --runroot "$WB_SCRATCH/podman-run" --tmpdir "$WB_SCRATCH/podman-tmp"
    --cgroup-manager cgroupfs --storage-driver vfs --network-config-dir "$WB_SCRATCH/podman-net")
  mkdir podman-net
  "${podman[@]}" import -q "$(busybox_tar)" bb >/dev/null 2>&1
}

podman_cases () {
  local p=("${podman[@]}" --runtime "$1")
  # The machine may not raise a limit.
  local run=(run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none)
  {
    outcome "${p[@]}" "${run[@]}" --rm bb sh -c 'id -u; echo err >&2; exit 3'
    outcome "${p[@]}" "${run[@]}" --rm --read-only --cap-drop ALL --user 1000:5 bb sh -c 'grep -E "Cap|NoNew|Seccomp:" /proc/self/status; id -G; touch /x'
    outcome "${p[@]}" "${run[@]}" --rm --tmpfs /t:size=1m -v "$WB_SCRATCH/shared:/v:ro" -w /v --env A=b bb sh -c 'cat file; touch /v/x; df -k /t | tail -n 1; echo $A; ls /dev | grep -vx core | sort'
    outcome "${p[@]}" "${run[@]}" --rm -m 64m --pids-limit 33 --cpu-shares 512 bb sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.shares'
    outcome "${p[@]}" "${run[@]}" -d --name one --health-cmd 'test -e /tmp' bb sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
    outcome "${p[@]}" exec one sh -c 'cat; exit 4'
    outcome "${p[@]}" exec --user 7 --workdir /etc one sh -c 'id -u; pwd'
    outcome "${p[@]}" healthcheck run one
    outcome "${p[@]}" pause one
    outcome "${p[@]}" inspect --format '{{.State.Status}} {{.State.Paused}}' one
    outcome "${p[@]}" unpause one
    outcome "${p[@]}" stats --no-stream --format '{{.Name}}' one
    outcome "${p[@]}" stop -t 5 one
    outcome "${p[@]}" inspect --format '{{.State.Status}} {{.State.ExitCode}}' one
    outcome "${p[@]}" start one
    outcome "${p[@]}" kill one
    outcome "${p[@]}" wait one
    outcome "${p[@]}" rm -f -t 0 one
    outcome "${p[@]}" "${run[@]}" --name two bb sh -c 'echo out; echo err >&2'
    outcome "${p[@]}" logs two
    outcome "${p[@]}" rm two
    outcome script -qec "${p[*]} ${run[*]} --rm -t bb sh -c 'test -t 0 && stty size'" /dev/null
    outcome "${p[@]}" ps -aq
  } | plain
  # What cannot be run: the statuses, since the words are each runtime's own.
  outcome "${p[@]}" "${run[@]}" --rm bb nosuch | grep ^status
  outcome "${p[@]}" "${run[@]}" --rm bb /etc/passwd | grep ^status
}

@test "podman: run, exec, health, pause, top, stats, stop, start, kill, logs, a terminal, as with runc" {
  podman_is_here
  mkdir shared && echo shared >shared/file
  compare podman podman_cases "$(command -v runc)" "$oci"
}

@test "podman: the namespaces of another container, and a user namespace" {
  podman_is_here
  local run=(run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none)
  local p=("${podman[@]}" --runtime "$oci")
  within 60 "${p[@]}" "${run[@]}" -d --name one --ipc shareable bb sleep 300 3>&-
  pid=$("${p[@]}" inspect --format '{{.State.Pid}}' one)
  for kind in pid ipc; do
    [ "$(within 60 "${p[@]}" "${run[@]}" --rm --$kind container:one bb readlink /proc/self/ns/$kind)" = "$(readlink "/proc/$pid/ns/$kind")" ]
  done
  run=(run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
  [ "$(within 60 "${p[@]}" "${run[@]}" --rm --network container:one bb readlink /proc/self/ns/net)" = "$(readlink "/proc/$pid/ns/net")" ]
  [ "$(within 60 "${p[@]}" "${run[@]}" --rm --network none --uidmap 0:100000:65536 --gidmap 0:100000:65536 bb sh -c 'id -u; cat /proc/self/uid_map' | tr -s ' ')" = $'0\n 0 100000 65536' ]
  within 60 "${p[@]}" rm -f -t 0 one
}

# The kinds of namespaces that the process of a container has in common with the pod's first one.
shared_with_infra () {
  local kind first
  first=$("${p[@]}" inspect --format '{{.State.Pid}}' "$("${p[@]}" pod inspect --format '{{.InfraContainerID}}' pod)")
  for kind in net ipc uts pid mnt; do
    [ "$(readlink "/proc/$1/ns/$kind")" != "$(readlink "/proc/$first/ns/$kind")" ] || echo "$kind"
  done
}

pod_cases () {
  local p=("${podman[@]}" --runtime "$1")
  {
    outcome "${p[@]}" pod create --name pod --infra-image bb --infra-command 'sleep 1000' --network none --share net,ipc,uts,pid \
      --cgroup-parent "/wb-$WB_MACHINE_HASH"
    outcome "${p[@]}" run -d --pod pod --name one bb sh -c 'echo shared >/dev/shm/file; exec httpd -f -h /dev/shm'
    shared_with_infra "$("${p[@]}" inspect --format '{{.State.Pid}}' one)"
    outcome "${p[@]}" run --rm --pod pod bb sh -c 'hostname; for try in 1 2 3 4 5 6 7 8 9; do
      wget -q -O - http://127.0.0.1/file && break; sleep 1; done; cat /dev/shm/file; pidof sleep; pidof httpd >/dev/null; echo $?'
    outcome "${p[@]}" pod pause pod
    outcome "${p[@]}" inspect --format '{{.State.Status}}' one
    outcome "${p[@]}" pod unpause pod
    outcome "${p[@]}" pod stop -t 0 pod
    outcome "${p[@]}" pod start pod
    outcome "${p[@]}" exec one cat /dev/shm/file
    outcome "${p[@]}" pod rm -f -t 0 pod
    outcome "${p[@]}" ps -aq
    # Which of two that are killed at once is dead first is chance.
  } | plain | grep -vE 'container not running"?$'
}

@test "podman: a pod of two containers with one network, one /dev/shm, one name and one set of processes, as with runc" {
  podman_is_here
  # The container that holds the pod takes no --ulimit.
  printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n' >containers.conf
  export CONTAINERS_CONF=$WB_SCRATCH/containers.conf
  compare pod pod_cases "$(command -v runc)" "$oci"
  [ "$(grep -xE 'net|ipc|uts|pid|mnt' pod.wb | paste -sd' ')" = 'net ipc uts pid' ]
}

# --- docker ----------------------------------------------------------------------------------------------------------

# start_dockerd NAME [ARG…]: an engine in a network namespace of its own.
start_dockerd () {
  local name=$1
  shift
  ip netns list | grep -qw "wb-$name-$WB_MACHINE_HASH" || {
    ip netns add "wb-$name-$WB_MACHINE_HASH"
    netns+=("wb-$name-$WB_MACHINE_HASH")
    ip -n "wb-$name-$WB_MACHINE_HASH" link set lo up
  }
  env -u WB_ROOT -u WB_RUN nsenter --net="/run/netns/wb-$name-$WB_MACHINE_HASH" dockerd --data-root "$WB_SCRATCH/$name.d" --exec-root "$WB_SCRATCH/$name.x" \
    -p "$WB_SCRATCH/$name.pid" -H "unix://$WB_SCRATCH/$name.sock" --add-runtime "wb=$oci" "$@" >"$name.log" 2>&1 3>&- </dev/null &
  dockerd_pids+=($!)
  eventually 30 env -u WB_ROOT -u WB_RUN /usr/bin/docker -H "unix://$WB_SCRATCH/$name.sock" version >/dev/null 2>&1 || {
    tail "$name.log" >&2
    return 1
  }
  /usr/bin/docker -H "unix://$WB_SCRATCH/$name.sock" import "$(busybox_tar)" bb >/dev/null
}

docker_cases () {
  local d=(/usr/bin/docker -H "unix://$WB_SCRATCH/one.sock")
  local run=(run --runtime "$1")
  {
    outcome "${d[@]}" "${run[@]}" --rm bb sh -c 'id; echo err >&2; exit 3'
    outcome "${d[@]}" "${run[@]}" --rm --read-only --cap-drop ALL --user 1000:5 --security-opt no-new-privileges bb \
      sh -c 'grep -E "Cap|NoNew|Seccomp:" /proc/self/status; id -G; touch /x 2>/dev/null || echo refused'
    outcome "${d[@]}" "${run[@]}" --rm --ulimit nofile=100 --shm-size 10m --tmpfs /t --sysctl net.ipv4.ip_default_ttl=7 --hostname named -w /made bb \
      sh -c 'ulimit -n; df -k /dev/shm | tail -n 1; cat /proc/sys/net/ipv4/ip_default_ttl; hostname; pwd; ls /dev | grep -vx core | sort'
outcome "${d[@]}" "${run[@]}" --rm --init bb sh -c 'echo $PPID; readlink /proc/1/exe'
    outcome "${d[@]}" "${run[@]}" --rm --pid host --ipc host --uts host bb sh -c 'readlink /proc/self/ns/pid'
    outcome "${d[@]}" "${run[@]}" -d --name one -m 64m --health-cmd true --health-interval 1s bb sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'
    outcome "${d[@]}" exec one sh -c 'echo in; exit 4'
    outcome "${d[@]}" exec -u 7 -w /etc -e A=b one sh -c 'id -u; pwd; echo $A'
    echo copied >copied
    outcome "${d[@]}" cp copied one:/copied
    outcome "${d[@]}" exec one cat /copied
    outcome "${d[@]}" update --memory 32m --memory-swap 32m --cpu-shares 512 one
    outcome "${d[@]}" exec one sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares'
    eventually 20 healthy "${d[@]}" && echo healthy
    outcome "${d[@]}" pause one
    outcome "${d[@]}" inspect -f '{{.State.Status}}' one
    outcome "${d[@]}" unpause one
    outcome "${d[@]}" restart -t 5 one
    outcome "${d[@]}" stop -t 5 one
    outcome "${d[@]}" inspect -f '{{.State.Status}} {{.State.ExitCode}}' one
    outcome "${d[@]}" start one
    outcome "${d[@]}" kill one
    outcome "${d[@]}" wait one
    outcome "${d[@]}" rm -f one
    # A pair on one network, the one by the other's name.
    outcome "${d[@]}" network create pair
    outcome "${d[@]}" "${run[@]}" -d --name web --network pair bb sh -c 'mkdir /w; echo served >/w/index.html; exec httpd -f -h /w'
    outcome "${d[@]}" "${run[@]}" --rm --network pair bb sh -c 'for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://web/ && exit; sleep 1; done; exit 1'
    outcome "${d[@]}" rm -f web
    outcome "${d[@]}" network rm pair
    outcome script -qec "${d[*]} ${run[*]} --rm -t bb sh -c 'test -t 0 && echo terminal'" /dev/null
    outcome "${d[@]}" ps -aq
  } | sed -E 's/pid:\[[0-9]+\]/pid/' | plain
  outcome "${d[@]}" "${run[@]}" --rm bb nosuch | grep ^status
  outcome "${d[@]}" "${run[@]}" --rm bb /etc/passwd | grep ^status
}
healthy () { [ "$("$@" inspect -f '{{.State.Health.Status}}' one)" = healthy ]; }

@test "docker: run, exec, cp, update, health, restart, privileged, a network, as with runc; containerd's ctr" {
  start_dockerd one
  compare docker docker_cases runc wb
  # The containerd that came with it.
  # The namespace is also the name of the cgroup that containerd makes and leaves; wb_teardown removes ours.
  ctr=(ctr -a "$WB_SCRATCH/one.x/containerd/containerd.sock" -n "wb-$WB_MACHINE_HASH")
  /usr/bin/docker -H "unix://$WB_SCRATCH/one.sock" save bb -o bb.tar
  within 60 "${ctr[@]}" images import bb.tar >/dev/null
  image=$("${ctr[@]}" images ls -q)
  compare ctr ctr_cases "$(command -v runc)" "$oci"
}

ctr_cases () {
  local run=(run --runc-binary "$1" --snapshotter native)
  {
    outcome "${ctr[@]}" "${run[@]}" --rm "$image" a sh -c 'id -u; exit 3'
    outcome "${ctr[@]}" "${run[@]}" --rm --read-only --env A=b --cwd /tmp "$image" a sh -c 'pwd; echo $A; grep Cap /proc/self/status'
    outcome "${ctr[@]}" "${run[@]}" -d "$image" b sleep 300
    outcome "${ctr[@]}" tasks exec --exec-id x b sh -c 'echo in; exit 4'
    outcome "${ctr[@]}" tasks pause b
    outcome "${ctr[@]}" tasks ls -q
    outcome "${ctr[@]}" tasks resume b
    outcome "${ctr[@]}" tasks kill -s KILL b
    eventually 10 ended && echo ended
    outcome "${ctr[@]}" tasks rm b
    outcome "${ctr[@]}" containers rm b
    outcome "${ctr[@]}" containers ls -q
  } | plain
}
ended () { "${ctr[@]}" tasks ls | grep -q STOPPED; }

# --- beyond one machine ----------------------------------------------------------------------------------------------

replicas_are () { [ "$("${first[@]}" service ls --format '{{.Name}} {{.Replicas}}' | sort | paste -sd' ')" = "$1" ]; }
both_serve () {
  local node address
  for node in first second; do
    for address in 10.231.0.1 10.231.0.2; do
      nsenter --net="/run/netns/wb-$node-$WB_MACHINE_HASH" python3 -c 'import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode().strip())' "http://$address:8080/" || return
    done
  done >served
  # Each address is answered by the replica of its node, whoever asks.
  [ "$(sort served | uniq -c | awk '{ print $1 }' | paste -sd' ')" = '2 2' ]
}
is_another () { [ -n "$("${second[@]}" ps -q --filter name=many)" ] && replicas_are 'many 5/5 web 2/2' && ! "${second[@]}" ps -q --filter name=many | grep -q "$victim"; }

# The kernel has no IPVS (CONFIG_IP_VS), which docker's routing mesh balances with: ports are published by each node.
@test "a swarm of two with wb as the default runtime: replicas on both, reached by both, scaled, killed, back again" {
  local node
  ip link add "wbs1$WB_MACHINE_HASH" type veth peer name "wbs2$WB_MACHINE_HASH"
  for node in first:1 second:2; do
    netns+=("wb-${node%:*}-$WB_MACHINE_HASH")
    ip netns add "wb-${node%:*}-$WB_MACHINE_HASH"
    ip link set "wbs${node#*:}$WB_MACHINE_HASH" netns "wb-${node%:*}-$WB_MACHINE_HASH"
    ip -n "wb-${node%:*}-$WB_MACHINE_HASH" addr add "10.231.0.${node#*:}/24" dev "wbs${node#*:}$WB_MACHINE_HASH"
    ip -n "wb-${node%:*}-$WB_MACHINE_HASH" link set "wbs${node#*:}$WB_MACHINE_HASH" up
    ip -n "wb-${node%:*}-$WB_MACHINE_HASH" link set lo up
  done
  ip -n "wb-first-$WB_MACHINE_HASH" route add default via 10.231.0.2
  ip -n "wb-second-$WB_MACHINE_HASH" route add default via 10.231.0.1
  start_dockerd first --default-runtime wb
  start_dockerd second --default-runtime wb
  first=(/usr/bin/docker -H "unix://$WB_SCRATCH/first.sock") second=(/usr/bin/docker -H "unix://$WB_SCRATCH/second.sock")
  within 60 "${first[@]}" swarm init --advertise-addr 10.231.0.1 --listen-addr 10.231.0.1:2377 >/dev/null
  within 60 "${second[@]}" swarm join --token "$("${first[@]}" swarm join-token -q worker)" --advertise-addr 10.231.0.2 \
    --listen-addr 10.231.0.2:2377 10.231.0.1:2377
  within 60 "${first[@]}" service create -d --name web --no-resolve-image --replicas 2 --publish mode=host,target=80,published=8080 \
    bb sh -c 'mkdir /w; hostname >/w/index.html; exec httpd -f -h /w'
  within 60 "${first[@]}" service create -d --name many --no-resolve-image --replicas 3 bb sleep 1000
  eventually 60 replicas_are 'many 3/3 web 2/2'
  eventually 20 both_serve
  "${first[@]}" service scale -d many=5
  eventually 60 replicas_are 'many 5/5 web 2/2'
  victim=$("${second[@]}" ps -q --filter name=many | head -n 1)
  [ "$("${second[@]}" inspect -f '{{.HostConfig.Runtime}}' "$victim")" = wb ]
  "${second[@]}" kill "$victim"
  eventually 60 is_another
  "${first[@]}" service rm web many
  none () { [ -z "$("${first[@]}" ps -q)$("${second[@]}" ps -q)" ]; }
  eventually 60 none
  within 60 "${second[@]}" swarm leave --force
  within 60 "${first[@]}" swarm leave --force
}
