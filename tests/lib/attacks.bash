# For the tests of what a container must not be able to do: `load lib/attacks`.
#
#   wb_attacker        the static program of tests/lib/attacker.c, made once; prints its path
#   attacked NAME …    a detached container NAME with that program as /attacker: flags, then -- and its arguments
#   refused CMD        one that ends with 1, 2 or 125, by itself, and prints no escape sequence
#   hostile_image NAME SCRIPT   busybox with a layer that SCRIPT makes in the current directory

# shellcheck disable=SC2154 # attacker is the test's; run sets status, output and stderr

wb_attacker () {
  local program=$WB_FIXTURES/attacker source=$WB_CHECKOUT/tests/lib/attacker.c
  if [ ! -x "$program" ] || [ "$program" -ot "$source" ]; then
    mkdir -p "$WB_FIXTURES"
    gcc -static -O1 -o "$program.$$" "$source" && mv "$program.$$" "$program" || return
  fi
  echo "$program"
}

attacked () {
  local name=$1 flags=()
  shift
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  shift
  wb run -d --name "$name" --net none -v "$attacker:/attacker:ro" "${flags[@]}" busybox /attacker "$@" >"$name.id"
  eventually 10 says "$name" up
}

refused () {
  run --separate-stderr "$@"
  case $status in
  1 | 2 | 125) case $output$stderr in *$'\e'* | *panicked*) ;; *) return ;; esac ;;
  esac
  printf 'status %s: %s\nstdout: %s\nstderr: %s\n' "$status" "$*" "$output" "$stderr" >&2
  return 1
}

says () { wb logs "$1" 2>&1 | grep -q "$2"; }

# The whole root in one layer, as what is imported is.
hostile_image () {
  local name=$1 script=$2 tar
  shift 2
  tar=$(busybox_tar) || return
  rm -rf "tree.$name"
  mkdir "tree.$name"
  tar -x -C "tree.$name" -f "$tar"
  (cd "tree.$name" && eval "$script")
  tar -c --numeric-owner -C "tree.$name" -f "$name.tar" .
  wb import "$@" "$name.tar" "$name" >/dev/null
}

# The host's own things that an attack would change, as one text.
host_state () {
  cat /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/swappiness 2>/dev/null
  stat -c '%n %i %a %u:%g %s %Y' /etc/passwd /etc/hosts /etc/hostname /etc/resolv.conf /dev/null /dev/console 2>/dev/null
  cut -d' ' -f5 /proc/self/mountinfo | grep -E "^(/etc|/proc|/dev|/sys|$WB_SCRATCH/host)" | grep -v ^/sys/fs/cgroup
  ls -A host 2>/dev/null
}
