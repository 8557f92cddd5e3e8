#!/usr/bin/env bats
# Images to and from docker and podman: what we push they pull, what they save we load, and the other way round.

load lib/common
load lib/layer
load lib/engines

setup () {
  wb_setup
  REGISTRY_PID=''
  engines_setup
}
teardown () {
  registry_stop
  stop_engines
  wb_teardown
}

# An image of two layers with a whiteout, its configuration not the default one.
make_image () {
  make_busybox_image
  wb-spec -n run --name c -e GREETING=hello busybox sh | wb-state create | wb-pull | wb-rootfs mount | wb-state put >c.json
  merged=$(jq -r .wb.rootfs.merged c.json)
  echo new >"$merged/etc/new"
  rm "$merged/etc/os-release"
  chown 7:8 "$merged/etc/new"
  # shellcheck disable=SC2016 # the container's variable
  wb-image commit --container c -c 'CMD ["sh","-c","echo $GREETING"]' -c 'LABEL a=b' mine:1 >/dev/null
  wb-rootfs umount --purge <c.json | wb-state rm >/dev/null
  id=$(wb-image inspect mine:1 | jq -r '.[0].Id')
  diff_ids=$(wb-image inspect mine:1 | jq -c '.[0].RootFS.Layers')
}

# The image that an engine ($*) shows as $image is ours.
is_ours () {
  "$@" image inspect "$image" >theirs.json
  [ "$(jq -c '.[0].RootFS.Layers' theirs.json)" = "$diff_ids" ]
  [ "$(jq -r '.[0].Id' theirs.json | sed 's/^sha256://')" = "${id#sha256:}" ]
  # shellcheck disable=SC2016 # the container's variable
  [ "$(jq -c '.[0].Config | [.Cmd, .Labels]' theirs.json)" = '[["sh","-c","echo $GREETING"],{"a":"b"}]' ]
}

@test "what wb pushes docker and podman pull, with the same id, layers and configuration" {
  make_image
  start_docker
  use_podman
  registry_start
  image=$REGISTRY/team/mine:1
  wb push -q mine:1 "$image"
  within 60 "${docker[@]}" pull -q "$image"
  is_ours "${docker[@]}"
  within 60 "${podman[@]}" pull -q --tls-verify=false "$image"
  is_ours "${podman[@]}"
  # And what they push, under another name, comes back to us as the same image.
  "${docker[@]}" tag "$image" "$REGISTRY/docker/back:1"
  within 60 "${docker[@]}" push -q "$REGISTRY/docker/back:1"
  within 60 "${podman[@]}" push -q --tls-verify=false "$image" "$REGISTRY/podman/back:1"
  rm -rf "$WB_ROOT"
  for name in docker podman; do
    [ "$(wb-pull -n -q --print id "$REGISTRY/$name/back:1")" = "$id" ]
  done
}

@test "what wb saves docker and podman load; what they save wb loads" {
  make_image
  start_docker
  use_podman
  image=mine:1
  wb save -o ours.tar mine:1
  "${docker[@]}" load -q -i ours.tar
  is_ours "${docker[@]}"
  "${podman[@]}" load -q -i ours.tar
  image=localhost/mine:1
  "${podman[@]}" image exists "$image" || image=docker.io/library/mine:1
  is_ours "${podman[@]}"
  "${docker[@]}" tag mine:1 two:2
  "${docker[@]}" save -o docker.tar mine:1 two:2
  "${podman[@]}" save -q --format docker-archive -o podman-docker.tar "$image"
  "${podman[@]}" save -q --format oci-archive -o podman-oci.tar "$image"
  for archive in docker podman-docker podman-oci; do
    rm -rf "$WB_ROOT"
    wb load -q -i "$archive.tar" >names
    [ "$(wb-image list -q --no-trunc)" = "$id" ]
    [ "$(wb-image inspect "$id" | jq -c '.[0].RootFS.Layers')" = "$diff_ids" ]
    # The layers are there, unpacked, with what the image says.
    top=$WB_ROOT/layers/sha256/$(jq -r '.[-1][7:]' <<<"$diff_ids")
    [ "$(stat -c %u:%g "$top/etc/new")" = 7:8 ]
    [ "$(stat -c %F "$top/etc/os-release")" = "character special file" ]
    case $archive in
    docker) [ "$(paste -sd' ' names)" = "mine:1 two:2" ] ;;
    esac
  done
}

@test "an archive of docker before 1.10, as docker reads it" {
  make_image
  start_docker
  wb save -o ours.tar mine:1
  "${docker[@]}" load -q -i ours.tar
  "${docker[@]}" tag mine:1 two:2
  "${docker[@]}" save -o docker.tar mine:1 two:2
  # Its newer form is the older one and a list.
  mkdir old && tar -xf docker.tar -C old
  rm old/manifest.json old/"${id#sha256:}.json"
  tar -cf old.tar -C old .
  rm -rf "$WB_ROOT"
  [ "$(wb load -q -i old.tar | paste -sd' ')" = "mine:1 two:2" ]
  "${docker[@]}" rmi mine:1 two:2 >/dev/null
  "${docker[@]}" load -q -i old.tar
  "${docker[@]}" image inspect two:2 >theirs.json
  wb-image inspect two:2 >ours.json
  for member in '.[0].RootFS.Layers' '.[0].Config.Cmd' '.[0].Config.Labels' '.[0].Architecture' '.[0].Os'; do
    [ "$(jq -c "$member" ours.json)" = "$(jq -c "$member" theirs.json)" ]
    [ "$(jq -c "$member" ours.json)" != null ]
  done
  [ "$(jq -c '.[0].RootFS.Layers' ours.json)" = "$diff_ids" ]
  [ "$(wb-image inspect mine:1 | jq -r '.[0].Id')" = "$(jq -r '.[0].Id' ours.json)" ]
}
