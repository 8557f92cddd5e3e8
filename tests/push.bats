#!/usr/bin/env bats
# wb-image push: images to registries good and bad. Other people's programs are the witnesses.

load lib/common
load lib/layer

setup () {
  wb_setup
  REGISTRY_PID='' server=''
  # Nobody's passwords but the test's own.
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
}
teardown () {
  registry_stop
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  wb_teardown
}

# A registry that misbehaves by the name of the repository; its requests are in bad/log.
bad_registry () {
  mkdir bad
  env -u WB_ROOT python3 "$WB_CHECKOUT/tests/lib/push_registry.py" "$WB_SCRATCH/bad" 3>&- >bad/server.log 2>&1 &
  server=$!
  eventually 20 test -s bad/ports
  read -r port other_port <bad/ports
  BAD=127.0.0.1:$port
  : >bad/log
}

# An image of two layers, the second of noise that no compression makes smaller.
make_image () {
  make_busybox_image
  mkdir -p noise.d && head -c 300000 /dev/urandom >noise.d/noise
  layout_new two
  layout_tag two two '{"Cmd":["sh"]}' "$(cp "$(busybox_tar)" a.tar && layout_add two a.tar)" \
    "$(tar --create -C noise.d --sort=name . >b.tar && layout_add two b.tar)"
  wb-pull -n -q --as two --print name oci:two:two >/dev/null
}

# What the store has of the image $1 is what the registry has of $2, by skopeo's word.
same () {
  skopeo inspect --raw "oci:$WB_ROOT/images:$1" >ours.json
  skopeo inspect --raw --tls-verify=false "docker://$2" | cmp - ours.json
  rm -rf copied && skopeo copy -q --src-tls-verify=false "docker://$2" dir:copied
}

@test "a push brings all of an image to a registry, and only what is missing" {
  make_image
  registry_start
  wb tag two "$REGISTRY/team/two:v1"
  wb push "$REGISTRY/team/two:v1" >out 2>err
  digest=$(wb-image inspect two | jq -r '.[0].Descriptor.digest')
  [ "$(cat out)" = "$REGISTRY/team/two:v1@$digest" ]
  [ "$(grep -c ': sent (' err)" = 3 ]
  same docker.io/library/two:latest "$REGISTRY/team/two:v1"
  # Again, and under another tag: nothing is sent.
  wb push "$REGISTRY/team/two:v1" 2>&1 | grep -c 'already there' | grep -qx 3
  wb push two "$REGISTRY/team/two:v2" 2>err
  [ "$(grep -c ': sent (' err)" = 0 ]
  same docker.io/library/two:latest "$REGISTRY/team/two:v2"
  # To another repository of the same registry: it takes the layers from the first.
  wb push two "$REGISTRY/other/two" 2>err
  [ "$(grep -c 'taken from another repository' err)" = 2 ]
  [ "$(grep -c ': sent (' err)" = 1 ]
  same docker.io/library/two:latest "$REGISTRY/other/two:latest"
  # Back again, the same to the byte.
  wb-image inspect two | jq -S '.[0].Manifest' >before
  rm -rf "$WB_ROOT"
  wb pull -q "$REGISTRY/other/two"
  wb-image inspect "$REGISTRY/other/two" | jq -S '.[0].Manifest' | cmp - before
  # -q says the name alone.
  [ "$(wb push -q "$REGISTRY/other/two" 2>&1)" = "$REGISTRY/other/two:latest@$digest" ]
}

@test "blobs are hashed and not believed: what is damaged in the store is not pushed" {
  make_image
  bad_registry
  layer=$(wb-image inspect two | jq -r '.[0].Manifest.layers[1].digest')
  printf x | dd of="$WB_ROOT/images/blobs/sha256/${layer#sha256:}" bs=1 seek=99 conv=notrunc status=none
  must_fail 1 wb-image push -q two "$BAD/good/x"
  [[ $stderr == "wb-image: push: $BAD/good/x:latest: blob ${layer:7:12}: "*"digest invalid"* ]]
  [ ! -e bad/store/good/x/manifests ]
  rm "$WB_ROOT/images/blobs/sha256/${layer#sha256:}"
  must_fail 1 wb-image push -q two "$BAD/good/x"
  [[ $stderr == "wb-image: push: two: blob $layer is not in the store"* ]]
}

