#!/usr/bin/env bats
# wb-oci and the runtime specification 1.2 for Linux: what each section says MUST be so. The names begin with the
# document (runtime.md, config.md, config-linux.md) and the section. The life cycle's own errors are in oci.bats.

load lib/common
load lib/oci

setup () {
  wb_setup
  oci_bundle
}
teardown () {
  oci_clean
  rm -rf "$WB_SCRATCH/volume"
  wb_teardown
}

script () { configure '.process.args = ["sh", "-c", $script]' --arg script "$1"; }
# A configuration that is refused, with these words, before anything is made.
refused () {
  must_fail "${2:-1}" run_it bad
  [[ $stderr = *"$1"* ]] || {
    printf 'not refused for %s: %s\n' "$1" "$stderr" >&2
    return 1
  }
  [ -z "$(wb-oci list -q)" ]
  [ -z "$(wb_cgroups)" ]
}
field () { awk -v name="$1:" '$1 == name { $1 = ""; print substr($0, 2) }' "$2"; }
has_v1 () { [ -d /sys/fs/cgroup/memory ]; }

@test "config.md, Specification version: SemVer, of a major version that is known" {
  for version in null '""' '"1.0"' '"x"' '"2.0.0"'; do
    configure ".ociVersion = $version"
    refused ociVersion
  done
  configure '.ociVersion = "1.0.2-dev" | .process.args = ["true"]'
  run_it good
}

@test "config.md, Extensibility: unknown members are ignored, invalid ones are errors" {
  configure '.future = {"x": 1} | .linux.future = [1] | .process.future = true | .process.args = ["true"]'
  run_it good
  configure '.process.cwd = 5'
  refused process
  configure '.process.cwd = "/" | .mounts = {}'
  refused mounts
}

@test "config.md, Root: the path is there, relative to the bundle or absolute; readonly holds" {
  script 'touch /file'
  must_fail 1 run_it one
  [ ! -e "$bundle/rootfs/file" ]
  configure '.root.readonly = false'
  run_it one
  [ -e "$bundle/rootfs/file" ]
  configure '.root.path = $path' --arg path "$bundle/rootfs"
  run_it one
  configure '.root.path = "nosuch"'
  refused 'root.path'
  configure 'del(.root)'
  refused root
}

@test "config.md, Mounts: in order, sources relative to the bundle, each option of the table" {
  mkdir "$bundle/data" && echo data >"$bundle/data/file"
  script 'cat /data/file; grep -E " /(one|two|three|data)" /proc/self/mountinfo'
  configure '.root.readonly = false | .mounts += [
    {destination: "/data", source: "data", type: "none", options: ["rbind", "rro", "nosuid"]},
    {destination: "/one", source: "tmpfs", type: "tmpfs", options: ["noexec", "nodev", "nosuid", "noatime", "nodiratime", "nosymfollow", "size=64k", "sync"]},
    {destination: "/one/below", source: "tmpfs", type: "tmpfs", options: ["ro", "exec", "dev", "suid", "strictatime"]},
    {destination: "/two", source: "data", options: ["bind", "rw", "rslave"]}]'
  run_it one >out
  [ "$(head -n 1 out)" = data ]
  options () { awk -v path="$1" '$5 == path { print "," $6 "," }' out; }
  [[ $(options /data) = *,ro,nosuid,* ]]
  for word in noexec nodev nosuid noatime nodiratime nosymfollow; do [[ $(options /one) = *,$word,* ]]; done
  grep -E ' /one .*size=64k' out
  [[ $(options /one/below) = *,ro,* ]]
  [[ $(options /one/below) != *,nosuid,* ]]
  [[ $(options /two) = *,rw,* ]]
  for bad in '{"destination": "/x", "type": "bind"}' '{"destination": "/x", "type": "bind", "source": "nosuch", "options": ["bind"]}' \
    '{"destination": "/x", "type": "nosuch", "source": "x"}' '{"destination": "", "type": "tmpfs"}' \
    '{"destination": "/x", "type": "tmpfs", "source": "x", "options": ["idmap"]}'; do
    configure '.mounts = [$bad]' --argjson bad "$bad"
    refused ''
  done
}

@test "config.md, Linux mount options: recursive ones reach the mounts below" {
  mkdir -p "$bundle/tree/below"
  mount -t tmpfs wb-test "$bundle/tree/below"
  script 'grep " /tree" /proc/self/mountinfo'
  configure '.root.readonly = false | .mounts += [{destination: "/tree", source: "tree", options: ["rbind", "rro", "rnoexec", "rnosuid", "rnodev", "rnoatime", "rnosymfollow"]}]'
  run_it one >out || { umount "$bundle/tree/below"; false; }
  configure '.mounts[-1].options = ["rbind", "ro"]'
  run_it one >plain || { umount "$bundle/tree/below"; false; }
  umount "$bundle/tree/below"
  [ "$(grep -cE ' /tree(/below)? [^ ]*ro,nosuid,nodev,noexec,noatime[^ ]*nosymfollow' out)" = 2 ]
  [ "$(grep -cE ' /tree/below ro' plain)" = 0 ]
}

