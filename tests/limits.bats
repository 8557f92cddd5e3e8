#!/usr/bin/env bats
# linux.resources, member by member: what stands in /sys/fs/cgroup afterwards, on v1, hybrid and v2.

load lib/common

setup () { wb_setup; }
teardown () {
  if [ -e "$WB_ROOT/containers" ]; then wb ps -aq | xargs -r wb rm -f >/dev/null 2>&1 || true; fi
  wb_teardown
}

is_v2 () { [ -e /sys/fs/cgroup/cgroup.controllers ]; }
is_on_v1 () { grep -q "^[0-9]*:\([a-z_,]*,\)\?$1[,:]" /proc/self/cgroup; }

# control CONTROLLER FILE [GROUP]: what stands in a file of the cgroup `a`, found without asking the tool.
control () {
  local parent=wb-$WB_MACHINE_HASH top
  for top in "/sys/fs/cgroup/$1" /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$top/$parent/${3:-a}/$2" ]; then
      cat "$top/$parent/${3:-a}/$2"
      return
    fi
  done
  return 1
}

# create RESOURCES: the cgroup `a` with them.
create () { jq -nc --argjson resources "$1" '{linux:{$resources}}' | wb-cgroup create --id a; }
change () { jq -nc --argjson resources "$1" '{linux:{$resources}}' | wb-cgroup set --id a >/dev/null; }
delete () { wb-cgroup -n delete --id a >/dev/null; }
# refused RESOURCES WORD: the error has the word, and no cgroup stays.
refused () {
  must_fail 1 create "$1"
  [[ $stderr == *"$2"* ]] || {
    printf '%s: not in: %s\n' "$2" "$stderr" >&2
    return 1
  }
  [ -z "$(wb_cgroups)" ]
}

# The number of a disk of this machine.
disk () {
  local file
  for file in /sys/block/{vd,sd,xvd,nvme}*/dev /sys/block/loop0/dev; do
    if [ -e "$file" ]; then
      cat "$file"
      return
    fi
  done
  return 1
}

@test "memory" {
  create '{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"useHierarchy":true,"disableOOMKiller":false}}' >/dev/null
  if is_v2; then
    [ "$(control memory memory.max)" = 67108864 ]
    [ "$(control memory memory.swap.max)" = 67108864 ]
    [ "$(control memory memory.low)" = 33554432 ]
  else
    [ "$(control memory memory.limit_in_bytes)" = 67108864 ]
    [ "$(control memory memory.memsw.limit_in_bytes)" = 134217728 ]
    [ "$(control memory memory.soft_limit_in_bytes)" = 33554432 ]
    [ "$(control memory memory.use_hierarchy)" = 1 ]
    change '{"memory":{"swappiness":7,"disableOOMKiller":true,"kernelTCP":4194304}}'
    [ "$(control memory memory.swappiness)" = 7 ]
    control memory memory.oom_control | grep -qx 'oom_kill_disable 1'
    [ "$(control memory memory.kmem.tcp.limit_in_bytes)" = 4194304 ]
  fi
  # Up and down again: no limit passes the other on the way.
  for bytes in 268435456 16777216; do
    change '{"memory":{"limit":'$bytes',"swap":'$bytes'}}'
    is_v2 && files="memory.max" || files="memory.limit_in_bytes memory.memsw.limit_in_bytes"
    for file in $files; do [ "$(control memory "$file")" = "$bytes" ]; done
  done
  # No limit on memory is none on both.
  change '{"memory":{"limit":-1}}'
  if is_v2; then
    [ "$(control memory memory.max)/$(control memory memory.swap.max)" = max/max ]
  else
    [ "$(control memory memory.memsw.limit_in_bytes)" -gt 1000000000000000 ]
  fi
  delete
}

