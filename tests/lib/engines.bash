# docker and podman for a test, each in a place of its own below the scratch directory.
#
#   engines_setup   in setup, after wb_setup
#   stop_engines    in teardown, before wb_teardown
#   start_docker    a daemon; its client, with the arguments it needs, is "${docker[@]}"
#   use_podman      "${podman[@]}"

engines_setup () {
  dockerd_pid=''
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
  mkdir docker && echo '{}' >docker/config.json
}

# A docker of this test alone, without a bridge and rules: its containers have no network.
start_docker () {
  require_program dockerd docker
  docker=(docker -H "unix://$WB_SCRATCH/docker.sock")
  env -u WB_ROOT -u WB_RUN dockerd --data-root "$WB_SCRATCH/docker.d" --exec-root "$WB_SCRATCH/docker.x" -p "$WB_SCRATCH/docker.pid" \
    -H "unix://$WB_SCRATCH/docker.sock" --bridge none --iptables=false --ip-forward=false --ip-masq=false \
    --insecure-registry 127.0.0.0/8 >docker.log 2>&1 3>&- </dev/null &
  dockerd_pid=$!
  eventually 30 "${docker[@]}" version >/dev/null 2>&1 || {
    tail docker.log >&2
    return 1
  }
}

use_podman () {
  require_program podman
  podman=(podman --root "$WB_SCRATCH/podman" --runroot "$WB_SCRATCH/podman-run" --tmpdir "$WB_SCRATCH/podman-tmp"
    --cgroup-manager cgroupfs --storage-driver vfs)
}

stop_engines () {

  if [ -n "$dockerd_pid" ]; then
    "${docker[@]}" ps -aq 2>/dev/null | xargs -r "${docker[@]}" rm -f >/dev/null 2>&1 || true
    kill "$(cat docker.pid 2>/dev/null || echo "$dockerd_pid")" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
  fi
  if [ -n "${podman:-}" ]; then "${podman[@]}" rm -fa -t 0 >/dev/null 2>&1 || true; fi
  cut -d' ' -f5 /proc/self/mountinfo | grep -F "$WB_SCRATCH/" | sort -r | xargs -r -n 1 umount -l
}