@test "config.md, Linux mount options: tmpcopyup, idmap" {
  mkdir "$bundle/rootfs/full" "$bundle/ids" && echo kept >"$bundle/rootfs/full/file" && echo x >"$bundle/ids/file"
  script 'cat /full/file; echo new >/full/file && cat /full/file; stat -c %u:%g /ids/file'
  configure '.mounts += [{destination: "/full", source: "tmpfs", type: "tmpfs", options: ["tmpcopyup"]},
    {destination: "/ids", source: "ids", options: ["bind", "idmap"],
     uidMappings: [{containerID: 0, hostID: 7000, size: 10}], gidMappings: [{containerID: 0, hostID: 8000, size: 10}]}]'
  mkdir "$bundle/rootfs/ids"
  [ "$(run_it one)" = $'kept\nnew\n7000:8000' ]
  [ "$(cat "$bundle/rootfs/full/file")" = kept ]
  configure '.mounts[-1].gidMappings = []'
  refused 'belong together'
}

@test "config.md, Process: args, env, cwd, and a terminal is none" {
  # shellcheck disable=SC2016 # the container's variables
  script 'pwd; env | sort; echo "$A"'
  configure '.process.env = ["PATH=/bin", "A=b c"] | .process.cwd = "/made/here" | .root.readonly = false'
  run_it one >out
  [ "$(head -n 1 out)" = /made/here ]
  [ "$(tail -n 1 out)" = 'b c' ]
  [ "$(grep -cvE '^(A|PATH|HOME|PWD|SHLVL)=|^/|^b c' out)" = 0 ]
  # Without a terminal its size is none of the runtime's business.
  configure '.process.consoleSize = {height: "none"}'
  run_it one >/dev/null
  configure '.process.terminal = true'
  refused process
  configure '.process.terminal = false | del(.process.consoleSize)'
  configure '.process.cwd = "relative"'
  refused process.cwd
  configure '.process.cwd = "/etc/passwd"'
  refused 'working directory'
  configure '.process.cwd = "/" | .process.args = []'
  refused process.args
  configure 'del(.process)'
  refused process
}

# It may be absent until the start. Nothing could be started then: runc refuses it at once, and so does this.
@test "config.md, Process: a container without one is not created, as with runc" {
  require_program runc
  configure 'del(.process)'
  must_fail 1 wb-oci create --bundle "$bundle" one
  [[ $stderr = *'config.json: process is missing'* ]]
  [ -z "$(wb-oci list -q)" ]
  must_fail 1 runc --root "$WB_SCRATCH/runc" create --bundle "$bundle" "wb-$WB_MACHINE_HASH"
  [[ $stderr = *'process property must not be empty'* ]]
}

@test "config.md, POSIX process: rlimits are set, known, and there once" {
  script 'ulimit -Sn; ulimit -Hn; ulimit -c'
  configure '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}, {type: "RLIMIT_CORE", soft: 0, hard: 0}]'
  [ "$(run_it one)" = $'100\n200\n0' ]
  configure '.process.rlimits += [{type: "RLIMIT_CORE", soft: 0, hard: 0}]'
  refused twice
  configure '.process.rlimits = [{type: "RLIMIT_NOSUCH", soft: 0, hard: 0}]'
  refused RLIMIT_NOSUCH
  configure '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 0, hard: 9999999999}]'
  refused RLIMIT_NOFILE
}

@test "config.md, User: ids, groups, umask" {
  script 'id -u; id -g; id -G; umask'
  configure '.process.user = {uid: 7, gid: 8, additionalGids: [9, 10], umask: 63, username: "nosuch"}'
  [ "$(run_it one)" = $'7\n8\n8 9 10\n0077' ]
  configure '.process.user.umask = 512'
  refused umask
}

@test "config.md, Linux process: capabilities of each set; unknown ones are a warning" {
  script 'cat /proc/self/status'
  configure '.process.capabilities = {bounding: ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW", "CAP_FUTURE"], permitted: ["CAP_KILL", "CAP_CHOWN"],
    effective: ["CAP_KILL"], inheritable: ["CAP_KILL", "CAP_CHOWN"], ambient: ["CAP_KILL"]} | .process.user.uid = 5'
  within 60 wb-oci --log log --log-format json run --bundle "$bundle" one >out </dev/null
  jq -e 'select(.level == "warning") | .msg | contains("CAP_FUTURE")' log
  # CHOWN 0, KILL 5, NET_RAW 13; executed by somebody who is not root, what is ambient stays.
  [ "$(field CapBnd out)" = 0000000000002021 ]
  [ "$(field CapInh out)" = 0000000000000021 ]
  [ "$(field CapAmb out)" = 0000000000000020 ]
  [ "$(field CapEff out)" = 0000000000000020 ]
  configure 'del(.process.capabilities) | .process.user.uid = 0'
  run_it one >out
  [ "$(field CapBnd out)" = 0000000000000000 ]
}

