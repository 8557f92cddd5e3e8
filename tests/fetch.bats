#!/usr/bin/env bats
# How wb-pull fetches: what a person sees of it, what it keeps in memory, what is on the disk when it says so, and which
# image of several it takes.

load lib/common
load lib/registry

setup () {
  wb_setup
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
  screen=''
}
teardown () {
  hostile_registry_stop reg
  if [ -n "$screen" ]; then tmux -S "$screen" kill-server 2>/dev/null || true; fi
  wb_teardown
}

# on_terminal COLUMNS ROWS CMD: in a terminal of that size.
on_terminal () {
  screen=$WB_SCRATCH/screen
  tmux -S "$screen" -f /dev/null new-session -d -x "$1" -y "$2" "$3; echo status \$?; exec sleep 600" 3>&-
}
shows () { tmux -S "$screen" capture-pane -p -S - >shown && grep -Eq -- "$1" shown; }
# Two bars at work, one below the other.
two_bars () {
  shows "$1" && [ "$(grep -cE -- "$1" shown)" = 2 ]
}

@test "on a terminal there is one bar a layer, which moves; in the end one line for each" {
  hostile_registry reg
  on_terminal 80 24 "wb-pull -n --jobs 2 127.0.0.1:$registry_port/trickle/x >/dev/null"
  eventually 20 two_bars '^[0-9a-f]{12}: \[=+ +\] [0-9.]+ kB/[0-9.]+ MB *$|^[0-9a-f]{12}: \[=+ +\] [0-9.]+ MB/[0-9.]+ MB *$'
  first=$(grep -c '=' shown)
  [ "$first" = 2 ]
  eventually 60 shows '^status 0'
  [ "$(grep -cE '^[0-9a-f]{12}: done \([0-9.]+ MB\) *$' shown)" = 2 ]
  # Nothing is left of the bars.
  [ "$(grep -c "\[" shown)" = 0 ] || { cat shown >&2 && false; }
  [ "$(grep -c '2 of 2 layers to bring in' shown)" = 1 ]
}

@test "a terminal that is too narrow or too low for the bars keeps its lines apart" {
  hostile_registry reg
  on_terminal 44 3 "wb-pull -n --jobs 2 127.0.0.1:$registry_port/trickle/x >/dev/null"
  eventually 60 shows '^status 0'
  [ "$(grep -cE '^[0-9a-f]{12}: done \([0-9.]+ MB\) *$' shown)" = 2 ]
  [ "$(grep -c "\[" shown)" = 0 ] || { cat shown >&2 && false; }
}

@test "in a pipe there are plain lines, and with -q nothing" {
  hostile_registry reg
  wb-pull -n "127.0.0.1:$registry_port/good/x" 2>err >/dev/null
  run -1 grep -q '[[:cntrl:]]' err
  [ "$(grep -cE '^[0-9a-f]{12}: done \([0-9.]+ MB\)$' err)" = 2 ]
  rm -rf "$WB_ROOT"
  wb-pull -n -q "127.0.0.1:$registry_port/good/x" 2>err >/dev/null
  [ ! -s err ]
  rm -rf "$WB_ROOT"
  on_terminal 80 24 "wb-pull -n -q 127.0.0.1:$registry_port/good/x >/dev/null"
  eventually 60 shows '^status 0'
  [ "$(grep -vc '^$' shown)" = 1 ]
}

@test "a layer goes through once: fetched once, never read back, and never held in memory" {
  hostile_registry reg
  # The peak of the largest process of all that the pull starts, in KiB.
  cat >peak.py <<'END'
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
END
  for kind in large bomb; do
    rm -rf "$WB_ROOT"
    : >reg/log
    peak=$(within 100 python3 peak.py wb-pull -n -q "127.0.0.1:$registry_port/$kind/x")
    echo "$kind: $peak KiB"
    [ "$peak" -lt 40960 ]
    [ -z "$(grep -o 'blobs/[^ ]*' reg/log | sort | uniq -d)" ]
    [ "$(grep -c blobs/ reg/log)" = 2 ]
  done
  # 64 MiB that gzip cannot shrink, 256 MiB of zeros: they did come.
  [ "$(du --apparent-size -cm "$WB_ROOT"/layers/sha256/*/content | tail -n 1 | cut -f1)" -ge 256 ]
  rm -rf "$WB_ROOT"
  strace -f -qq -e trace=openat,open,openat2 -o calls wb-pull -n -q "127.0.0.1:$registry_port/good/x" >out.json
  for layer in $(jq -r '.layers[].digest[7:]' "$WB_ROOT/images/blobs/sha256/$(jq -r '.wb.image.digest[7:]' out.json)"); do
    run -1 grep -F "blobs/sha256/$layer" calls
  done
  # The check can see what it looks for.
  grep -q 'images/.wb/unfinished/' calls
}

@test "memory is bounded too where a registry or a token service goes on for ever" {
  hostile_registry reg
  for kind in auth-token-huge endless-manifest endless-blob header-bomb deep; do
    # Address space, of which threads' stacks take some.
    must_fail 1 bash -c 'ulimit -v 400000 && exec wb-pull -n -q "$1"' - "127.0.0.1:$registry_port/$kind/x"
    [[ $stderr == "wb-pull: 127.0.0.1:$registry_port/$kind/x: "* ]]
    [[ $stderr != *memory* ]]
  done
}

# Of strace -f -y in $1: what becomes a blob or the index was synced before, and the names of the blobs before the index.
in_order () {
  python3 - "$1" <<'END'
import re, sys
synced, begun, blobs, index = set(), {}, 0, 0
for line in open(sys.argv[1]):
    # Of several threads strace tells the beginning of a call and its end apart.
    thread = line.split()[0]
    sync = re.search(r"\b(?:fsync|fdatasync)\(\d+<([^>]*)>", line)
    if sync:
        begun[thread] = sync[1]
    if re.search(r"\b(?:fsync|fdatasync)(?:\(\d+<[^>]*>| resumed>)\) += 0", line):
        synced.add(begun.pop(thread))
    moved = re.search(r'\brename(?:at2?)?\((?:[^"]*, )?"([^"]*)", (?:[^"]*, )?"([^"]*)"', line)
    if not moved or " = -1 " in line:
        continue
    source, target = moved[1], moved[2]
    if "/blobs/sha256/" in target:
        assert source in synced, f"{target} is named before it is on the disk"
        # The directory must be synced anew before the index speaks of this one.
        synced.discard(target.rsplit("/", 1)[0])
        blobs += 1
    elif target.endswith("/index.json") and blobs:
        assert source in synced, "the index"
        assert target.replace("index.json", "blobs/sha256") in synced, "the index speaks of names that are not on the disk"
        index += 1
assert blobs >= 3 and index >= 1, (blobs, index)
END
}

@test "blobs are on the disk before they have their name, and the index after them" {
  hostile_registry reg
  strace -f -y -qq -s 300 -e trace=fsync,fdatasync,rename,renameat,renameat2 -o calls \
    wb-pull -n -q "127.0.0.1:$registry_port/good/x" >/dev/null
  in_order calls
  strace -f -y -qq -s 300 -e trace=fsync,fdatasync,rename,renameat,renameat2 -o calls \
    wb-image import "$(busybox_tar)" box >/dev/null
  in_order calls
  wb-image save box -o box.tar
  rm -rf "$WB_ROOT"
  strace -f -y -qq -s 300 -e trace=fsync,fdatasync,rename,renameat,renameat2 -o calls wb-image load -i box.tar >/dev/null
  in_order calls
  # Somebody who forgets one is noticed.
  grep -v 'fdatasync(' calls >without
  run -1 in_order without
}

@test "of several variants the one asked for, or the nearest that runs; skopeo takes the same" {
  hostile_registry reg
  image=127.0.0.1:$registry_port/variants/x
  for pair in linux/arm/v7:v7 linux/arm/v6:v6 linux/arm:v7 linux/arm/v8:v7 armhf:v7 linux/amd64:/bin/true; do
    found=$(wb-pull -n -q --pull always --platform "${pair%:*}" "$image" | jq -r '.process.args[]')
    [ "$found" = "${pair#*:}" ] || { echo "$pair: $found" >&2 && false; }
  done
  for variant in v6 v7; do
    theirs=$(skopeo inspect --config --tls-verify=false --override-os linux --override-arch arm --override-variant "$variant" \
      "docker://$image" | jq -c .config.Cmd)
    [ "$(wb-pull -n -q --pull always --platform "linux/arm/$variant" "$image" | jq -c .process.args)" = "$theirs" ]
  done
  for platform in linux/s390x linux/arm/v4 plan9/amd64; do
    must_fail 1 wb-pull -n -q --platform "$platform" "$image"
    [[ $stderr == *"no image for platform $platform"* ]]
  done
}

@test "tag and digest together: the digest decides, and another image for it is refused" {
  hostile_registry reg
  host=127.0.0.1:$registry_port
  digest=sha256:$(skopeo inspect --raw --tls-verify=false "docker://$host/good/x" | sha256sum | cut -d' ' -f1)
  wb-pull -n -q "$host/good/x:whatever@$digest" | jq -e --arg digest "$digest" '.wb.image.digest == $digest' >/dev/null
  wb-pull -n -q "$host/zstd/x@$digest" >/dev/null
  rm -rf "$WB_ROOT"
  # Asked for by its digest, the registry gives another whole image, and says nothing of its digest.
  must_fail 1 wb-pull -n -q "$host/swap/x@$digest"
  [[ $stderr == *"manifest $digest: its content has digest sha256:"* ]]
  must_fail 1 wb-pull -n -q "$host/swap/x"
  [[ $stderr == *digest* ]]
  [ "$(jq '.manifests | length' "$WB_ROOT/images/index.json")" = 0 ]
}

@test "a registry that says when to come again is asked then, and not before" {
  hostile_registry reg
  local start=${EPOCHREALTIME/./}
  wb-pull -n -q "127.0.0.1:$registry_port/429-wait/x" >/dev/null
  # Twice two seconds at least: for the manifest, and for what follows it.
  [ $((${EPOCHREALTIME/./} - start)) -ge 4000000 ]
  # Nobody was asked three times.
  [ "$(awk '{ print $3 }' reg/log | sort | uniq -c | awk '$1 > 2' | wc -l)" = 0 ]
}

@test "others can read the store at any moment of a pull, an import, a removal" {
  hostile_registry reg
  make_busybox_image
  # shellcheck disable=SC2016 # the inner shell's arguments
  bash -ec 'for number in 1 2 3; do
      wb-pull -n -q --as "pulled:$number" "$1" >/dev/null
      wb-image import "$2" "box:$number" -c "ENV N=$number" >/dev/null
      wb-image rm "pulled:$number" >/dev/null
    done' - "127.0.0.1:$registry_port/good/x" "$(busybox_tar)" 3>&- &
  local changes=$! reads=0
  # Once it has ended too: there is one reading at least.
  while
    umoci stat --image "$WB_ROOT/images:docker.io/library/busybox:latest" --json | jq -e '.history | length > 0' >/dev/null
    skopeo inspect --raw "oci:$WB_ROOT/images:docker.io/library/busybox:latest" >/dev/null
    reads=$((reads + 1))
    kill -0 "$changes" 2>/dev/null
  do :; done
  wait "$changes"
  echo "$reads reads"
  [ "$(wb-image list --json | jq '[.[].names[]] | length')" = 4 ]
}
