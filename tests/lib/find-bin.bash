# For tests/vm/run and the flow tests alike.

# wb_find_bin [CHECKOUT]: the directory of the newest built tools.
wb_find_bin () {
  local newest
  if [ -n "${WB_BIN:-}" ]; then
    echo "$WB_BIN"
    return
  fi
  newest=$(find "${CARGO_TARGET_DIR:-${1:-.}/target}"/*/{release,debug} -maxdepth 1 -type f -name 'wb-*' \
    -perm -u+x -printf '%T@ %p\n' 2>/dev/null | sort -rn | head -n 1 | cut -d' ' -f2-)
  [ -n "$newest" ] || {
    echo "no built tools: run cargo build, or set WB_BIN" >&2
    return 1
  }
  echo "${newest%/*}"
}
