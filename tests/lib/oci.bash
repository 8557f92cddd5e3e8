# Bundles for wb-oci: a busybox root and a configuration.
#
#   oci_bundle             makes $bundle, with what `wb-oci spec` writes but for the terminal
#   configure JQ [ARG…]    changes its config.json
#   run_it [ARG…]          `wb-oci run` of it
#   create ID [ARG…]       `wb-oci create` of it, with nothing of the test's streams in the container
#   status_of ID           its status

oci_bundle () {
  local tar
  tar=$(busybox_tar) || return
  bundle=$WB_SCRATCH/bundle
  mkdir -p "$bundle/rootfs" || return
  tar -C "$bundle/rootfs" -xf "$tar" || return
  wb-oci spec --bundle "$bundle" || return
  configure '.process.terminal = false'
}

configure () {
  local program=$1
  shift
  jq "$@" "$program" "$bundle/config.json" >"$bundle/config.new" && mv "$bundle/config.new" "$bundle/config.json"
}

run_it () { within 60 wb-oci run --bundle "$bundle" "$@" 3>&- </dev/null; }

create () {
  within 60 wb-oci create --bundle "$bundle" "$@" >"$WB_SCRATCH/create.out" 2>&1 3>&- </dev/null || {
    local status=$?
    cat "$WB_SCRATCH/create.out" >&2
    return "$status"
  }
}

status_of () { wb-oci state "$1" | jq -r .status; }
has_status () { [ "$(status_of "$1")" = "$2" ]; }
pid_of () { wb-oci state "$1" | jq .pid; }

# Kills and deletes whatever a test has left.
oci_clean () {
  local id
  for id in $(wb-oci list -q 2>/dev/null); do wb-oci delete --force "$id" || true; done
}
