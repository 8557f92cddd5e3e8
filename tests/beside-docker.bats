#!/usr/bin/env bats
# The same image under docker and under wb: what a container has and sees. Every difference is explained in
# SECURITY.md, in the table of the section "Beside docker", whose first column holds the patterns.

load lib/common

setup () {
  wb_setup
  dockerd_pid=''
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
  mkdir docker && echo '{}' >docker/config.json
}
teardown () {
  if [ -n "$dockerd_pid" ]; then
    kill "$(cat docker.pid 2>/dev/null || echo "$dockerd_pid")" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
  fi
  cut -d' ' -f5 /proc/self/mountinfo | grep -F "$WB_SCRATCH/" | sort -r | xargs -r -n 1 umount -l
  for path in /sys/fs/cgroup/{,*/}"test-$WB_MACHINE_HASH"; do rmdir "$path" 2>/dev/null || true; done
  wb_teardown
}

# A docker of this test alone, without a bridge and without rules.
start_docker () {
  require_program dockerd docker
  docker=(docker -H "unix://$WB_SCRATCH/docker.sock")
  env -u WB_ROOT -u WB_RUN dockerd --data-root "$WB_SCRATCH/docker.d" --exec-root "$WB_SCRATCH/docker.x" \
    -p "$WB_SCRATCH/docker.pid" -H "unix://$WB_SCRATCH/docker.sock" --bridge none --iptables=false \
    --ip-forward=false --ip-masq=false >docker.log 2>&1 3>&- </dev/null &
  dockerd_pid=$!
  eventually 30 "${docker[@]}" version >/dev/null 2>&1 || {
    tail docker.log >&2
    return 1
  }
}

# What posture.sh said, with namespaces told apart from the host's alone.
told () {
  local sed='' kind
  for kind in cgroup ipc mnt net pid time user uts; do
    sed="$sed;s/^namespace $kind $(readlink "/proc/self/ns/$kind" | sed 's/[][]/\\&/g')\$/namespace $kind the-hosts/"
  done
  sed "$sed;s/^\(namespace [a-z]*\) [a-z]*:.*/\1 own/" | sort
}

@test "a container has and sees what docker's has, but for what SECURITY.md explains" {
  start_docker
  tar=$(busybox_tar)
  "${docker[@]}" import "$tar" busybox >/dev/null
  make_busybox_image
  cp "$WB_CHECKOUT/tests/lib/posture.sh" .
  within 60 "${docker[@]}" run --rm --network none --cgroup-parent "/test-$WB_MACHINE_HASH" \
    -v "$PWD/posture.sh:/posture:ro" busybox sh /posture >docker.raw
  within 60 wb run --rm --net none -v "$PWD/posture.sh:/posture:ro" busybox sh /posture >wb.raw
  told <docker.raw >docker.told
  told <wb.raw >wb.told
  # Both have looked at everything.
  for kind in process limit namespace mount writable device descriptor environment sysctl; do
    grep -q "^$kind " docker.told
    grep -q "^$kind " wb.told
  done
  diff docker.told wb.told | grep '^[<>]' >differences || true
  sed 's/^/# /' differences >&3
  sed -n '/^## Beside docker/,/^## /s/^| `\([^`]*\)` |.*/\1/p' "$WB_CHECKOUT/SECURITY.md" >patterns
  [ -s patterns ]
  unexplained=0
  while read -r line; do
    explained=
    while read -r pattern; do
      # shellcheck disable=SC2254 # it is a pattern
      case $line in $pattern) explained=1 ;; esac
    done <patterns
    [ -n "$explained" ] || {
      echo "not in SECURITY.md: $line" >&2
      unexplained=$((unexplained + 1))
    }
  done <differences
  [ "$unexplained" -eq 0 ]
  # Nothing of the other side's list may be missing here: no capability, no filter, no mask.
  must_fail 1 grep -E '^> (process Cap|process Seccomp|shown|writable /proc/sys|node|opens|descriptor|environment)' differences
}
