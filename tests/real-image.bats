#!/usr/bin/env bats
# A real image from a real registry, and an independent witness of what it should unpack to.

load lib/common
load lib/layer

setup () {
  wb_setup
  REGISTRY_PID=
}

teardown () {
  registry_stop
  wb_teardown
}

push () {
  layout=$(debian_layout)
  registry_start
  skopeo copy --quiet --dest-tls-verify=false "oci:$layout:real" "docker://$REGISTRY/debian:real"
}

@test "an image of four layers, pulled and mounted, is file by file what umoci unpacks" {
  push
  wb-spec -n run --name real --net none "$REGISTRY/debian:real" | wb-state create | wb-pull | wb-rootfs mount >document
  umoci unpack --image "$layout:real" bundle >/dev/null
  "$WB_CHECKOUT/tests/lib/tree" bundle/rootfs >expected
  "$WB_CHECKOUT/tests/lib/tree" "$(jq -r .root.path document)" >got
  [ "$(wc -l <expected)" -gt 3000 ]
  # What the image must and must not hold, whatever the two agree on.
  grep -q "^'srv/odd/capable' .*security.capability=" expected
  grep -q "^'srv/work/hard3' .*same as 'srv/work/hard1'" expected
  run grep -c "'srv/gone\|'srv/opaque/a'\|'etc/issue'\|\.wh\." expected
  [ "$output" = 0 ]
  diff -u expected got
  wb-rootfs umount --purge <document | wb-state rm >/dev/null
}

@test "the digests agree with skopeo's" {
  push
  wb-spec -n run "$REGISTRY/debian:real" | wb-pull >document
  [ "$(jq -r .wb.image.digest document)" = "$(skopeo inspect --tls-verify=false "docker://$REGISTRY/debian:real" | jq -r .Digest)" ]
  [ "$(jq -c .wb.image.layers document)" = "$(skopeo inspect --config --tls-verify=false "docker://$REGISTRY/debian:real" | jq -c .rootfs.diff_ids)" ]
  # The store is an OCI layout that others read.
  [ "$(skopeo inspect --raw "oci:$WB_ROOT/images:$(jq -r .wb.image.name document)" | sha256sum | cut -d' ' -f1)" = \
    "$(jq -r '.wb.image.digest | ltrimstr("sha256:")' document)" ]
}

@test "it runs as its configuration says" {
  push
  run --separate-stderr within 60 wb run --rm --net none "$REGISTRY/debian:real"
  [ "$status" -eq 0 ]
  [ "$output" = 'entry|default|' ]
  run --separate-stderr within 60 wb run --rm --net none --entrypoint sh "$REGISTRY/debian:real" -c 'id -u; pwd; echo "$GREETING"; getent passwd www-data | cut -d: -f1'
  [ "$output" = $'33\n/srv/work\nhello from Debian\nwww-data' ]
  # The package manager itself, as root, on the overlay: it renames, links and syncs.
  within 60 wb run --rm --net none -u root --entrypoint dpkg "$REGISTRY/debian:real" --purge --force-all mawk
}

@test "a second pull fetches nothing" {
  push
  wb pull "$REGISTRY/debian:real"
  registry_stop
  run -0 within 60 wb run --rm --net none --entrypoint true "$REGISTRY/debian:real"
}
