#!/usr/bin/env bats
# wb-pull: images from registries good and bad, from layouts and archives. Other people's programs are the witnesses.

load lib/common
load lib/registry

bats_require_minimum_version 1.5.0

setup_file () {
  export PULL_DIR PULL_PORT PULL_OTHER_PORT
  PULL_DIR=$(mktemp -d "${TMPDIR:-/tmp}/wb-pull.XXXXXX")
  # A registry that misbehaves by the name of the repository, and whose images are made for that.
  hostile_registry "$PULL_DIR"
  PULL_PORT=$registry_port PULL_OTHER_PORT=$other_port
}

teardown_file () {
  hostile_registry_stop "$PULL_DIR"
  rm -rf "$PULL_DIR"
}

setup () {
  wb_setup
  server=''
  REG=127.0.0.1:$PULL_PORT
  # Nobody's passwords but the test's own.
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
}
teardown () {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
  wb_teardown
}

# Pulls $1 from the misbehaving registry; further words are flags.
pull () {
  local name=$1
  shift
  wb-pull -n -q --idle-timeout 500ms "$@" "$REG/$name/x"
}

# What a failed or killed pull may leave: an index without images, and nothing unfinished.
nothing_unfinished () {
  [ -z "$(find "$WB_ROOT/images/.wb/unfinished" -type f 2>/dev/null)" ] || return
  [ -z "$(find "$WB_ROOT/layers" -mindepth 2 -maxdepth 2 -name '.tmp*' 2>/dev/null)" ]
}

nothing_stored () {
  nothing_unfinished
  [ "$(jq '.manifests | length' "$WB_ROOT/images/index.json" 2>/dev/null || echo 0)" = 0 ]
}

# The image $1 is whole: skopeo reads it with every layer, and its content is what the registry's maker put in.
is_whole () {
  skopeo copy -q "oci:$WB_ROOT/images:$1" "dir:$WB_SCRATCH/witness"
  local id
  for id in $(jq -r '.wb.image.layers[]' "$2" | cut -d: -f2); do
    [ -d "$WB_ROOT/layers/sha256/$id" ]
  done
  # An unpacker whose wb-pull was killed takes back its half a layer by itself, a moment later.
  eventually 5 nothing_unfinished
}

@test "a pull brings manifest, configuration and layers, and the image's defaults into the document" {
  wb-pull -n "$REG/good/x" >out.json 2>err
  is_whole "$REG/good/x:latest" out.json
  grep -q "2 of 2 layers" err
  [ "$(jq -c .process.args out.json)" = '["/bin/true"]' ]
  [ "$(jq -r .process.cwd out.json)" = /srv ]
  [ "$(jq -r .process.user.username out.json)" = 7:8 ]
  [ "$(jq -r '.process.env | index("A=1") != null' out.json)" = true ]
  [ "$(jq -r .wb.image.name out.json)" = "$REG/good/x:latest" ]
  digest=$(skopeo inspect --raw --tls-verify=false "docker://$REG/good/x" | sha256sum | cut -d' ' -f1)
  [ "$(jq -r .wb.image.digest out.json)" = "sha256:$digest" ]
  local first
  first=$(jq -r '.wb.image.layers[0]' out.json | cut -d: -f2)
  [ "$(cat "$WB_ROOT/layers/sha256/$first/etc/first")" = first ]
}