@test "config.md, Linux process: noNewPrivileges, oomScoreAdj, scheduler, ioPriority" {
  script 'cat /proc/self/status; echo oom: $(cat /proc/self/oom_score_adj); echo policy: $(awk "{ print \$41 }" /proc/self/stat); echo nice: $(awk "{ print \$19 }" /proc/self/stat); ionice -p $$'
  configure '.process.noNewPrivileges = true | .process.oomScoreAdj = 321
    | .process.scheduler = {policy: "SCHED_BATCH", nice: 7} | .process.ioPriority = {class: "IOPRIO_CLASS_BE", priority: 6}'
  run_it one >out
  [ "$(field NoNewPrivs out)" = 1 ]
  grep -qx 'oom: 321' out
  grep -qx 'nice: 7' out
  grep -qx 'policy: 3' out
  grep -qx 'best-effort: prio 6' out
  configure '.process.noNewPrivileges = false | del(.process.scheduler, .process.ioPriority)'
  run_it one >out
  [ "$(field NoNewPrivs out)" = 0 ]
  configure '.process.oomScoreAdj = 1001'
  refused oomScoreAdj
  configure '.process.oomScoreAdj = 0 | .process.scheduler = {policy: "SCHED_NOSUCH"}'
  refused SCHED_NOSUCH
  configure '.process.scheduler = null | .process.ioPriority = {class: "IOPRIO_CLASS_NOSUCH"}'
  refused IOPRIO_CLASS_NOSUCH
}

@test "config.md, Linux process: labels of modules that the kernel lacks are errors" {
  script true
  grep -qw apparmor /sys/kernel/security/lsm 2>/dev/null || {
    configure '.process.apparmorProfile = "some"'
    refused AppArmor
  }
  configure 'del(.process.apparmorProfile)'
  grep -qw selinux /sys/kernel/security/lsm 2>/dev/null || {
    configure '.process.selinuxLabel = "system_u:system_r:container_t:s0"'
    refused SELinux
  }
}

@test "config.md, Hostname and Domainname" {
  script 'hostname; cat /proc/sys/kernel/domainname'
  configure '.hostname = "named" | .domainname = "example"'
  [ "$(run_it one)" = $'named\nexample' ]
  configure '.linux.namespaces |= map(select(.type != "uts"))'
  refused hostname
}

# A hook that writes its kind, the state it is told and its namespaces.
hook () {
  cat >"$WB_SCRATCH/hook" <<'END'
#!/bin/sh
state=$(cat)
echo "$1 $(echo "$state" | jq -r '[.status, .id, (.pid // 0 | tostring), .bundle] | join(" ")') $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) $A" >>"$LOG"
exit "${STATUS:-0}"
END
  chmod +x "$WB_SCRATCH/hook"
}
hooks () {
  configure '.hooks = ($kinds | split(" ") | map({key: ., value: [{path: $path, args: ["hook", .], env: ["LOG=" + $log, "PATH=/usr/bin:/bin", "A=b"]}]}) | from_entries)' \
    --arg kinds "$1" --arg path "$WB_SCRATCH/hook" --arg log "$WB_SCRATCH/hooks.log"
}

@test "config.md, POSIX-platform hooks: all six, in order, in their namespaces, told the state" {
  hook
  hooks 'prestart createRuntime createContainer poststart poststop'
  cp "$(command -v busybox)" "$bundle/rootfs/hook"
  configure '.hooks.startContainer = [{path: "/hook", args: ["sh", "-c", "cat >/out/startContainer"]}]
    | .mounts += [{destination: "/out", source: "out", options: ["bind"]}] | .process.args = ["sh", "-c", "sleep 300"] | .annotations = {"a": "b"}'
  mkdir "$bundle/out" "$bundle/rootfs/out"
  create one
  [ "$(cut -d' ' -f1 hooks.log | paste -sd' ')" = 'prestart createRuntime createContainer' ]
  [ ! -e "$bundle/out/startContainer" ]
  local pid own
  pid=$(pid_of one)
  own="$(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net)"
  wb-oci start one
  [ "$(jq -r '[.status, .id] | join(" ")' "$bundle/out/startContainer")" = 'created one' ]
  jq -e '.annotations == {"a": "b"}' "$bundle/out/startContainer"
  local inside
  inside="$(readlink "/proc/$pid/ns/mnt") $(readlink "/proc/$pid/ns/net")"
  wb-oci kill one KILL
  eventually 5 has_status one stopped
  wb-oci delete one
  diff hooks.log - <<END
prestart creating one $pid $bundle $own b
createRuntime creating one $pid $bundle $own b
createContainer creating one $pid $bundle $inside b
poststart running one $pid $bundle $own b
poststop stopped one 0 $bundle $own b
END
}