@test "cpu and cpuset" {
  last=$(($(nproc) - 1))
  create '{"cpu":{"shares":512,"quota":50000,"period":200000,"burst":10000,"idle":0,"cpus":"'$last'","mems":"0"}}' >/dev/null
  if is_v2; then
    [ "$(control cpu cpu.weight)" = 59 ]
    [ "$(control cpu cpu.max)" = '50000 200000' ]
    [ "$(control cpu cpu.max.burst)" = 10000 ]
    burst=cpu.max.burst
  else
    [ "$(control cpu cpu.shares)" = 512 ]
    [ "$(control cpu cpu.cfs_quota_us)/$(control cpu cpu.cfs_period_us)" = 50000/200000 ]
    burst=cpu.cfs_burst_us
  fi
  [ "$(control cpu $burst)" = 10000 ]
  [ "$(control cpu cpu.idle)" = 0 ]
  [ "$(control cpuset cpuset.cpus)/$(control cpuset cpuset.mems)" = "$last/0" ]
  # What is saved up must never be more than the quota.
  change '{"cpu":{"quota":90000,"burst":80000}}'
  [ "$(control cpu $burst)" = 80000 ]
  change '{"cpu":{"quota":5000,"burst":4000}}'
  [ "$(control cpu $burst)" = 4000 ]
  # Scheduled when all others are idle; and back, with its weight.
  for idle in 1 1 0; do
    change '{"cpu":{"shares":256,"idle":'$idle'}}'
    [ "$(control cpu cpu.idle)" = $idle ]
  done
  [ "$(is_v2 && control cpu cpu.weight || control cpu cpu.shares)" = "$(is_v2 && echo 35 || echo 256)" ]
  delete
}

@test "pids: a number, and none" {
  create '{"pids":{"limit":7}}' >/dev/null
  [ "$(control pids pids.max)" = 7 ]
  change '{"pids":{"limit":-1}}'
  [ "$(control pids pids.max)" = max ]
  delete
}

@test "blockIO: rates and weights" {
  disk=$(disk)
  device='"major":'${disk%:*}',"minor":'${disk#*:}
  create '{"blockIO":{"throttleReadBpsDevice":[{'"$device"',"rate":1048576}],"throttleWriteBpsDevice":[{'"$device"',"rate":2097152}],
    "throttleReadIOPSDevice":[{'"$device"',"rate":100}],"throttleWriteIOPSDevice":[{'"$device"',"rate":200}]}}' >/dev/null
  if is_v2; then
    [ "$(control io io.max)" = "$disk rbps=1048576 wbps=2097152 riops=100 wiops=200" ]
    change '{"blockIO":{"throttleReadBpsDevice":[{'"$device"',"rate":0}]}}'
    [ "$(control io io.max)" = "$disk rbps=max wbps=2097152 riops=100 wiops=200" ]
  else
    [ "$(control blkio blkio.throttle.read_bps_device)" = "$disk 1048576" ]
    [ "$(control blkio blkio.throttle.write_bps_device)" = "$disk 2097152" ]
    [ "$(control blkio blkio.throttle.read_iops_device)" = "$disk 100" ]
    [ "$(control blkio blkio.throttle.write_iops_device)" = "$disk 200" ]
    change '{"blockIO":{"throttleReadBpsDevice":[{'"$device"',"rate":0}]}}'
    [ -z "$(control blkio blkio.throttle.read_bps_device)" ]
  fi
  change '{"blockIO":{"weight":300}}'
  if control io io.bfq.weight >weight || control blkio blkio.bfq.weight >weight || control blkio blkio.weight >weight; then
    grep -qxE '(default )?300' weight
  else
    # Of 1 to 10000 instead of 10 to 1000.
    [ "$(control io io.weight)" = 'default 2930' ]
  fi
  delete
  scheduler=$(cat "/sys/dev/block/$disk/queue/scheduler")
  if [[ $scheduler != *'[bfq]'* ]]; then
    refused '{"blockIO":{"weightDevice":[{'"$device"',"weight":200}]}}' 'scheduler must be bfq'
  fi
}