@test "a power cut takes nothing: layers are synced before the index names them, and others count for one boot" {
  # As it is seen from outside: every layer has its name, then the file system is synced, then the index is replaced.
  strace -f -qq -e trace=renameat2,syncfs,rename -o calls wb-pull -n "$REG/good/x" >out.json
  awk '/renameat2/ && /RENAME_NOREPLACE/ { last_layer = NR } / syncfs\(/ { synced = NR; n++ } /index.json"/ { named = NR }
    END { exit !(last_layer && last_layer < synced && synced < named && n == 1) }' calls
  local first note
  first=$(jq -r '.wb.image.layers[0]' out.json | cut -d: -f2)
  note=$WB_ROOT/layers/sha256/.size-$first
  grep -qxE '[0-9]+' "$note"
  # What the kernel had not written when the power went: the name is there, and no content.
  : >"$WB_ROOT/layers/sha256/$first/etc/first"
  wb-pull -n --pull never "$REG/good/x" >/dev/null
  [ ! -s "$WB_ROOT/layers/sha256/$first/etc/first" ]
  for lost in 'printf "7 00000000-0000-0000-0000-000000000000" >"$note"' ': >"$note"' 'rm "$note"'; do
    : >"$WB_ROOT/layers/sha256/$first/etc/first"
    eval "$lost"
    wb-pull -n --pull never "$REG/good/x" >again.json
    [ "$(cat "$WB_ROOT/layers/sha256/$first/etc/first")" = first ]
    cmp out.json again.json
    grep -qxE '[0-9]+' "$note"
    nothing_unfinished
  done
  # Unpacked in this boot, and killed before the sync: it is whole, and synced by the next to name an image.
  echo "7 $(cat /proc/sys/kernel/random/boot_id)" >"$note"
  wb-image tag "$REG/good/x" other
  [ "$(cat "$note")" = 7 ]
}