@test "config.md, POSIX-platform hooks: createRuntime stays outside where namespaces are joined by path" {
  hook
  hooks 'prestart createRuntime createContainer'
  ip netns add "wb-oci-$WB_MACHINE_HASH"
  configure '.linux.namespaces |= map(if .type == "network" then .path = "/run/netns/wb-oci-" + $hash else . end) | .process.args = ["readlink", "/proc/self/ns/net"]' \
    --arg hash "$WB_MACHINE_HASH"
  run_it one >out || { ip netns del "wb-oci-$WB_MACHINE_HASH"; false; }
  ip netns del "wb-oci-$WB_MACHINE_HASH"
  own=$(readlink /proc/self/ns/net)
  [ "$(awk '{ print $1, $7 }' hooks.log)" = "prestart $own"$'\n'"createRuntime $own"$'\n'"createContainer $(cat out)" ]
  [ "$(cat out)" != "$own" ]
}

@test "runtime.md, Lifecycle: a hook that fails before the start takes the container down, and poststop runs" {
  hook
  script true
  for kind in prestart createRuntime createContainer; do
    rm -f hooks.log
    hooks "$kind poststop"
    configure '.hooks[$kind][0].env += ["STATUS=3"]' --arg kind "$kind"
    must_fail 1 wb-oci create --bundle "$bundle" one
    [[ $stderr = *'exit status 3'* ]]
    [ "$(cut -d' ' -f1 hooks.log | paste -sd' ')" = "$kind poststop" ]
    must_fail 1 wb-oci state one
    [ -z "$(wb_cgroups)" ]
  done
}

# Step 12 of the life cycle is the deletion, 13 the poststop hooks: neither a state nor a process nor a cgroup is left.
is_deleted () {
  must_fail 1 wb-oci state "$1"
  [[ $stderr = *'container does not exist'* ]]
  [ -z "$(wb_cgroups)" ]
  [ ! -e "/proc/$2" ] || [ "$(awk '$1 == "State:" { print $2 }' "/proc/$2/status")" = Z ]
}

@test "runtime.md, Lifecycle: startContainer and poststart that fail stop it and delete it; poststop that fails is a warning" {
  hook
  script 'echo ran >/out/ran; sleep 300'
  hooks poststop
  configure '.mounts += [{destination: "/out", source: "out", options: ["bind"]}] | .hooks.startContainer = [{path: "/bin/false"}]'
  mkdir "$bundle/out" "$bundle/rootfs/out"
  create one
  local pid
  pid=$(pid_of one)
  must_fail 1 wb-oci start one
  [[ $stderr = *'hook /bin/false'* ]]
  [ ! -e "$bundle/out/ran" ]
  is_deleted one "$pid"
  [ "$(cut -d' ' -f1-2 hooks.log)" = 'poststop stopped' ]
  # The same where it is made and started at once.
  must_fail 1 run_it one
  is_deleted one "$pid"
  rm hooks.log
  configure 'del(.hooks)'
  hooks 'poststart poststop'
  configure '.hooks.poststart[0].env += ["STATUS=4"] | .hooks.poststop = [.hooks.poststop[0] * {env: (.hooks.poststop[0].env + ["STATUS=5"])}, .hooks.poststop[0]]'
  create one
  pid=$(pid_of one)
  must_fail 1 wb-oci --log log --log-format json start one
  [[ $stderr = *'exit status 4'* ]]
  is_deleted one "$pid"
  jq -es 'map(select(.level == "warning").msg | contains("exit status 5")) | any' log
  [ "$(cut -d' ' -f1 hooks.log | paste -sd' ')" = 'poststart poststop poststop' ]
}

@test "config.md, POSIX-platform hooks: timeouts hold; paths are absolute" {
  script true
  configure '.hooks = {createRuntime: [{path: "/bin/sleep", args: ["sleep", "60"], timeout: 1}]}'
  refused 'killed after 1 seconds'
  configure '.hooks.createRuntime[0].timeout = 0'
  refused timeout
  configure '.hooks.createRuntime[0] = {path: "bin/true"}'
  refused 'not absolute'
}

@test "config-linux.md, Default filesystems and Dev symbolic links and Default Devices" {
  script 'for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; for d in null zero full random urandom tty; do stat -c "%n %F %t:%T %a" /dev/$d; done
    head -c 4 /dev/zero | wc -c; echo x >/dev/null; head -c 1 /dev/urandom | wc -c; awk "\$5 ~ /^\/(proc|sys|dev\/pts|dev\/shm)\$/" /proc/self/mountinfo | wc -l'
  run_it one >out
  diff out - <<'END'
/proc/self/fd
/proc/self/fd/0
/proc/self/fd/1
/proc/self/fd/2
pts/ptmx
/dev/null character special file 1:3 666
/dev/zero character special file 1:5 666
/dev/full character special file 1:7 666
/dev/random character special file 1:8 666
/dev/urandom character special file 1:9 666
/dev/tty character special file 5:0 666
4
1
4
END
}

