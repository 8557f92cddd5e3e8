# The engines and runtimes that wb is compared with, each in a place of its own; for tests/bench/run.
# shellcheck disable=SC2154 # work is the caller's

podman_limits='--ulimit nofile=1024:1024 --ulimit nproc=1024:1024'

# has PROGRAM: it is here (and its daemon runs).
has () {
  case " $missing " in *" $1 "*) return 1 ;; esac
  command -v "$1" >/dev/null
}

bench_prepare () {
  local program
  missing=
  for program in docker dockerd podman crun runc skopeo docker-registry; do
    command -v "$program" >/dev/null || {
      echo "missing: $program" >&2
      missing="$missing $program"
    }
  done
  wrappers/starter-image "$work/busybox.tar"
  wb-image import "$work/busybox.tar" busybox >/dev/null
  bench_bundles
  # The engines' bridges and rules live and die in this namespace; the machine's own never sees them.
  netns=wb-bench-$$
  ip netns add "$netns"
  ip -n "$netns" link set lo up
  in_netns="nsenter --net=/run/netns/$netns"
  bench_docker
  bench_podman
}

# The root file system as it is, for the runtimes.
bench_bundles () {
  local spec=runc kind
  command -v runc >/dev/null || spec=crun
  command -v "$spec" >/dev/null || return 0
  mkdir -p "$work/bundle/rootfs" "$work/bundle-sleep"
  tar -C "$work/bundle/rootfs" -xf "$work/busybox.tar"
  ln -s ../bundle/rootfs "$work/bundle-sleep/rootfs"
  (cd "$work/bundle" && "$spec" spec)
  for kind in bundle:true bundle-sleep:sleep; do
    jq --arg root "$work/bundle/rootfs" --arg command "${kind#*:}" '
      .process.terminal = false | .root = {path: $root, readonly: false}
      | .process.args = (if $command == "sleep" then ["sleep", "3600"] else ["true"] end)' \
      "$work/bundle/config.json" >"$work/config.${kind%:*}"
  done
  mv "$work/config.bundle" "$work/bundle/config.json"
  mv "$work/config.bundle-sleep" "$work/bundle-sleep/config.json"
}

bench_docker () {
  docker="docker -H unix://$work/docker.sock"
  if ! has dockerd; then missing="$missing docker"; fi
  has docker || return 0
  $in_netns dockerd --data-root "$work/docker" --exec-root "$work/docker-exec" -p "$work/docker.pid" \
    -H "unix://$work/docker.sock" --insecure-registry 127.0.0.0/8 >"$work/dockerd.log" 2>&1 </dev/null &
  dockerd_pid=$!
  local tries=100
  until $docker version >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ] || ! kill -0 "$dockerd_pid" 2>/dev/null; then
      echo "missing: docker (its daemon does not start: $(tail -n 1 "$work/dockerd.log"))" >&2
      missing="$missing docker"
      return 0
    fi
    sleep 0.2
  done
  $docker import "$work/busybox.tar" bench >/dev/null
}

bench_podman () {
  podman="$in_netns podman --root $work/podman --runroot $work/podman-run --cgroup-manager cgroupfs"
  podman="$podman --network-config-dir $work/podman-net --tmpdir $work/podman-tmp"
  has podman || return 0
  mkdir -p "$work/podman-net"
  # shellcheck disable=SC2086 # words
  if ! $podman import -q "$work/busybox.tar" bench >/dev/null 2>"$work/podman.err" ||
    ! $podman run $podman_limits --rm bench true 2>"$work/podman.err"; then
    echo "missing: podman (it does not run here: $(tail -n 1 "$work/podman.err"))" >&2
    missing="$missing podman"
  fi
}

bench_registry () {
  local in
  REGISTRY=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  printf '%s\n' 'version: 0.1' 'log: {level: error}' "storage: {filesystem: {rootdirectory: $work/registry}}" \
    "http: {addr: $REGISTRY}" >"$work/registry.yml"
  for in in '' "$in_netns"; do
    # shellcheck disable=SC2086 # words
    $in docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 </dev/null &
    registry_pids="${registry_pids:-} $!"
  done
  sleep 2
}

# bench_image LAYOUT: five layers of about 80 MB each of what this machine has in /usr, compressed as docker does.
bench_image () {
  # shellcheck source=tests/lib/layer.bash
  . tests/lib/layer.bash
  local n layers=()
  layout_new "$1"
  find /usr -xdev -path /usr/local -prune -o -path /usr/src -prune -o \( -type f -size -8M -o -type l \) -printf '%s\t%P\n' |
    sort -k 2 | awk -F'\t' -v list="$work/list." '{ sum += $1; n = int(sum / 85000000) + 1; if (n <= 5) print $2 > (list n) }'
  for n in 1 2 3 4 5; do
    [ -s "$work/list.$n" ] || continue
    tar --create --format=pax --numeric-owner --hard-dereference -C /usr -T "$work/list.$n" -f "$work/$n.tar"
    layers+=("$(layout_add "$1" "$work/$n.tar")")
    rm "$work/$n.tar"
  done
  layout_tag "$1" bench '{"Cmd":["true"]}' "${layers[@]}"
}

# private_memory COMM: KiB that only this process has, of the first process so named below this bench.
private_memory () {
  local pid
  for pid in $(pgrep -f "$1"); do
    grep -qs "$work" "/proc/$pid/environ" "/proc/$pid/cmdline" || continue
    awk '/^Private_/ { sum += $2 } END { print sum + 0 }' "/proc/$pid/smaps_rollup"
    return
  done
}

stop_sleepers () {
  wb rm -f bench >/dev/null 2>&1 || true
  if has crun; then crun --root "$work/crun" delete -f sleeper 2>/dev/null || true; fi
  if has runc; then runc --root "$work/runc" delete -f sleeper 2>/dev/null || true; fi
  if has docker; then $docker rm -f sleeper >/dev/null 2>&1 || true; fi
  if has podman; then $podman rm -f -t 0 sleeper >/dev/null 2>&1 || true; fi
}

bench_clean () {
  set +e
  trap - EXIT
  stop_sleepers
  local name path
  for name in $(wb ps -aq 2>/dev/null); do wb rm -f "$name" >/dev/null 2>&1; done
  for path in "$WB_ROOT"/networks/*.conflist; do
    [ ! -e "$path" ] || wb-netns -n network rm --network "$(basename "$path" .conflist)" >/dev/null
  done
  # shellcheck disable=SC2086 # words
  if [ -n "${registry_pids:-}" ]; then kill $registry_pids 2>/dev/null; fi
  if [ -n "${dockerd_pid:-}" ]; then
    kill "$(cat "$work/docker.pid" 2>/dev/null || echo "$dockerd_pid")" 2>/dev/null
    wait "$dockerd_pid" 2>/dev/null
  fi
  if has podman; then $podman rm -fa -t 0 >/dev/null 2>&1; fi
  if [ -n "${netns:-}" ]; then ip netns del "$netns"; fi
  cut -d' ' -f5 /proc/self/mountinfo | grep -F "$work" | sort -r | xargs -r -n 1 umount -l
  for path in docker-exec podman; do rmdir "/sys/fs/cgroup/"*/"$path" 2>/dev/null; done
  rm -rf --one-file-system "$work"
}