@test "an image that is there needs no registry" {
  pull good >first.json
  : >"$PULL_DIR/log"
  pull good >second.json
  cmp first.json second.json
  [ ! -s "$PULL_DIR/log" ]
  pull good --pull never >/dev/null
  id=$(jq -r .wb.image.id first.json)
  wb-pull -n -q "${id#sha256:}" | jq -e --arg id "$id" '.wb.image.id == $id'
  wb-pull -n -q "$(echo "${id#sha256:}" | cut -c1-12)" | jq -e --arg id "$id" '.wb.image.id == $id'
  [ ! -s "$PULL_DIR/log" ]
  pull good --pull always >/dev/null
  # Only the manifest is asked for.
  [ "$(grep -c blobs "$PULL_DIR/log")" = 0 ]
  grep -q manifests/latest "$PULL_DIR/log"
}

@test "the document passes through, and flags win over the image" {
  echo '{"zeta":[1],"process":{"args":["a b",""],"env":["A=2"],"cwd":"/x","user":{"username":"u"}},"wb":{"id":"c","image":{"ref":"'"$REG"'/good/x"}},"q":null}' >in.json
  wb-pull -q <in.json >out.json
  [ "$(jq -c .process.args out.json)" = '["a b",""]' ]
  [ "$(jq -c '.process.env | index("A=2") != null' out.json)" = true ]
  [ "$(jq -r '.process.cwd + .process.user.username' out.json)" = /xu ]
  [ "$(jq -c '[.zeta, .q, .wb.id]' out.json)" = '[[1],null,"c"]' ]
  # Twice is as once.
  # shellcheck disable=SC2094 # cmp only reads
  wb-pull <out.json | cmp - out.json
}

@test "a failure goes down the pipe, and is docker's 125 inside a flow" {
  echo '{"wb":{"image":{"ref":"'"$REG"'/missing/x"}}}' >in.json
  run -125 --separate-stderr wb-pull -q <in.json
  [ "$(echo "$output" | jq -r .wb.error.tool)" = wb-pull ]
  [[ $stderr == "wb-pull: $REG/missing/x: $REG: no manifest latest in missing/x (manifest unknown)" ]]
  echo "$output" | { run -125 --separate-stderr wb-pull; [ -z "$stderr" ]; }
  nothing_stored
}

@test "bad words get one line and their status" {
  must_fail 2 wb-pull -n 'Upper/Case'
  [ "$(grep -cv ^hint: <<<"$stderr")" = 1 ]
  must_fail 2 wb-pull -n ''
  must_fail 2 wb-pull -n x --platform 'linux/../x'
  must_fail 2 wb-pull -n x --no-such-flag
  must_fail 1 wb-pull -n --pull never nowhere
  [[ $stderr == "wb-pull: no such image: nowhere"* ]]
  must_fail 2 wb-pull -n
  # A port nobody listens on.
  must_fail 1 wb-pull -n -q 127.0.0.1:1/x
  [[ $stderr == "wb-pull: 127.0.0.1:1: Connection refused (ECONNREFUSED)" ]]
  [ ! -e "$WB_ROOT/images/index.json" ] || nothing_stored
}

@test "indexes, nested ones too, lead to the image of the platform" {
  for kind in index nested; do
    pull "$kind" >out.json
    is_whole "$REG/$kind/x:latest" out.json
    rm -rf witness
  done
  pull index --platform linux/arm64 >arm.json
  [ "$(jq -c .process.args arm.json)" = '["arm"]' ]
  must_fail 1 pull no-platform
  [[ $stderr == *"no image for platform linux/amd64"* ]]
  # By the index's digest: found in the store, under whatever tag it was pulled.
  digest=$(skopeo inspect --tls-verify=false --raw "docker://$REG/nested/x" | sha256sum | cut -d' ' -f1)
  : >"$PULL_DIR/log"
  wb-pull -n -q "$REG/nested/x@sha256:$digest" >/dev/null
  [ ! -s "$PULL_DIR/log" ]
}

@test "gzip of several members, zstd and no compression unpack to the same" {
  pull good >good.json
  for kind in zstd plain lying-type same-layer-twice multi-member zstd-window-usual; do
    pull "$kind" >"$kind.json"
    is_whole "$REG/$kind/x:latest" "$kind.json"
    rm -rf witness
  done
  [ "$(jq .wb.image.layers zstd.json)" = "$(jq .wb.image.layers good.json)" ]
}

@test "hostile manifests and blobs are refused in one line, and leave no image" {
  for kind in wrong-diff-id wrong-size too-few-ids foreign unknown-type many-layers both path-digest md5 deep \
    garbage truncated-gzip gzip-crc gzip-length zstd-crc zstd-window trailing schema1 digest-header type-lies flip-manifest endless-manifest flip \
    encoding-gzip short-length long-length endless-blob range-other header-bomb; do
    echo "$kind"
    rm -rf "$WB_ROOT"
    must_fail 1 pull "$kind"
    [ "$(grep -cv ^hint: <<<"$stderr")" = 1 ]
    [[ $stderr == "wb-pull: $REG/$kind/x: "* ]]
    nothing_stored
    [ ! -e /etc/passwd.lock ] && [ ! -e "$WB_ROOT/etc" ]
  done
}

@test "a registry's words cannot drive the terminal" {
  must_fail 1 pull control
  [[ $stderr == *'(\u{1b}[2Jgone)' ]]
}

@test "limits on layers are kept, and flags raise and lower them" {
  for flag in '--max-bytes 1m' '--max-entries 1' '--max-path 6'; do
    # shellcheck disable=SC2086 # a flag and its value
    must_fail 1 pull good $flag
    [[ $stderr == "wb-pull: $REG/good/x: layer "*": "* ]]
    nothing_stored
  done
  # One layer is of 3 MiB, the other of 1.
  must_fail 1 pull good --max-bytes 2m
  pull good --max-bytes 4m --max-entries 2 --max-path 10 >/dev/null
}

@test "what breaks is tried again, and goes on where it broke" {
  for kind in 429 500 hang-up truncate reset chunked chunked-cut range-ignored range-wrong range-416 range-early \
    stall no-type; do
    echo "$kind"
    rm -rf "$WB_ROOT" witness
    : >"$PULL_DIR/log"
    pull "$kind" >out.json
    is_whole "$REG/$kind/x:latest" out.json
    case $kind in
    truncate | reset | chunked-cut | stall) grep -q 'bytes=[1-9][0-9]*- ' "$PULL_DIR/log" ;;
    esac
  done
}

@test "patience ends" {
  for kind in 429-forever 429-tomorrow 503-forever always-cut stall-forever slow; do
    echo "$kind"
    must_fail 1 pull "$kind" --idle-timeout 300ms
    [[ $stderr == *"hint: given up after"* ]]
    nothing_stored
  done
}

