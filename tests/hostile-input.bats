#!/usr/bin/env bats
# Any bytes on the standard input of any tool: one line, a status, bounded memory and time, and nothing done.

load lib/common

setup () { wb_setup; }
teardown () { wb_teardown; }

# Every tool and verb that reads a document; those of chains read it from a file.
readers='wb-state create
wb-state put
wb-state get
wb-state rm
wb-state port
wb-image push
wb-rootfs mount
wb-rootfs umount
wb-rootfs umount --purge
wb-rootfs diff
wb-ipam create
wb-ipam add
wb-ipam del
wb-ipam check
wb-ipam connect x
wb-ipam disconnect x
wb-netns add
wb-netns del
wb-netns check
wb-netns connect
wb-netns disconnect x
wb-netns network create
wb-netns network rm x
wb-cgroup create
wb-cgroup set
wb-cgroup stat
wb-cgroup limits
wb-cgroup procs
wb-cgroup freeze
wb-cgroup thaw
wb-cgroup kill
wb-cgroup delete
wb-pull
wb-spec update
wb-spec exec -- true
wb-monitor stop
wb-monitor kill
wb-unshare create -- true
wb-unshare start
wb-unshare run --doc /dev/stdin -- true
wb-rootfs open --doc /dev/stdin -- true
wb-nsenter run --doc /dev/stdin -- true
wb-confine --doc /dev/stdin
wb-monitor exec --doc /dev/stdin -- true
wb-image load
wb-rootfs unpack root'

make_inputs () {
  mkdir in
  python3 - <<'END'
def put(name, data): open("in/" + name, "wb").write(data)
put("deep", b"[" * 300000)
put("deep-objects", b'{"a":' * 100000 + b"1" + b"}" * 100000)
put("array", b"[]")
put("null", b"null\n")
put("nul", b"\0" * 4096)
put("number", b'{"a":' + b"9" * 3000000)
put("torn", b'{"wb":{"id":"abc"')
put("utf8", b'{"wb":{"id":"\xff\xfe"}}')
put("surrogate", b'{"wb":{"id":"\\ud800"}}')
put("text", b"\x1b[2J\x1b]0;evil\x07 not JSON\n")
put("string", b'{"a":"' + b"x" * 100000000 + b'"}')
put("many", b'{"a":1,' * 500000)
put("traversal", b'{"wb":{"id":"../../../../tmp/x","name":"../y"}}')
put("wrong-id", b'{"wb":{"id":{"a":[]}}}')
put("wb-string", b'{"wb":"x","linux":7,"process":[],"mounts":{}}')
END
}

@test "no tool is hurt by what is no document, or one of nonsense" {
  require_program python3
  make_inputs
  local words input failed=0
  while read -r line; do
    read -r -a words <<<"$line"
    for input in in/*; do
      status=0
      (
        ulimit -v 1000000
        exec timeout $((10 * WB_TEST_SLOW)) "${words[@]}" <"$input" >out 2>err
      ) || status=$?
      case $status/$input in
      1/* | 2/* | 125/*) ;;
      # These are documents; whoever reads nothing of them has no cause for complaint.
      0/in/traversal | 0/in/wrong-id | 0/in/wb-string) ;;
      *) echo "$line <$input: status $status: $(head -c 300 err)" >&2; failed=1 ;;
      esac
      # One error, with a hint at most, and nothing that drives a terminal.
      if [ "$(wc -l <err)" -gt 2 ] || grep -qE $'\e|panicked|RUST_BACKTRACE' err; then
        echo "$line <$input: $(head -c 300 err | cat -v)" >&2
        failed=1
      fi
    done
  done <<<"$readers"
  [ ! -e /tmp/x ]
  [ "$failed" = 0 ]
}

@test "a document of a failed stage is passed on untouched, with its status" {
  echo '{"wb":{"id":"abc","error":{"tool":"x","verb":"y","message":"m","code":42}},"unknown":{"b":1,"a":2}}' >failed
  local words failed=0
  while read -r line; do
    # Chains have no standard output of their own; the others print tables.
    case $line in *' diff' | *' procs' | *' network rm x' | *--doc* | 'wb-image '* | 'wb-rootfs unpack'* | 'wb-state port') continue ;; esac
    read -r -a words <<<"$line"
    run --separate-stderr within 10 "${words[@]}" <failed
    # Those that undo do their part, and leave with the status of the one that failed as all others do.
    case $status in 42) ;; *) echo "$line: status $status: $stderr" >&2; failed=1 ;; esac
    case $output in *'"unknown":{"b":1,"a":2}'*) ;; *) echo "$line: $output" >&2; failed=1 ;; esac
  done <<<"$readers"
  [ "$failed" = 0 ]
}