@test "config-linux.md, Namespaces: new, the runtime's own, and joined by path; the wrong kind is refused" {
  script 'for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; sleep 300'
  configure '.linux.namespaces |= map(select(.type != "network"))'
  create one
  local pid n
  pid=$(pid_of one)
  for n in pid ipc uts mnt cgroup; do
    [ "$(readlink "/proc/$pid/ns/$n")" != "$(readlink /proc/self/ns/$n)" ]
  done
  [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ]
  script 'for n in pid ipc uts; do readlink /proc/self/ns/$n; done'
  configure 'del(.hostname) | .linux.namespaces = [{type: "mount"}, {type: "pid", path: ("/proc/" + $pid + "/ns/pid")},
    {type: "ipc", path: ("/proc/" + $pid + "/ns/ipc")}, {type: "uts", path: ("/proc/" + $pid + "/ns/uts")}]' --arg pid "$pid"
  [ "$(run_it two)" = "$(for n in pid ipc uts; do readlink "/proc/$pid/ns/$n"; done)" ]
  configure '.linux.namespaces[1].path = ("/proc/" + $pid + "/ns/uts")' --arg pid "$pid"
  must_fail 1 run_it two
  [[ $stderr = *'pid namespace'* ]]
  configure '.linux.namespaces[1].path = "/nosuch"'
  must_fail 1 run_it two
  for bad in '[{"type": "mount"}, {"type": "nosuch"}]' '[{"type": "mount"}, {"type": "pid"}, {"type": "pid"}]' \
    '[{"type": "mount"}, {"type": "pid", "path": "relative"}]' '[{"type": "pid"}]'; do
    configure '.linux.namespaces = $bad' --argjson bad "$bad"
    must_fail 1 run_it two
    [[ $stderr = *linux.namespaces* ]]
  done
  [ "$(wb-oci list -q)" = one ]
}

# As with runc, which is asked in the same breath: the root of the namespace becomes the container's.
@test "config-linux.md, Namespaces: a mount namespace joined by path; the runtime's own is refused" {
  require_program runc
  script 'readlink /proc/self/ns/mnt; ls /'
  local runtime holder
  for runtime in runc wb; do
    unshare --mount --propagation private sleep 300 3>&- &
    holder=$!
    is_apart () { [ "$(readlink "/proc/$holder/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ]; }
    eventually 5 is_apart
    configure '.linux.namespaces |= map(if .type == "mount" then .path = ("/proc/" + $pid + "/ns/mnt") else . end)' --arg pid "$holder"
    case $runtime in
    runc) within 30 runc --root "$WB_SCRATCH/runc" run --bundle "$bundle" "wb-$WB_MACHINE_HASH" >"out.$runtime" 3>&- </dev/null ;;
    wb) run_it one >"out.$runtime" ;;
    esac
    [ "$(head -n 1 "out.$runtime")" = "$(readlink "/proc/$holder/ns/mnt")" ]
    # Whoever lives in it has the container's root, and no more.
    ls "/proc/$holder/root" >"root.$runtime"
    kill $holder
    wait $holder || true
  done
  diff <(tail -n +2 out.runc) <(tail -n +2 out.wb)
  diff root.runc root.wb
  diff root.wb <(tail -n +2 out.wb)
  # Nothing of it came to the host.
  ! grep -F "$bundle" /proc/self/mountinfo || false
  # The caller's own is not taken; a namespace in between, lest this fails at the host's cost.
  configure '.linux.namespaces |= map(if .type == "mount" then .path = "/proc/self/ns/mnt" else . end)'
  must_fail 1 within 30 unshare --mount wb-oci run --bundle "$bundle" one </dev/null 3>&-
  [[ $stderr = *'linux.namespaces: without a mount namespace of its own'* ]]
  # Shared because it is not named: runc refuses it for the masks, which would be the host's.
  configure '.linux.namespaces |= map(select(.type != "mount"))'
  refused 'linux.namespaces: without a mount namespace of its own'
  must_fail 1 within 30 runc --root "$WB_SCRATCH/runc" run --bundle "$bundle" "wb-$WB_MACHINE_HASH"
  [[ $stderr = *'private MNT namespace'* ]]
}

@test "config-linux.md, User namespace mappings" {
  chown -R 100000:100000 "$bundle/rootfs"
  script 'id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /mine && stat -c %u /mine'
  configure '.root.readonly = false | .linux.namespaces += [{type: "user"}] | .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}]
    | .linux.gidMappings = .linux.uidMappings'
  run_it one | tr -s ' ' >out
  diff out - <<'END'
0
 0 100000 65536
 0 100000 65536
0
END
  [ "$(stat -c %u "$bundle/rootfs/mine")" = 100000 ]
  # Another one joins it by its path, and is root there.
  script 'sleep 300'
  create one
  script 'id -u; readlink /proc/self/ns/user; touch /other'
  configure '.linux.namespaces |= map(if .type == "user" then .path = ("/proc/" + $pid + "/ns/user") else . end) | del(.linux.uidMappings, .linux.gidMappings)' \
    --arg pid "$(pid_of one)"
  [ "$(run_it two)" = "0"$'\n'"$(readlink "/proc/$(pid_of one)/ns/user")" ]
  [ "$(stat -c %u "$bundle/rootfs/other")" = 100000 ]
  wb-oci start one
  [ "$(wb-oci exec one id -u)" = 0 ]
  wb-oci delete --force one
  configure '.linux.namespaces |= map(select(.type != "user")) | .linux.uidMappings = [{containerID: 0, hostID: 1, size: 1}]'
  refused 'need a user namespace'
  configure '.linux.namespaces += [{type: "user"}] | .linux.gidMappings = []'
  refused 'needs linux.uidMappings'
}