@test "large blobs go in pieces, and on where the connection broke" {
  make_image
  bad_registry
  digest=$(wb-image inspect two | jq -r '.[0].Descriptor.digest')
  wb-image push -q two "$BAD/good/x" --piece 100k >/dev/null
  [ "$(grep -c ' PATCH ' bad/log)" -gt 6 ]
  [ "$(awk '$2 == "PATCH" && $5 > 102400' bad/log | wc -l)" = 0 ]
  [ "sha256:$(sha256sum <bad/store/good/x/manifests/latest | cut -d' ' -f1)" = "$digest" ]
  for kind in cut forget less lost-answer absolute other-host 429 500 auth auth-expire; do
    echo "$kind"
    : >bad/log
    wb-image push -q two "$BAD/$kind/x:1" --piece 200k >/dev/null
    cmp "bad/store/$kind/x/manifests/1" bad/store/good/x/manifests/latest
    case $kind in
    # Half a piece was there already.
    cut) grep -q " GET /v2/cut/x/blobs/uploads/" bad/log ;;
    # The other host has seen bytes, and no password.
    other-host) [ "$(awk -v port="$other_port" '$1 == port { print $4 }' bad/log | sort -u)" = - ] ;;
    auth) grep -q "/token?scope=repository%3Aauth%2Fx%3Apull%2Cpush&" bad/log ;;
    esac
  done
  # Every manifest came after every blob of it.
  [ "$(awk '$2 == "PUT"' bad/log | tail -n 1 | grep -c manifests)" = 1 ]
}

@test "a registry that cannot be pushed to: one clear line, and patience that ends" {
  make_image
  bad_registry
  for kind in 503-forever cut-always wrong-digest lies more nowhere metadata file denied; do
    echo "$kind"
    must_fail 1 within 30 wb-image push -q two "$BAD/$kind/x"
    [ "$(grep -cv ^hint: <<<"$stderr")" = 1 ]
    [[ $stderr == "wb-image: push: $BAD/$kind/x:latest: "* ]]
    case $kind in
    503-forever | cut-always) [[ $stderr == *"hint: given up after"* ]] ;;
    denied) [[ $stderr == *"denied"*"wb login $BAD"* ]] ;;
    esac
    [ "$kind" = lies ] || [ ! -e "bad/store/$kind/x/manifests" ]
  done
  must_fail 1 wb-image push -q two 127.0.0.1:1/x
  [[ $stderr == *"Connection refused (ECONNREFUSED)" ]]
}

@test "what is no image, and what is no place" {
  make_busybox_image
  must_fail 1 wb-image push nothing
  [ "$stderr" = "wb-image: push: no such image: nothing" ]
  id=$(cut -d: -f2 <import.out)
  must_fail 2 wb-image push "${id:0:12}"
  [[ $stderr == *"an id is no place to push to"* ]]
  must_fail 2 wb-image push busybox 'a/UPPER'
  must_fail 2 wb-image push busybox "localhost:1/x@sha256:$id"
  must_fail 2 wb-image push
  must_fail 1 wb-image push busybox localhost:1/x --platform linux/s390x
  [[ $stderr == *"the image is for linux/amd64, not for linux/s390x"* ]]
}

@test "an index that skopeo put into the store is pushed whole, or one platform of it" {
  make_image
  bad_registry
  arm=$(jq -c '.architecture = "arm64"' "two/blobs/sha256/$(jq -r '.config.digest[7:]' "two/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' two/index.json)")")
  amd=$(jq -c '.manifests[0] | del(.annotations) + {platform: {os: "linux", architecture: "amd64"}}' two/index.json)
  echo "$arm" >config.new
  config=$(layout_blob two config.new application/vnd.oci.image.config.v1+json)
  jq -c --argjson config "$config" '.config = $config' "two/blobs/sha256/$(jq -r '.digest[7:]' <<<"$amd")" >manifest.new
  arm=$(layout_blob two manifest.new application/vnd.oci.image.manifest.v1+json | jq -c '. + {platform: {os: "linux", architecture: "arm64"}}')
  jq -nc --argjson amd "$amd" --argjson arm "$arm" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [$amd, $arm]}' >index.new
  whole=$(layout_blob two index.new application/vnd.oci.image.index.v1+json)
  jq -c --argjson whole "$whole" '.manifests = [$whole + {annotations: {"org.opencontainers.image.ref.name": "all"}}]' two/index.json >index.json.new
  mv index.json.new two/index.json
  # Into the store by another program, under a name of ours.
  skopeo copy -q --all oci:two:all "oci:$WB_ROOT/images:docker.io/library/all:latest"
  wb-image push -q all "$BAD/good/all" >/dev/null
  [ "$(jq '.manifests | length' bad/store/good/all/manifests/latest)" = 2 ]
  [ "$(find bad/store/good/all/manifests -name 'sha256:*' | wc -l)" = 3 ]
  wb-image push -q all "$BAD/good/arm" --platform linux/arm64 >/dev/null
  [ "$(jq -r .config.digest bad/store/good/arm/manifests/latest)" = "$(jq -r .digest <<<"$config")" ]
}