@test "redirects are followed without the password, and not to where no registry may lead" {
  for kind in redirect-other redirect-localhost redirect-relative auth-redirect-other; do
    rm -rf "$WB_ROOT" witness
    : >"$PULL_DIR/log"
    pull "$kind" --creds alice:secret >out.json
    is_whole "$REG/$kind/x:latest" out.json
  done
  # Somebody else's host has seen no header at all, the registry has.
  grep -q "^$PULL_PORT GET .* Bearer_" "$PULL_DIR/log"
  grep -q "^$PULL_OTHER_PORT " "$PULL_DIR/log"
  [ "$(awk -v port="$PULL_OTHER_PORT" '$1 == port { print $4 }' "$PULL_DIR/log" | sort -u)" = - ]
  for kind in redirect-file redirect-metadata redirect-loop redirect-many redirect-user redirect-nowhere; do
    rm -rf "$WB_ROOT"
    must_fail 1 within 20 wb-pull -n -q "$REG/$kind/x"
    nothing_stored
  done
}

@test "tokens and Basic: asked for, renewed, checked" {
  for kind in auth auth-expire auth-busy; do
    rm -rf "$WB_ROOT"
    pull "$kind" >/dev/null
  done
  must_fail 1 pull basic
  [[ $stderr == *"access denied"*"hint: wb login $REG" ]]
  pull basic --creds alice:secret >/dev/null
  rm -rf "$WB_ROOT"
  pull auth-password --creds alice:secret >/dev/null
  rm -rf "$WB_ROOT"
  must_fail 1 pull auth-password --creds alice:wrong
  for kind in auth-loop auth-token-huge auth-token-crlf auth-token-garbage auth-realm-metadata auth-realm-file denied; do
    echo "$kind"
    must_fail 1 pull "$kind"
    nothing_stored
  done
}

@test "no password goes to a token service of another origin" {
  : >"$PULL_DIR/log"
  for kind in auth-realm auth-realm-metadata; do
    must_fail 1 pull "$kind" --creds alice:secret
    [[ $stderr == *"wants the password sent to "* ]]
  done
  [ "$(grep -c "^$PULL_OTHER_PORT " "$PULL_DIR/log")" = 0 ]
  # Without a password there is nothing to lose; with the user's word it may have it.
  pull auth-realm >/dev/null
  rm -rf "$WB_ROOT"
  : >"$PULL_DIR/log"
  pull auth-realm --creds alice:secret --auth-host "127.0.0.1:$PULL_OTHER_PORT" >/dev/null
  grep -q "^$PULL_OTHER_PORT GET /token.* Basic_" "$PULL_DIR/log"
}

@test "login keeps a password where docker does, logout forgets it" {
  echo secret | wb-pull login --username alice --password-stdin "$REG" | grep -q "^Login Succeeded"
  [ "$(stat -c %a docker/config.json)" = 600 ]
  [ "$(jq -r --arg reg "$REG" '.auths[$reg].auth' docker/config.json | base64 -d)" = alice:secret ]
  pull basic >/dev/null
  wb-pull logout "$REG"
  jq -e '.auths == {}' docker/config.json
  rm -rf "$WB_ROOT"
  must_fail 1 pull basic
}

@test "credential helpers are asked" {
  mkdir -p bin docker
  # shellcheck disable=SC2016 # the helper's own words
  printf '#!/bin/sh\n[ "$1" = get ] && cat >>%s/asked && echo "{\\"Username\\":\\"alice\\",\\"Secret\\":\\"secret\\"}"\n' \
    "$WB_SCRATCH" >bin/docker-credential-test
  chmod +x bin/docker-credential-test
  echo '{"credHelpers":{"'"$REG"'":"test"}}' >docker/config.json
  PATH=$WB_SCRATCH/bin:$PATH pull basic >/dev/null
  [ "$(cat asked)" = "$REG" ]
  rm -rf "$WB_ROOT"
  echo '{"credsStore":"../bin/x"}' >docker/config.json
  must_fail 1 pull basic
  [[ $stderr == *"not a program's name"* ]]
}

@test "ten pulls at once fetch every blob once" {
  : >"$PULL_DIR/log"
  for i in 1 2 3 4 5 6 7 8 9 10; do
    # A pause of a busy machine is no silence: what is asked twice here would be the lock's fault.
    pull wait --idle-timeout 60s >"out.$i" 2>"err.$i" 3>&- &
    pids="${pids-} $!"
  done
  for pid in $pids; do wait "$pid"; done
  for i in 2 3 4 5 6 7 8 9 10; do cmp out.1 "out.$i"; done
  is_whole "$REG/wait/x:latest" out.1
  [ -z "$(grep -o 'blobs/.*' "$PULL_DIR/log" | cut -d' ' -f1 | sort | uniq -d)" ]
  [ "$(grep -c blobs/ "$PULL_DIR/log")" = 3 ]
  [ -z "$(ls "$WB_ROOT/images/.wb/locks")" ]
}