@test "config-linux.md, Offset for Time Namespace" {
  require_hardware 'test -e /proc/self/ns/time' 'a kernel with time namespaces'
  script 'cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime'
  configure '.linux.namespaces += [{type: "time"}] | .linux.timeOffsets = {boottime: {secs: 1000000, nanosecs: 5}, monotonic: {secs: 7}}'
  run_it one | tr -s ' ' >out
  grep -qE '^boottime 1000000 5$' out
  grep -qE '^monotonic 7 0$' out
  [ "$(tail -n 1 out)" -gt 1000000 ]
  configure '.linux.namespaces |= map(select(.type != "time"))'
  refused timeOffsets
}

@test "config-linux.md, Devices: made with their owner and mode; a second one at a path is refused" {
  script 'stat -c "%n %F %t:%T %a %u:%g" /dev/one /dev/below/two'
  configure '.linux.devices = [{path: "/dev/one", type: "c", major: 1, minor: 3, fileMode: 416, uid: 7, gid: 8}, {path: "/dev/below/two", type: "p"}]'
  [ "$(run_it one)" = $'/dev/one character special file 1:3 640 7:8\n/dev/below/two fifo 0:0 666 0:0' ]
  configure '.linux.devices += [{path: "/dev/one", type: "b", major: 1, minor: 3}]'
  refused twice
  configure '.linux.devices = [{path: "/dev/x", type: "x"}]'
  refused type
  configure '.linux.devices = [{path: "/dev/null", type: "b", major: 9, minor: 9}]'
  refused /dev/null
  configure '.linux.devices = [{path: "/dev/x", type: "c", major: 1}]'
  refused 'major and minor are missing'
}

@test "config-linux.md, Cgroups Path: absolute, relative, none; systemd's form only by name" {
  has_v1 || skip "hardware: cgroup v1"
  script 'sleep 300'
  configure '.linux.cgroupsPath = $path' --arg path "/wb-$WB_MACHINE_HASH/some/where"
  create one
  [ "$(awk -F: '$2 == "memory" { print $3 }' "/proc/$(pid_of one)/cgroup")" = "/wb-$WB_MACHINE_HASH/some/where" ]
  wb-oci delete --force one
  [ ! -e "/sys/fs/cgroup/memory/wb-$WB_MACHINE_HASH/some/where" ]
  rmdir /sys/fs/cgroup/*/"wb-$WB_MACHINE_HASH/some" 2>/dev/null || true
  configure '.linux.cgroupsPath = "relative"'
  create one
  create_again () { create "$1" && awk -F: '$2 == "memory" { print $3 }' "/proc/$(pid_of "$1")/cgroup"; }
  [[ $(awk -F: '$2 == "memory" { print $3 }' "/proc/$(pid_of one)/cgroup") = */relative ]]
  wb-oci delete --force one
  configure '.linux.cgroupsPath = "../x"'
  refused cgroupsPath
  configure '.linux.cgroupsPath = "test-a.slice:prefix:name"'
  must_fail 1 wb-oci --systemd-cgroup run --bundle "$bundle" one
  [[ $stderr = *'--systemd-cgroup: /test.slice/test-a.slice/prefix-name.scope is for systemd to make, which '*' here'* ]]
  configure '.linux.cgroupsPath = "/no/slice"'
  must_fail 1 wb-oci --systemd-cgroup run --bundle "$bundle" one
  [[ $stderr = *'not of the form slice:prefix:name'* ]]
  [ -z "$(wb-oci list -q)" ]
}

@test "config-linux.md, Control groups: devices, memory, cpu, block I/O, pids, network of v1" {
  has_v1 || skip "hardware: cgroup v1"
  script 'sleep 300'
  configure '.linux.resources = {devices: [{allow: false, access: "rwm"}, {allow: true, type: "c", major: 10, minor: 200, access: "rw"}],
    memory: {limit: 67108864, reservation: 33554432, swappiness: 5, disableOOMKiller: false},
    cpu: {shares: 512, quota: 20000, period: 50000, cpus: "0", mems: "0"}, pids: {limit: 44}}'
  create one
  local id group
  group=$(awk -F: '$2 == "memory" { print $3 }' "/proc/$(pid_of one)/cgroup")
  value () { cat "/sys/fs/cgroup/${1%%.*}$group/$1"; }
  [ "$(value memory.limit_in_bytes)" = 67108864 ]
  [ "$(value memory.soft_limit_in_bytes)" = 33554432 ]
  [ "$(value memory.swappiness)" = 5 ]
  [ "$(value cpu.shares) $(value cpu.cfs_quota_us) $(value cpu.cfs_period_us)" = '512 20000 50000' ]
  [ "$(value cpuset.cpus) $(value cpuset.mems)" = '0 0' ]
  [ "$(value pids.max)" = 44 ]
  value devices.list | grep -qx 'c 10:200 rw'
  # The default devices are there whatever is refused.
  value devices.list | grep -qx 'c 1:3 rwm'
  [ "$(value devices.list | grep -c '^a')" = 0 ]
  wb-oci delete --force one
  configure '.linux.resources = {unified: {"memory.high": "1"}}'
  refused unified
  configure '.linux.resources = {cpu: {cpus: "99999"}}'
  refused cpuset
}

