# A registry that misbehaves (registry.py), for the tests that pull from one.

# hostile_registry DIR [FLAG…]: starts one with its files in DIR, and says where it listens in $registry_port and,
# for somebody else's host, in $other_port.
hostile_registry () {
  local dir=$1 tries=$((200 * ${WB_TEST_SLOW:-1}))
  shift
  mkdir -p "$dir"
  # It outlives what runs now: it must not keep bats waiting, nor be taken for a process of the tools.
  env -u WB_ROOT -u WB_RUN ${registry_in:+$registry_in} python3 "$WB_CHECKOUT/tests/lib/registry.py" "$@" "$dir" \
    3>&- >"$dir/server.log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  until [ -s "$dir/ports" ] || [ "$tries" -eq 0 ]; do
    sleep 0.1
    tries=$((tries - 1))
  done
  # shellcheck disable=SC2034 # for the caller
  read -r registry_port other_port <"$dir/ports" || {
    cat "$dir/server.log" >&2
    return 1
  }
}

# hostile_registry_stop DIR
hostile_registry_stop () {
  [ -s "$1/pid" ] || return 0
  kill "$(cat "$1/pid")" 2>/dev/null || true
  wait "$(cat "$1/pid")" 2>/dev/null || true
  rm -f "$1/pid"
}