@test "blockIO: the weight of one device, in its scheduler" {
  # Nobody else's disk is touched: in the virtual machine all are ours.
  require_hardware '[ "${WB_VM:-}" = 1 ]' 'a disk of its own'
  modprobe bfq
  disk=$(cat /sys/block/vdb/dev)
  scheduler=$(sed 's/.*\[\(.*\)\].*/\1/' /sys/block/vdb/queue/scheduler)
  echo bfq >/sys/block/vdb/queue/scheduler
  create '{"blockIO":{"weight":300,"weightDevice":[{"major":'${disk%:*}',"minor":'${disk#*:}',"weight":200}]}}' >/dev/null
  control io io.bfq.weight >weight
  echo "$scheduler" >/sys/block/vdb/queue/scheduler
  printf 'default 300\n%s 200\n' "$disk" | cmp - weight
  delete
}

@test "huge pages: in the hierarchy that has them, whatever has the rest" {
  require_hardware '[ -d /sys/kernel/mm/hugepages/hugepages-2048kB ]' 'huge pages of 2 MiB'
  create '{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"pids":{"limit":5}}' >a.json
  file=max
  if is_on_v1 hugetlb; then file=limit_in_bytes; fi
  [ "$(control hugetlb hugetlb.2MB.$file)" = 4194304 ]
  [ "$(control hugetlb hugetlb.2MB.rsvd.$file)" = 4194304 ]
  [ "$(wb-cgroup stat <a.json | jq -c '.wb.cgroup.stat.hugetlb["2MB"]')" = '{"usage":0,"limit":4194304,"limitHits":0}' ]
  [ "$(control pids pids.max)" = 5 ]
  # What enters is there, too.
  wb-cgroup enter a -- cat /proc/self/cgroup >seen
  is_on_v1 hugetlb || grep -qx "0::/wb-$WB_MACHINE_HASH/a" seen
  delete
  refused '{"hugepageLimits":[{"pageSize":"3KB","limit":1}]}' 'hugetlb controller'
}

@test "unified: v2 files by their names, where their controller is on v2" {
  if is_v2; then
    create '{"unified":{"memory.high":"50331648","io.max":"'"$(disk)"' rbps=4096\n'"$(disk)"' wbps=8192","cgroup.max.depth":"3"}}' >/dev/null
    [ "$(control memory memory.high)" = 50331648 ]
    [ "$(control io io.max)" = "$(disk) rbps=4096 wbps=8192 riops=max wiops=max" ]
    [ "$(control cgroup cgroup.max.depth)" = 3 ]
    delete
    refused '{"unified":{"nosuch.max":"1"}}' 'the nosuch controller'
    refused '{"unified":{"memory.max":"lots"}}' memory.max
  else
    refused '{"unified":{"memory.high":"50331648"}}' 'the memory controller'
    if ! is_on_v1 hugetlb && [ -d /sys/kernel/mm/hugepages/hugepages-2048kB ]; then
      create '{"unified":{"hugetlb.2MB.max":"2097152"}}' >/dev/null
      [ "$(control hugetlb hugetlb.2MB.max)" = 2097152 ]
      delete
    fi
  fi
}

@test "what cannot be honoured is an error that names the controller" {
  refused '{"rdma":{"nosuch0":{"hcaHandles":1}}}' rdma
  refused '{"network":{"classID":1048577}}' net_cls
  refused '{"network":{"priorities":[{"name":"lo","priority":5}]}}' net_prio
  # Kernels since 5.16 forget it, and v2 has none.
  refused '{"memory":{"kernel":4194304}}' 'memory controller'
  if is_v2; then
    for member in '"swappiness":60' '"disableOOMKiller":true' '"useHierarchy":false' '"kernelTCP":4096'; do
      refused '{"memory":{'"$member"'}}' 'memory controller'
    done
    refused '{"cpu":{"realtimeRuntime":1000}}' 'cpu controller'
    refused '{"blockIO":{"leafWeight":100}}' 'io controller'
  else
    refused '{"blockIO":{"leafWeight":100}}' 'blkio controller'
    refused '{"devices":[{"allow":false},{"allow":true,"type":"c"},{"allow":false,"type":"c","major":1,"minor":3}]}' 'devices controller'
  fi
}

@test "devices: the last word counts, and a living group loses nothing on the way" {
  null='{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}' zero='{"allow":true,"type":"c","major":1,"minor":5}'
  create '{"devices":[{"allow":false},'"$null"','"$zero"']}' >/dev/null
  wb-cgroup enter a -- sh -c 'while :; do : </dev/null || echo lost; done' 2>lost &
  wb-cgroup enter a -- head -c 1 /dev/zero
  for _ in 1 2 3 4 5; do
    change '{"devices":[{"allow":false},'"$null"']}'
    must_fail 1 wb-cgroup enter a -- head -c 1 /dev/zero
    change '{"devices":[{"allow":false},'"$null"','"$zero"']}'
    wb-cgroup enter a -- head -c 1 /dev/zero
  done
  delete
  [ ! -s lost ]
  # An exception from an exception: a program can tell, files cannot (and are not asked to, above).
  if is_v2; then
    create '{"devices":[{"allow":false},{"allow":true,"type":"c"},{"allow":false,"type":"c","major":1,"minor":5}]}' >/dev/null
    wb-cgroup enter a -- sh -c ': </dev/null'
    must_fail 1 wb-cgroup enter a -- head -c 1 /dev/zero
    delete
  fi
}

@test "a change that fails half-way changes nothing" {
  create '{"memory":{"limit":67108864},"pids":{"limit":7},"cpu":{"quota":50000}}' >/dev/null
  must_fail 1 change '{"memory":{"limit":33554432},"pids":{"limit":9},"cpu":{"quota":20000,"cpus":"999"}}'
  [[ $stderr == *cpuset.cpus* ]]
  [ "$(control memory "$(is_v2 && echo memory.max || echo memory.limit_in_bytes)")" = 67108864 ]
  [ "$(control pids pids.max)" = 7 ]
  [ "$(is_v2 && control cpu cpu.max || control cpu cpu.cfs_quota_us)" = "$(is_v2 && echo '50000 100000' || echo 50000)" ]
  delete
}

@test "a limit below what is used is refused where that is asked for" {
  create '{"memory":{"limit":134217728,"swap":134217728}}' >/dev/null
  mkfifo hold
  # tail keeps what it may have to show.
  wb-cgroup enter a -- tail -c 40000000 hold >/dev/null &
  exec 9>hold
  head -c 40000000 /dev/zero >&9
  file=$(is_v2 && echo memory.current || echo memory.usage_in_bytes)
  holds () { [ "$(control memory "$file")" -gt 39000000 ]; }
  eventually 10 holds
  must_fail 1 change '{"memory":{"limit":16777216,"swap":16777216,"checkBeforeUpdate":true}}'
  [[ $stderr == *memory* ]]
  [ "$(control memory "$(is_v2 && echo memory.max || echo memory.limit_in_bytes)")" = 134217728 ]
  holds
  change '{"memory":{"limit":67108864,"swap":67108864,"checkBeforeUpdate":true}}'
  exec 9>&-
  delete
}

@test "a delegated subtree: limits by its owner, and nothing above is touched" {
  parent=wb-$WB_MACHINE_HASH
  if is_v2; then tops=/sys/fs/cgroup; else tops=$(echo /sys/fs/cgroup/{cpu,cpuacct,devices,freezer,memory,pids}); fi
  for top in $tops; do
    mkdir -p "$top/$parent/given"
    chown -R 65534 "$top/$parent/given"
  done
  if is_v2; then
    echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
    echo '+cpu +memory +pids' >"/sys/fs/cgroup/$parent/cgroup.subtree_control"
  fi
  above () { for top in $tops; do (cd "$top/$parent" && ls && { cat cgroup.subtree_control notify_on_release 2>/dev/null || true; }); done; }
  above >before
  chmod 755 "$WB_SCRATCH"
  as_owner () { setpriv --reuid 65534 --regid 65534 --clear-groups env WB_ROOT="$WB_ROOT" WB_RUN="$WB_RUN" "$@"; }
  jq -nc --arg path "/$parent/given/b" '{wb:{id:"b"},linux:{cgroupsPath:$path,resources:{memory:{limit:67108864},pids:{limit:9}}}}' >in.json
  as_owner wb-cgroup create <in.json >b.json
  [ "$(control pids pids.max given/b)" = 9 ]
  [ "$(control memory "$(is_v2 && echo memory.max || echo memory.limit_in_bytes)" given/b)" = 67108864 ]
  above | cmp before -
  as_owner wb-cgroup delete <b.json >/dev/null
  for top in $tops; do [ "$(find "$top/$parent" -type d | wc -l)" = 2 ]; done
  # Beside it nothing is the owner's.
  must_fail 1 as_owner sh -c 'jq -c ".linux.cgroupsPath = \"/'"$parent"'/c\"" in.json | wb-cgroup create'
  [[ $stderr == *'delegated to you'* ]]
  for top in $tops; do rmdir "$top/$parent/given"; done
}

@test "a parent that cannot have children with limits is named, and stays as it is" {
  if is_v2; then
    parent=wb-$WB_MACHINE_HASH/full
    mkdir -p "/sys/fs/cgroup/$parent"
    sleep 100 &
    echo $! >"/sys/fs/cgroup/$parent/cgroup.procs"
    jq -nc --arg path "/$parent/b" '{wb:{id:"b"},linux:{cgroupsPath:$path,resources:{memory:{limit:67108864}}}}' >in.json
    must_fail 1 sh -c 'wb-cgroup create <in.json'
    [ "$stderr" = "wb-cgroup: create: +memory > /sys/fs/cgroup/$parent/cgroup.subtree_control: Device or resource busy (EBUSY)
hint: a cgroup with processes of its own gives its children no controllers" ]
    [ -z "$(cat "/sys/fs/cgroup/$parent/cgroup.subtree_control")" ]
    kill $!
    wait $! || true
    rmdir "/sys/fs/cgroup/$parent"
  else
    # v1 has no such rule: limits hold for processes of a cgroup and of its children.
    create '{"pids":{"limit":7}}' >/dev/null
    wb-cgroup enter a -- sleep 100 &
    eventually 5 grep -q "/a\$" "/proc/$!/cgroup"
    jq -nc '{wb:{id:"b"},linux:{cgroupsPath:"a/b",resources:{pids:{limit:5}}}}' | wb-cgroup create >b.json
    [ "$(control pids pids.max a/b)" = 5 ]
    wb-cgroup delete <b.json >/dev/null
    delete
  fi
}

@test "docker's flags: what a running container has" {
  make_busybox_image
  disk=$(disk)
  node=/dev/$(basename "$(readlink -f "/sys/dev/block/$disk")")
  id=$(wb run -d --net none -m 64m --memory-swap 96m --memory-reservation 32m --cpu-period 50000 --cpu-quota 20000 \
    -c 512 --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 33 --blkio-weight 300 --device-read-bps "$node:1mb" \
    --device-write-iops "$node:200" busybox sleep 1000)
  if is_v2; then
    control memory memory.max "$id"
    control memory memory.swap.max "$id"
    control memory memory.low "$id"
    control cpu cpu.max "$id"
    control cpu cpu.weight "$id"
    control io io.max "$id"
  else
    control memory memory.limit_in_bytes "$id"
    echo $(($(control memory memory.memsw.limit_in_bytes "$id") - 67108864))
    control memory memory.soft_limit_in_bytes "$id"
    echo "$(control cpu cpu.cfs_quota_us "$id") $(control cpu cpu.cfs_period_us "$id")"
    echo $(($(control cpu cpu.shares "$id") * 59 / 512))
    rate=$(control blkio blkio.throttle.read_bps_device "$id")
    operations=$(control blkio blkio.throttle.write_iops_device "$id")
    echo "${rate% *} rbps=${rate#* } wbps=max riops=max wiops=${operations#* }"
  fi >limits
  printf '%s\n' 67108864 33554432 33554432 '20000 50000' 59 "$disk rbps=1048576 wbps=max riops=max wiops=200" | cmp - limits
  [ "$(control pids pids.max "$id")/$(control cpuset cpuset.cpus "$id")/$(control cpuset cpuset.mems "$id")" = 33/0/0 ]
  { control io io.bfq.weight "$id" || control blkio blkio.bfq.weight "$id" || control io io.weight "$id"; } |
    grep -qxE '(default )?(300|2930)'
  # A change that cannot be had is none: neither here nor in the record.
  must_fail 1 wb update -m 70m --pids-limit 44 --cpuset-cpus 999 "$id"
  [[ $stderr == *cpuset.cpus* ]]
  [ "$(control memory "$(is_v2 && echo memory.max || echo memory.limit_in_bytes)" "$id")" = 67108864 ]
  [ "$(control pids pids.max "$id")" = 33 ]
  [ "$(wb inspect "$id" | jq -c '.[0].linux.resources | [.memory.limit, .pids.limit, .cpu.cpus]')" = '[67108864,33,"0"]' ]
  # What it sees of it: its own cgroup as the root, or where it lies.
  wb exec "$id" cat /proc/self/cgroup >seen
  must_fail 1 grep -q "wb-$WB_MACHINE_HASH" seen
  wb run --rm --net none --cgroupns host busybox cat /proc/self/cgroup | grep -q ":/wb-$WB_MACHINE_HASH/[0-9a-f]*$"
}