@test "config-linux.md, Control groups: what has to name one of two, or keep to a range, is refused where it does not" {
  script true
  local bad
  for bad in '{"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}' '{"rdma": {"mlx5_1": {}}}' '{"memory": {"swappiness": 101}}'; do
    configure '.linux.resources = $bad' --argjson bad "$bad"
    refused 'config.json: linux.resources.'
  done
}

@test "config-linux.md, Mount Label: an error where the kernel has no SELinux, as with runc" {
  require_hardware 'sh -c "! grep -q selinux /sys/kernel/security/lsm"' 'a kernel without SELinux'
  require_program runc
  script true
  configure '.linux.mountLabel = "system_u:object_r:container_file_t:s0:c1,c2"'
  refused context
  must_fail 1 within 30 runc --root "$WB_SCRATCH/runc" run --bundle "$bundle" "wb-$WB_MACHINE_HASH"
  configure '.linux.mountLabel = ""'
  run_it one
}

@test "config-linux.md, Sysctl, Masked Paths, Readonly Paths" {
  script 'cat /proc/sys/net/ipv4/ip_default_ttl; cat /proc/keys | wc -c; ls -A /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/panic'
  configure '.linux.sysctl = {"net.ipv4.ip_default_ttl": "77"} | .linux.maskedPaths += ["/nosuch"] | .linux.readonlyPaths += ["/nosuch"]'
  must_fail 1 run_it one
  [ "$output" = $'77\n0\n0' ]
  [[ $stderr = *'Read-only file system'* ]]
  configure '.linux.sysctl = {"kernel.panic": "5"}'
  refused kernel.panic
  configure '.linux.sysctl = {} | .linux.maskedPaths = ["relative"]'
  refused maskedPaths
}

@test "config-linux.md, Rootfs Mount Propagation and Personality" {
  script "awk '\$5 == \"/\" { print \$7 }' /proc/self/mountinfo; uname -m"
  configure '.linux.rootfsPropagation = "rshared" | .linux.personality = {domain: "LINUX32"}'
  run_it one >out
  grep -q '^shared:' out
  [ "$(uname -m)" != x86_64 ] || grep -qx i686 out
  configure '.linux.rootfsPropagation = "rprivate" | del(.linux.personality)'
  [ "$(run_it one | head -n 1)" = - ]
  configure '.linux.rootfsPropagation = "both"'
  refused rootfsPropagation
  configure '.linux.rootfsPropagation = "" | .linux.personality = {domain: "BSD"}'
  refused personality
}

@test "config-linux.md, IntelRdt, Memory policy and Net devices: not done, not ignored, and not in features" {
  script true
  configure '.linux.intelRdt = {closID: "x"}'
  refused intelRdt
  configure 'del(.linux.intelRdt) | .linux.memoryPolicy = {mode: "MPOL_BIND", nodes: "0"}'
  refused memoryPolicy
  configure 'del(.linux.memoryPolicy) | .linux.netDevices = {"lo": {}}'
  refused netDevices
  # What is refused is not promised.
  [ "$(wb-oci features | jq -c '[.linux.intelRdt.enabled, .linux.memoryPolicy, .linux.netDevices.enabled, .linux.cgroup.systemd]')" = '[false,{},false,false]' ]
}

@test "config-linux.md, Seccomp: default action, errno, arguments, architectures; nonsense is refused" {
  # x86's prctl and uname are in every program's reach.
  script 'mkdir /tmp/x; hostname other; echo $?; cat /proc/self/status'
  configure '.root.readonly = false | .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"], flags: ["SECCOMP_FILTER_FLAG_LOG"],
    syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 95}]}'
  run_it one >out 2>err
  grep -qi 'not supported' err
  [ "$(field Seccomp out)" = 2 ]
  [ ! -e "$bundle/rootfs/tmp/x" ]
  configure '.linux.seccomp.syscalls[0] |= (.action = "SCMP_ACT_KILL_PROCESS" | del(.errnoRet))'
  script 'mkdir /tmp/x; echo $?'
  [ "$(run_it one 2>/dev/null)" = 159 ]
  configure '.linux.seccomp.syscalls = [{names: ["kill"], action: "SCMP_ACT_ERRNO", errnoRet: 1, args: [{index: 1, value: 10, op: "SCMP_CMP_EQ"}]}]'
  script 'trap : USR2; kill -USR1 $$ 2>/dev/null; echo $?; kill -USR2 $$; echo $?'
  [ "$(run_it one)" = $'1\n0' ]
  for bad in '{"defaultAction": "SCMP_ACT_NOSUCH"}' '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}' \
    '{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NOSUCH"]}' \
    '{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/nosuch"}' \
    '{"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}' \
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}'; do
    configure '.linux.seccomp = $bad' --argjson bad "$bad"
    refused seccomp
  done
}

