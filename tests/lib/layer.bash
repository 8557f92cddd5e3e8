# Images made of tars, for tests: `load lib/layer`.
#
#   debian_layout             a Debian image of four layers as an OCI layout, tagged `real`; made once. Prints its path
#   layout_new DIR            an empty OCI layout
#   layout_add DIR TAR        puts a layer into it: prints the descriptor and the diff id
#   layout_tag DIR TAG CONFIG LAYER…   an image of such layers, lowest first
#   registry_start            a registry on loopback, empty, at $REGISTRY (host:port)
#   registry_stop

# layout_new DIR
layout_new () {
  mkdir -p "$1/blobs/sha256"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}' >"$1/index.json"
}

# layout_blob DIR FILE TYPE: moves the file into the layout; prints its descriptor.
layout_blob () {
  local digest
  digest=$(sha256sum <"$2")
  digest=${digest%% *}
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}\n' "$3" "$digest" "$(stat -c %s "$2")"
  mv "$2" "$1/blobs/sha256/$digest"
}

# layout_add DIR TAR
layout_add () {
  local diff
  diff=$(sha256sum <"$2")
  gzip -n -6 <"$2" >"$2.gz"
  layout_blob "$1" "$2.gz" application/vnd.oci.image.layer.v1.tar+gzip | jq -c ". + {diff: \"sha256:${diff%% *}\"}"
}

# layout_tag DIR TAG CONFIG LAYER…; CONFIG is the image configuration's `config` object.
layout_tag () {
  local dir=$1 tag=$2 config=$3 descriptor layers
  shift 3
  layers=$(printf '%s\n' "$@" | jq -sc .)
  jq -nc --argjson config "$config" --argjson layers "$layers" '{
    created: "2024-01-02T03:04:05Z", architecture: "amd64", os: "linux", config: $config,
    rootfs: {type: "layers", diff_ids: [$layers[].diff]},
    history: [$layers[] | {created: "2024-01-02T03:04:05Z", created_by: "tests"}]
  }' >"$dir/config.new"
  descriptor=$(layout_blob "$dir" "$dir/config.new" application/vnd.oci.image.config.v1+json)
  jq -nc --argjson config "$descriptor" --argjson layers "$layers" '{
    schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: $config, layers: [$layers[] | del(.diff)]
  }' >"$dir/manifest.new"
  descriptor=$(layout_blob "$dir" "$dir/manifest.new" application/vnd.oci.image.manifest.v1+json)
  jq -c --argjson manifest "$descriptor" --arg tag "$tag" '
    .manifests |= map(select(.annotations["org.opencontainers.image.ref.name"] != $tag))
      + [$manifest + {annotations: {"org.opencontainers.image.ref.name": $tag}}]' "$dir/index.json" >"$dir/index.new"
  mv "$dir/index.new" "$dir/index.json"
}

layer_tar () {
  tar --create --format=pax --numeric-owner --xattrs --xattrs-include='*' --sort=name "$@"
}

# debian_layout: base, packages, deletions and replacements, oddities. Made once for all tests.
debian_layout () {
  local stamp dir
  stamp=$(sha256sum <"$WB_CHECKOUT/tests/lib/layer.bash")
  dir=$WB_FIXTURES/debian-${stamp:0:12}
  mkdir -p "$WB_FIXTURES"
  (
    flock 9
    if [ ! -d "$dir" ]; then
      rm -rf "$WB_FIXTURES"/debian-* "$WB_FIXTURES"/scratch.*
      mkdir "$dir.new"
      debian_layers "$dir.new" && mv "$dir.new" "$dir"
    fi
  ) 9>"$WB_FIXTURES/lock" >&2 3>&- || return
  echo "$dir"
}

# debian_layers DIRECTORY
debian_layers () {
  local dir=$1 scratch layers=() layer
  scratch=$(mktemp -d "$WB_FIXTURES/scratch.XXXXXX")
  layout_new "$dir"
  # Twice, where a mirror is busy.
  debian_base "$scratch/1.tar" || debian_base "$scratch/1.tar" || return
  debian_packages "$scratch/packages" || return
  layer_tar -f "$scratch/2.tar" -C "$scratch/packages" . || return
  debian_changes "$scratch/changes" || return
  layer_tar -f "$scratch/3.tar" -C "$scratch/changes" . || return
  debian_oddities "$scratch/oddities" || return
  layer_tar -f "$scratch/4.tar" -C "$scratch/oddities" . || return
  for layer in 1 2 3 4; do
    layers+=("$(layout_add "$dir" "$scratch/$layer.tar")") || return
  done
  layout_tag "$dir" real '{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin","GREETING=hello from Debian"],
    "Entrypoint":["/usr/local/bin/entry"],"Cmd":["default"],"WorkingDir":"/srv/work","User":"www-data",
    "Labels":{"maker":"tests"},"StopSignal":"SIGQUIT"}' "${layers[@]}" || return
  rm -rf "$scratch"
}

debian_base () {
  mmdebstrap --quiet --mode=root --variant=essential \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$1" </dev/null
}