# Everything in the place, but what differs from pull to pull.
inventory () { (cd "$WB_ROOT" && find . ! -path './layers/sha256/*/*' | sort); }

@test "killed at a hundred random moments: the next pull succeeds, and gc leaves nothing" {
  pull good >expected.json
  wb-image gc >/dev/null
  inventory >expected
  # From before the first system call to after the last, on this machine.
  local start=${EPOCHREALTIME/./} took=0 kills=0 midway=0 end=$((SECONDS + 75)) delay status foreground
  rm -rf "$WB_ROOT"
  pull good >/dev/null
  took=$((${EPOCHREALTIME/./} - start))
  RANDOM=${WB_TEST_SEED:-$$}
  echo "seed ${WB_TEST_SEED:-$$}, a pull takes $took us"
  while [ "$kills" -lt 100 ] && [ "$SECONDS" -lt "$end" ]; do
    kills=$((kills + 1))
    rm -rf "$WB_ROOT"
    delay=$((RANDOM * 32768 + RANDOM))
    printf -v delay '0.%06d' $((delay % took + 1))
    # The program alone, or the unpackers it feeds as well.
    foreground=--foreground
    if [ $((kills % 2)) = 0 ]; then foreground=; fi
    status=0
    timeout $foreground -s KILL "$delay" wb-pull -n -q "$REG/good/x" >/dev/null 2>&1 || status=$?
    if [ "$status" = 137 ] && [ -d "$WB_ROOT/images" ]; then midway=$((midway + 1)); fi
    pull good >out.json
    cmp expected.json out.json
    if [ $((kills % 10)) = 0 ]; then
      wb-image gc >/dev/null
      is_whole "$REG/good/x:latest" out.json
      rm -rf witness
      diff <(inventory) expected
    fi
  done
  echo "$kills kills, $midway of them midway"
  [ "$kills" -ge 10 ]
  [ "$midway" -ge $((kills / 4)) ]
}

@test "a pull that is killed again and again leaves a store that works" {
  for ms in 005 010 020 030 050 080 120 200 300; do
    timeout -s KILL "0.$ms" wb-pull -n -q "$REG/wait/x" >/dev/null 2>&1 || true
  done
  pull good >out.json
  is_whole "$REG/good/x:latest" out.json
  # A blob that was damaged in the store is noticed and fetched again.
  layer=$(jq -r '.layers[0].digest' "$WB_ROOT/images/blobs/sha256/$(jq -r .wb.image.digest out.json | cut -d: -f2)")
  printf x | dd of="$WB_ROOT/images/blobs/sha256/${layer#sha256:}" bs=1 seek=99 conv=notrunc 2>/dev/null
  rm -rf "$WB_ROOT/layers"
  pull good >out.json
  rm -rf witness
  is_whole "$REG/good/x:latest" out.json
}

@test "a layer that is there as a blob is unpacked without the registry" {
  pull good >out.json
  rm -rf "$WB_ROOT/layers"
  : >"$PULL_DIR/log"
  pull good --pull never >again.json
  cmp out.json again.json
  is_whole "$REG/good/x:latest" again.json
  [ ! -s "$PULL_DIR/log" ]
}