@test "config-linux.md, Seccomp: SCMP_ACT_NOTIFY, the listener sent with the state" {
  cat >agent.py <<'END'
import array, fcntl, json, os, socket, struct, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind('agent.sock')
server.listen()
for turn in range(int(sys.argv[1])):
    connection, _ = server.accept()
    message, control, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
    with open('state', 'wb') as file:
        file.write(message)
    listener = array.array('i', control[0][2])[0]
    notification = bytearray(80)
    fcntl.ioctl(listener, 0xC0502100, notification)
    identity, pid = struct.unpack_from('QI', notification)
    with open('asked', 'w') as file:
        file.write(str(pid))
    # The caller is told that it has been done.
    fcntl.ioctl(listener, 0xC0182101, bytearray(struct.pack('Qqii', identity, 0, 0, 0)))
END
  python3 agent.py 2 2>agent.err &
  local agent=$!
  eventually 10 test -S agent.sock
  script 'mkdir /tmp/x && echo made; ls /tmp; sleep 300'
  configure '.root.readonly = false | .annotations = {"a": "b"} | .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", listenerPath: $path, listenerMetadata: "words",
    syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_NOTIFY"}]}' --arg path "$WB_SCRATCH/agent.sock"
  create one
  wb-oci start one
  eventually 10 test -s asked
  [ "$(jq -c '[.fds, .pid, .metadata, .state.id, .state.pid, .state.bundle, .state.annotations]' state)" = \
    "[[\"seccompFd\"],$(pid_of one),\"words\",\"one\",$(pid_of one),\"$bundle\",{\"a\":\"b\"}]" ]
  eventually 10 grep -q made create.out
  [ ! -e "$bundle/rootfs/tmp/x" ]
  # A program more in the container has a listener of its own.
  [ "$(within 30 wb-oci exec one sh -c 'mkdir /tmp/y && echo told')" = told ]
  [ ! -e "$bundle/rootfs/tmp/y" ]
  wait $agent
  wb-oci delete --force one
  must_fail 1 run_it two
  [[ $stderr = *listenerPath* ]]
}

# strace stops the helper at its one sendmsg(2), while the process with the filter waits for it without a system call.
@test "config-linux.md, Seccomp: who hands the listener over is killed: an error, and nobody spins" {
  python3 -c 'import socket, time
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind("agent.sock")
server.listen()
time.sleep(600)' 3>&- &
  local agent=$! pid helper tracer starter status=0
  eventually 10 test -S agent.sock
  script 'sleep 300'
  configure '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", listenerPath: $path, syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_NOTIFY"}]}' \
    --arg path "$WB_SCRATCH/agent.sock"
  create one
  pid=$(pid_of one)
  strace -f -qq -o trace -e trace=sendmsg -e inject=sendmsg:signal=STOP -p "$pid" 3>&- &
  tracer=$!
  is_traced () { [ "$(field TracerPid "/proc/$pid/status")" = "$tracer" ]; }
  eventually 10 is_traced
  wb-oci start one >start.out 2>start.err 3>&- </dev/null &
  starter=$!
  is_filtered () { [ "$(field Seccomp "/proc/$pid/status")" = 2 ]; }
  eventually 10 is_filtered
  helper=$(cat "/proc/$pid/task/$pid/children")
  is_stopped () { [[ $(field State "/proc/${helper% }/status") = [tT]* ]]; }
  eventually 10 is_stopped
  # It is waited for, which nothing but this process's own time shows.
  kill -0 $starter
  kill -KILL "${helper% }"
  ended () { ! kill -0 $starter 2>/dev/null; }
  eventually 20 ended
  wait $starter || status=$?
  kill $agent
  kill $tracer 2>/dev/null || true
  wait $agent $tracer || true
  [ "$status" = 1 ]
  [ "$(cat start.err)" = 'wb-oci: start: wb-confine: linux.seccomp: who hands the listener over has been killed' ]
  is_deleted one "$pid"
}

@test "runtime.md, Errors: what fails late leaves nothing behind" {
  script true
  for bad in '.linux.sysctl = {"net.ipv4.nosuch": "1"}' '.linux.resources = {cpu: {quota: 1}}' '.process.cwd = "/proc/self/fd/3"' \
    '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_NOSUCH"]}'; do
    cp "$bundle/config.json" keep
    configure "$bad"
    refused ''
    cp keep "$bundle/config.json"
  done
  run_it good
}