# A layer of packages, with what their installation would do.
debian_packages () {
  local download=$1.debs
  mkdir -p "$1" "$download"
  (cd "$download" && apt-get -qq -o APT::Sandbox::User=root download iputils-ping jq libjq1 libonig5) || return
  for deb in "$download"/*.deb; do
    # Merged /usr: nothing may come in by /bin, which is a link below.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1" --transform 's,^\./\(bin\|sbin\|lib\)/,./usr/\1/,' \
      --exclude=./usr/share/doc --exclude=./usr/share/man
  done
  rm -rf "${1:?}/"{bin,sbin,lib} "$download"
  setcap cap_net_raw=ep "$1/usr/bin/ping"
  mkdir -p "$1/usr/local/bin"
  printf '%s\n' '#!/bin/sh' 'printf "%s|" entry "$@"; echo' >"$1/usr/local/bin/entry"
  chmod 0755 "$1/usr/local/bin/entry"
  mkdir -p "$1/srv/work/one/two" "$1/srv/opaque/deep" "$1/srv/gone" "$1/srv/turns/dir"
  echo below >"$1/srv/work/one/two/file"
  echo below | tee "$1/srv/opaque/"{a,b,deep/c} "$1/srv/gone/file" "$1/srv/turns/dir/file" >"$1/srv/turns/file"
  ln -s dir "$1/srv/turns/link"
  echo linked >"$1/srv/work/hard1"
  ln "$1/srv/work/hard1" "$1/srv/work/hard2"
  ln "$1/srv/work/hard1" "$1/srv/work/hard3"
  chown -R 33:33 "$1/srv/work"
  touch -d '2001-02-03T04:05:06.789012345Z' "$1/srv/work/one/two/file"
  touch -d '1999-12-31T23:59:59Z' "$1/srv/work/one/two" "$1/srv/work"
}

# A layer that deletes and replaces.
debian_changes () {
  mkdir -p "$1"/{srv/{opaque,turns/file,work/one},usr/bin,etc}
  # Deleted: a directory, a file of the base, one name of three of a file.
  : | tee "$1/srv/.wh.gone" "$1/etc/.wh.issue" "$1/usr/bin/.wh.ping4" >"$1/srv/work/.wh.hard2"
  # Emptied and filled anew.
  : >"$1/srv/opaque/.wh..wh..opq"
  echo above >"$1/srv/opaque/b"
  # A file becomes a directory, a directory a file, a link a directory.
  echo above >"$1/srv/turns/file/inside"
  echo above >"$1/srv/turns/dir"
  mkdir "$1/srv/turns/link"
  echo above >"$1/srv/turns/link/inside"
  # Replaced: a file of the base by a link, a program's mode and owner.
  ln -s /usr/share/zoneinfo/UTC "$1/etc/debian_version"
  cp /usr/bin/true "$1/usr/bin/jq"
  chown 1000:1000 "$1/usr/bin/jq"
  chmod 4711 "$1/usr/bin/jq"
  chmod 0711 "$1/srv/work/one"
  touch -d '2010-10-10T10:10:10.101010101Z' "$1/srv/work/one"
}

# A layer of everything a file system can hold.
debian_oddities () {
  mkdir -p "$1/srv/odd/"{sticky,setgid,deep}
  (
    cd "$1/srv/odd" || return
    chmod 1777 sticky
    chmod 2775 setgid
    chown 12345:54321 setgid
    mknod null c 1 3
    mknod disk b 7 77
    mkfifo -m 0640 fifo
    chmod 0606 null
    echo x >'name with spaces'
    echo x >$'new\nline'
    echo x >'ünï-コード'
    echo x >"$(printf 'n%.0s' {1..255})"
    long=$(printf '%0100d/' 1 2 3)
    mkdir -p "deep/$long"
    echo x >"deep/$long/file"
    ln -s "/$(printf 'target%.0s' {1..100})" long-link
    ln -s . self
    ln -s ../../../../../../etc/passwd climbing-link
    : >empty
    truncate -s 1M sparse
    echo attributes >attributes
    setfattr -n user.note -v 'a value' attributes
    setfattr -n user.binary -v 0x00ff000a attributes
    setfattr -n user.on-directory -v yes deep
    cp /usr/bin/true capable
    setcap cap_net_bind_service,cap_chown=ep capable
    echo linked >first
    ln first deep/second
    chown 4000000000:4000000001 empty
    touch -d '1970-01-01T00:00:00Z' empty
    touch -d '2038-01-19T03:14:08.999999999Z' attributes
    touch -h -d '2005-05-05T05:05:05Z' self
    touch -d '2006-06-06T06:06:06Z' sticky deep .
  )
}

# --- a registry --------------------------------------------------------------------------------------------

# registry_start [DIRECTORY]: distribution's own, on a free port of loopback.
registry_start () {
  local storage=${1:-$WB_SCRATCH/registry} port
  require_program docker-registry
  mkdir -p "$storage"
  for _ in 1 2 3; do
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$storage.yml" <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $storage}, delete: {enabled: true}}
http: {addr: 127.0.0.1:$port}
END
    docker-registry serve "$storage.yml" >"$storage.log" 2>&1 3>&- </dev/null &
    REGISTRY_PID=$!
    export REGISTRY=127.0.0.1:$port
    if eventually 20 registry_answers && kill -0 "$REGISTRY_PID" 2>/dev/null; then return; fi
    registry_stop
  done
  cat "$storage.log" >&2
  return 1
}

registry_answers () {
  (exec 3<>"/dev/tcp/${REGISTRY%:*}/${REGISTRY#*:}") 2>/dev/null || ! kill -0 "$REGISTRY_PID" 2>/dev/null
}

registry_stop () {
  if [ -n "${REGISTRY_PID:-}" ]; then
    kill "$REGISTRY_PID" 2>/dev/null || true
    wait "$REGISTRY_PID" 2>/dev/null || true
  fi
  REGISTRY_PID=
}