@test "oci:DIR and docker-archive:FILE" {
  skopeo copy -q --src-tls-verify=false "docker://$REG/good/x" oci:layout:one
  wb-pull -n -q oci:layout:one >out.json
  is_whole docker.io/library/layout:one out.json
  wb-pull -n -q --pull never layout:one >/dev/null
  rm -rf witness
  skopeo copy -q --src-tls-verify=false "docker://$REG/good/x" docker-archive:archive.tar:some/name:3
  wb-pull -n -q docker-archive:archive.tar >archive.json
  is_whole docker.io/some/name:3 archive.json
  [ "$(jq .wb.image.layers archive.json)" = "$(jq .wb.image.layers out.json)" ]
  wb-pull -n -q --as other docker-archive:archive.tar --print name | grep -qx docker.io/library/other:latest
  # As some builders write it, with compressed layers: each is read once, and is the same layer.
  mkdir parts && tar -xf archive.tar -C parts
  for layer in $(jq -r '.[0].Layers[]' parts/manifest.json); do
    gzip -nc <"parts/$layer" >zipped
    mv zipped "parts/$layer"
  done
  tar -C parts -cf gzip.tar .
  rm -rf "$WB_ROOT"
  # A file for each thread, in which no call is cut in two.
  strace -ff -qq -y -e trace=read,pread64 -o reads wb-pull -n -q --as zipped docker-archive:gzip.tar >zipped.json
  cat reads.* | awk -v name="/gzip.tar>" -v size="$(stat -c %s gzip.tar)" 'index($0, name) && / = [0-9]+$/ { sum += $NF }
    END { exit !(sum > size / 2 && sum < size * 1.2) }'
  # Nor is its blob read again.
  cat reads.* | awk 'index($0, "/blobs/sha256/") && / = [0-9]+$/ { sum += $NF } END { exit !(sum < 20000) }'
  [ "$(jq .wb.image.layers zipped.json)" = "$(jq .wb.image.layers out.json)" ]
  is_whole docker.io/library/zipped:latest zipped.json
  must_fail 1 wb-pull -n oci:layout:two
  must_fail 1 wb-pull -n oci:nowhere
  must_fail 1 wb-pull -n docker-archive:archive.tar:none
  must_fail 1 wb-pull -n docker-archive:nowhere
  tar --delete -f archive.tar manifest.json
  must_fail 1 wb-pull -n docker-archive:archive.tar
  [ "$stderr" = "wb-pull: archive.tar: no manifest.json in it
hint: wb load -i FILE takes OCI archives, and those of docker before 1.10" ]
  # What lies in somebody's layout is not trusted: a link, a FIFO, other content.
  blob=$(find layout/blobs -size +2000k)
  mv "$blob" aside
  ln -s "$PWD/aside" "$blob"
  rm -rf "$WB_ROOT"
  must_fail 1 within 20 wb-pull -n -q oci:layout:one
  rm "$blob"
  mkfifo "$blob"
  must_fail 1 within 20 wb-pull -n -q oci:layout:one
  rm "$blob"
  tr a b <aside >"$blob"
  must_fail 1 within 20 wb-pull -n -q oci:layout:one
  [[ $stderr == *digest* ]]
  nothing_stored
}

@test "docker's own registry: pushed by skopeo, pulled, and identical to what umoci unpacks" {
  require_program docker-registry umoci
  cat >registry.yml <<END
version: 0.1
storage: {filesystem: {rootdirectory: $WB_SCRATCH/registry}}
http: {addr: "127.0.0.1:0"}
END
  # It cannot choose a port by itself.
  port=$((20000 + RANDOM % 20000))
  sed -i "s/:0\"/:$port\"/" registry.yml
  env -u WB_ROOT docker-registry serve registry.yml 3>&- >registry.log 2>&1 &
  server=$!
  skopeo copy -q --src-tls-verify=false "docker://$REG/good/x" oci:layout:one
  eventually 10 skopeo copy -q --dest-tls-verify=false oci:layout:one "docker://127.0.0.1:$port/a/b:1"
  wb-pull -n -q "127.0.0.1:$port/a/b:1" >out.json
  is_whole "127.0.0.1:$port/a/b:1" out.json
  umoci unpack --image "$WB_ROOT/images:127.0.0.1:$port/a/b:1" bundle >/dev/null 2>&1
  mkdir merged
  for id in $(jq -r '.wb.image.layers[]' out.json | cut -d: -f2); do
    cp -a "$WB_ROOT/layers/sha256/$id/." merged/
  done
  diff -r merged bundle/rootfs
  must_fail 1 wb-pull -n -q "127.0.0.1:$port/no/such"
  [[ $stderr == *"no manifest latest in no/such"* ]]
  kill "$server"
  wait "$server" || true
}
