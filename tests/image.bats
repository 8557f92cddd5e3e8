#!/usr/bin/env bats
# wb-image: the store as skopeo and umoci see it; names, archives, garbage.

load lib/common

setup () {
  wb_setup
  export SOURCE_DATE_EPOCH=1700000000
}
teardown () { wb_teardown; }

blobs () { find "$WB_ROOT/images/blobs/sha256" -type f | wc -l; }
layers () { find "$WB_ROOT/layers/sha256" -mindepth 1 -maxdepth 1 -type d 2>/dev/null; }

# Everything stat and getfattr say of a tree.
look () {
  (cd "$1" && find . -type d ! -path . -printf '%P %y %m %U %G %T@\n' | sort
    find . ! -type d -printf '%P %y %m %U %G %T@ %s %l %n\n' | sort
    find . -exec getfattr -h -m - --absolute-names -d {} + 2>/dev/null | sed '/^$/d' | paste -sd' ' | tr '#' '\n' | sort
    find . -type f -exec sha256sum {} + | sort)
}

# The container $1 of busybox, not started: its document in $1.json, its root mounted.
make_container () {
  wb-spec -n run --name "$@" | wb-state create | wb-pull | wb-rootfs mount | wb-state put >"$1.json"
}

remove_container () {
  wb-rootfs umount --purge <"$1.json" | wb-state rm >/dev/null
}

@test "an imported root is an OCI image that skopeo and umoci read" {
  make_busybox_image
  id=$(cat import.out)
  [[ $id =~ ^sha256:[0-9a-f]{64}$ ]]
  image=oci:$WB_ROOT/images:docker.io/library/busybox:latest
  skopeo inspect "$image" >inspect.json
  [ "$(jq -r .Os inspect.json)" = linux ]
  [ "$(jq '.Layers | length' inspect.json)" = 1 ]
  [ "sha256:$(skopeo inspect --config --raw "$image" | sha256sum | cut -d' ' -f1)" = "$id" ]
  umoci unpack --image "$WB_ROOT/images:docker.io/library/busybox:latest" bundle >/dev/null 2>&1
  diff <(look bundle/rootfs) <(look "$(layers)")
  # The same tar gives the same image.
  [ "$(wb-image import "$(busybox_tar)" again)" = "$id" ]
}

@test "what can be imported: tar, gzip, zstd, standard input, a directory" {
  mkdir -p tree/etc tree/bin && echo one >tree/etc/file && ln tree/etc/file tree/etc/link && chown 7:8 tree/bin
  setfattr -n user.a -v b tree/etc/file && touch -d @5 tree/etc/file tree/etc tree/bin tree
  tar --create --sort=name --numeric-owner --xattrs -C tree . >root.tar
  gzip -k root.tar && zstd -q root.tar && xz -k root.tar
  wb-image import root.tar plain >/dev/null
  wb-image import root.tar.gz gz >/dev/null
  wb-image import root.tar.zst zst >/dev/null
  wb-image import - stdin <root.tar.gz >/dev/null
  [ "$(layers | wc -l)" = 1 ]
  diff <(look tree) <(look "$(layers)")
  wb-image import tree dir >/dev/null
  [ "$(layers | wc -l)" = 2 ]
  for layer in $(layers); do diff <(look tree) <(look "$layer"); done
  must_fail 1 wb-image import root.tar.xz xz
  [[ $stderr = *"xz is not read here"*"hint: "* ]]
  must_fail 1 wb-image import nowhere x
  [ "$stderr" = "wb-image: import: nowhere: No such file or directory (ENOENT)" ]
  # Everyone else reads the blobs too.
  for name in plain gz zst dir; do
    skopeo copy -q "oci:$WB_ROOT/images:docker.io/library/$name:latest" "dir:$name.out"
  done
}

@test "a refused import leaves nothing" {
  python3 "$WB_CHECKOUT/tests/lib/hostile_layers.py" --write .
  must_fail 1 wb-image import name-dotdot.tar bad
  [ "$stderr" = "wb-image: import: name-dotdot.tar: wb-rootfs: unpack: ../escape: name with .." ]
  head -c 100000 "$(busybox_tar)" >cut.tar && gzip -k cut.tar && head -c 20000 cut.tar.gz >cut2.tar.gz
  must_fail 1 wb-image import cut.tar bad
  must_fail 1 wb-image import cut2.tar.gz bad
  (gzip -c <"$(busybox_tar)" && echo garbage) >tail.tar.gz
  must_fail 1 wb-image import tail.tar.gz bad
  must_fail 1 wb-image import "$(busybox_tar)" bad --max-bytes 1m
  [[ $stderr == *"more than 1048576 bytes unpacked"*"hint: raise the limit with --max-bytes" ]]
  [ "$(blobs)" = 0 ]
  [ -z "$(layers)" ]
  [ -z "$(find "$WB_ROOT/images/.wb/unfinished" -type f)" ]
  [ "$(wb-image list --json)" = "[]" ]
}

@test "--change sets what docker's import sets" {
  wb-image import "$(busybox_tar)" app:1 -c 'CMD ["sh", "-c", "x"]' -c 'ENV A=1 B=2' -c 'EXPOSE 80' -c 'USER www' \
    -c 'WORKDIR /srv' -c 'ENTRYPOINT ["/e"]' -c 'LABEL k=v' -c 'VOLUME /data' -c 'STOPSIGNAL SIGUSR1' -m note >/dev/null
  skopeo inspect --config "oci:$WB_ROOT/images:docker.io/library/app:1" >config.json
  [ "$(jq -c '.config | [.Cmd, .Env, .ExposedPorts, .User, .WorkingDir, .Entrypoint, .Labels, .Volumes, .StopSignal]' config.json)" = \
    '[["sh","-c","x"],["A=1","B=2"],{"80/tcp":{}},"www","/srv",["/e"],{"k":"v"},{"/data":{}},"SIGUSR1"]' ]
  [ "$(jq -r '.history[0].comment' config.json)" = note ]
  must_fail 2 wb-image import "$(busybox_tar)" app:2 -c 'RUN true'
  [[ $stderr = 'wb-image: import: --change "RUN true": not one of'* ]]
}

@test "names: tag, list, inspect, and what is no name" {
  make_busybox_image
  id=$(cat import.out)
  wb-image tag busybox localhost:5000/team/box:v1
  wb-image tag "${id:7:8}" other
  [ "$(wb-image list -q --no-trunc)" = "$id" ]
  wb-image list | sed -n 1p | grep -Eqx 'REPOSITORY +TAG +IMAGE ID +CREATED +SIZE'
  [ "$(wb-image list | sed 1d | awk '{print $1":"$2" "$3}' | sort | paste -sd' ')" = \
    "busybox:latest ${id:7:12} localhost:5000/team/box:v1 ${id:7:12} other:latest ${id:7:12}" ]
  [ "$(wb-image list --json | jq -c '.[].names | sort')" = '["busybox:latest","localhost:5000/team/box:v1","other:latest"]' ]
  [ "$(wb-image list other --json | jq length)" = 1 ]
  [ "$(wb-image inspect other "$id" | jq -r '.[].Id' | sort -u)" = "$id" ]
  must_fail 1 wb-image inspect nothing
  [ "$output" = "[]" ]
  [ "$stderr" = "wb-image: inspect: no such image: nothing" ]
  for name in '../../x' 'UPPER' 'a b' '' '-x' 'x@sha256:abc' $'a\nb' "$(printf 'x%.0s' {1..300})"; do
    must_fail 2 wb-image tag -- busybox "$name"
    [ "$(wb-image list --json | jq '.[0].names | length')" = 3 ]
  done
  # A name belongs to one image; the one that had it dangles.
  wb-image import "$(busybox_tar)" other -c 'ENV X=1' >/dev/null
  wb-image import "$(busybox_tar)" other -c 'ENV X=2' >/dev/null
  [ "$(wb-image list --filter dangling=true -q | wc -l)" = 1 ]
  wb-image gc --dangling >/dev/null
  [ "$(wb-image list --filter dangling=true -q | wc -l)" = 0 ]
}

@test "rm: a name, then the last name with all that belongs to it" {
  make_busybox_image
  wb-image tag busybox second
  [ "$(wb-image rm busybox)" = "Untagged: busybox:latest" ]
  must_fail 1 wb-image rm busybox
  [ "$stderr" = "wb-image: rm: no such image: busybox" ]
  [ "$(layers | wc -l)" = 1 ]
  wb-image tag second third
  id=$(cat import.out)
  must_fail 1 wb-image rm "${id:7:12}"
  [[ $stderr = *"the image has several names: second:latest, third:latest"* ]]
  [ "$(wb-image rm -f "${id:7:12}" | sort | paste -sd' ')" = "Deleted: $id Untagged: second:latest Untagged: third:latest" ]
  [ "$(blobs)" = 0 ]
  [ -z "$(layers)" ]
  [ -z "$(find "$WB_ROOT/layers" -name '.size-*')" ]
}

@test "rm refuses while a container uses the image, and says which; -f keeps its layers" {
  make_busybox_image
  make_container web busybox true
  short=$(jq -r .wb.id web.json | cut -c1-12)
  must_fail 1 wb-image rm busybox
  [ "$stderr" = "wb-image: rm: busybox: the image is used by container web ($short)
hint: remove the container first, or use -f to take only the name away" ]
  wb-image rm -f busybox
  [ "$(layers | wc -l)" = 1 ]
  [ -x "$(jq -r .wb.rootfs.merged web.json)/bin/busybox" ]
  remove_container web
  wb-image gc >/dev/null
  [ -z "$(layers)" ]
}

@test "a layer two images share goes with the second" {
  make_busybox_image
  wb-image import "$(busybox_tar)" other -c 'ENV A=b' >/dev/null
  wb-image rm busybox >/dev/null
  [ "$(layers | wc -l)" = 1 ]
  wb-image rm other >/dev/null
  [ -z "$(layers)" ]
}

@test "save and load: the same image, also through skopeo's archives" {
  make_busybox_image
  wb-image import "$(busybox_tar)" other:2 -c 'ENV A=b' >/dev/null
  wb-image inspect busybox other:2 | jq -S 'map(del(.Descriptor))' >before.json
  wb-image save busybox other:2 >both.tar
  wb-image save -o again.tar busybox other:2
  cmp both.tar again.tar
  wb-image save --format oci busybox -o oci.tar
  must_fail 1 wb-image save busybox nothing -o half.tar
  [ -z "$(ls half.tar* 2>/dev/null)" ]
  # Others read them: docker's way, OCI's way, and what umoci unpacks is the same tree.
  skopeo inspect --raw docker-archive:both.tar:busybox:latest >/dev/null
  skopeo copy -q docker-archive:both.tar:other:2 docker-archive:skopeo-docker.tar:from/skopeo:1
  skopeo copy -q oci-archive:oci.tar oci-archive:skopeo-oci.tar:docker.io/from/oci:1
  skopeo copy -q oci-archive:oci.tar:docker.io/library/busybox:latest oci:layout:x
  umoci unpack --image layout:x bundle >/dev/null 2>&1
  diff <(look bundle/rootfs) <(look "$(layers)")

  rm -rf "$WB_ROOT"
  [ "$(wb-image load -i both.tar | paste -sd' ')" = "Loaded image: busybox:latest Loaded image: other:2" ]
  wb-image inspect busybox other:2 | jq -S 'map(del(.Descriptor))' | diff before.json -
  [ "$(gzip -c oci.tar | wb-image load -q)" = busybox:latest ]
  [ "$(zstd -qc skopeo-docker.tar | wb-image load -q)" = from/skopeo:1 ]
  [ "$(wb-image load -q -i skopeo-oci.tar)" = from/oci:1 ]
  [ "$(layers | wc -l)" = 1 ]
  wb-image rm busybox other:2 from/skopeo:1 from/oci:1 >/dev/null
  [ "$(blobs)" = 0 ]
}

@test "load reads a layer once: it is unpacked while it is stored" {
  make_busybox_image
  wb-image save --format oci busybox -o gzip.tar
  skopeo copy -q oci-archive:gzip.tar docker-archive:plain.tar:plain:1
  # Another platform's layer, a compressed blob that is none, and an index that knows nothing of either.
  mkdir strange && tar -xf gzip.tar -C strange
  mkdir other && echo x >other/x && tar -C other -cf stray .
  gzip -c <<<text >text.gz
  for file in stray text.gz; do cp "$file" "strange/blobs/sha256/$(sha256sum <"$file" | cut -d' ' -f1)"; done
  tar -C strange -cf strange.tar .
  for archive in gzip.tar strange.tar plain.tar; do
    rm -rf "$WB_ROOT" reads.*
    # A file for each process, in which no call is cut in two.
    strace -ff -qq -y -e trace=read,pread64,readv,sendfile,splice,copy_file_range -o reads wb-image load -q -i "$archive" >/dev/null
    [ "$(layers | wc -l)" = 1 ]
    # Of what lies in the store only small files are read, and of a layer how it begins.
    cat reads.* | awk -v blobs="$WB_ROOT/images/blobs/" 'index($0, blobs) && / = [0-9]+$/ { sum += $NF }
      END { exit !(sum < 20000) }'
    grep -qF "<$PWD/$archive>" reads.*
    diff <(ls "$WB_ROOT/layers/sha256") <(wb-image inspect "$(wb-image list --json | jq -r '.[0].names[0] // .[0].id')" | jq -r '.[0].RootFS.Layers[][7:]')
  done
}

@test "archives that are broken or hostile: one clear line, the store as before" {
  make_busybox_image
  wb-image save busybox -o good.tar
  before=$(find "$WB_ROOT" ! -path '*/.wb*' ! -name .wb | sort | sha256sum)
  config=$(tar -xOf good.tar manifest.json | jq -r '.[0].Config')
  layer=$(tar -xOf good.tar manifest.json | jq -r '.[0].Layers[0]')
  rm -rf "$WB_ROOT/images/blobs/sha256/${layer##*/}.x"
  # repack NAME FILTER: another manifest.json in an otherwise whole archive.
  repack () {
    rm -rf work && mkdir work && tar -xf good.tar -C work
    jq -c "$2" work/manifest.json >work/new && mv work/new work/manifest.json
    tar -cf "$1.tar" -C work .
  }
  repack config-outside '.[0].Config="../../../../etc/passwd"'
  repack layer-outside '.[0].Layers=["/etc/passwd"]'
  repack layer-twice '.[0].Layers+=.[0].Layers'
  repack no-layer '.[0].Layers=[]'
  repack bad-name '.[0].RepoTags=["../../x"]'
  repack empty '[]'
  repack no-list '{}'
  repack flipped . && printf x | dd of="work/$layer" bs=1 seek=5000 conv=notrunc status=none && tar -cf flipped.tar -C work .
  repack linked . && rm "work/$config" && ln -s /etc/passwd "work/$config" && tar -cf linked.tar -C work .
  repack fifo . && rm "work/$layer" && mkfifo "work/$layer" && tar -cf fifo.tar -C work .
  repack wrong-blob-name . && mv "work/$layer" work/blobs/sha256/..%2f..%2fetc && tar -cf wrong-blob-name.tar -C work .
  # legacy NAME JSON: docker's oldest form, with one layer `a`.
  legacy () {
    rm -rf old && mkdir -p old/a && echo '{"old":{"1":"a"}}' >old/repositories
    echo "$2" >old/a/json && cp "work/$layer" old/a/layer.tar
    tar -cf "$1.tar" -C old .
  }
  rm -rf work && mkdir work && tar -xf good.tar -C work
  legacy legacy-loop '{"parent":"a"}'
  legacy legacy-outside '{"parent":"../../../../etc"}'
  legacy legacy-nonsense '[]'
  legacy legacy-no-layer '{}' && tar --delete -f legacy-no-layer.tar ./a/layer.tar
  head -c 500000 good.tar >cut.tar
  head -c 100000 /dev/urandom >noise.tar
  : >nothing.tar
  busybox_tar >/dev/null && cp "$(busybox_tar)" rootfs.tar
  for archive in config-outside layer-outside layer-twice no-layer bad-name empty no-list flipped linked fifo \
    wrong-blob-name legacy-loop legacy-outside legacy-nonsense legacy-no-layer cut noise nothing rootfs; do
    WB_COMMAND_TIMEOUT=20 run --separate-stderr timeout 20 wb-image load -i "$archive.tar"
    [ "$status" = 1 ] || [ "$status" = 2 ] || { echo "$archive: $status $output $stderr" >&2 && false; }
    [ "$(grep -vc '^hint: ' <<<"$stderr")" = 1 ] || { echo "$archive: $stderr" >&2 && false; }
    [ "$(find "$WB_ROOT" ! -path '*/.wb*' ! -name .wb | sort | sha256sum)" = "$before" ] || { echo "$archive changed the store" >&2 && false; }
  done
}

@test "history shows each step" {
  make_busybox_image
  make_container c busybox sh -c 'echo changed'
  echo x >"$(jq -r .wb.rootfs.merged c.json)/etc/new"
  wb-image commit --container c -m 'a note' -a somebody mine >/dev/null
  [ "$(wb-image history mine --json | jq -c 'map([.createdBy, .author, .comment, .size])')" = \
    '[["sh -c echo changed","somebody","a note",2],[null,null,"Imported from '"$(busybox_tar)"'",'"$(wb-image list busybox --json | jq '.[0].size')"']]' ]
  wb-image history mine | sed -n 1p | grep -Eqx 'IMAGE +CREATED +CREATED BY +SIZE +COMMENT'
  remove_container c
}

@test "commit: the container's changes upon its image, without volumes and generated files" {
  make_busybox_image
  make_container c -e A=1 -w /srv -l k=v busybox sh -c 'run me'
  merged=$(jq -r .wb.rootfs.merged c.json)
  mkdir -p "$merged/srv" "$merged/proc" "$merged/data" && echo new >"$merged/etc/new" && rm "$merged/etc/os-release"
  rm -r "${merged:?}/var" && mkdir "$merged/var" && echo f >"$merged/var/fresh"
  echo 127.0.0.1 >"$merged/etc/hosts"
  jq '.mounts += [{"destination":"/data"},{"destination":"/etc/hosts"}]' c.json |
    wb-image commit -m note -c 'CMD ["other"]' team/mine:1 >/dev/null
  jq '.mounts += [{"destination":"/data"},{"destination":"/etc/hosts"}]' c.json |
    wb-image commit -m note -c 'CMD ["other"]' team/mine:2 >/dev/null
  # The same changes, the same image.
  [ "$(wb-image list -q team/mine | wc -l)" = 1 ]
  skopeo inspect --config "oci:$WB_ROOT/images:docker.io/team/mine:1" >config.json
  [ "$(jq -c '.config | [.Cmd, .WorkingDir, .Labels]' config.json)" = '[["other"],"/srv",{"k":"v"}]' ]
  jq -e '.config.Env | index("A=1")' config.json >/dev/null
  umoci unpack --image "$WB_ROOT/images:docker.io/team/mine:1" bundle >/dev/null 2>&1
  [ "$(cat bundle/rootfs/etc/new)" = new ]
  [ ! -e bundle/rootfs/etc/os-release ]
  [ "$(ls bundle/rootfs/var)" = fresh ]
  [ ! -e bundle/rootfs/etc/hosts ]
  [ ! -e bundle/rootfs/data ]
  [ -x bundle/rootfs/bin/busybox ]
  remove_container c
}

@test "gc removes what killed work left, and nothing that is used" {
  make_busybox_image
  before=$(find "$WB_ROOT" ! -path '*/.wb/*' | sort)
  mkdir -p "$WB_ROOT/layers/sha256/.tmp-1-0/deep" "$WB_ROOT/images/.wb/unfinished"
  touch "$WB_ROOT/images/.wb/unfinished/1.0" "$WB_ROOT/images/blobs/sha256/$(printf 'a%.0s' {1..64})"
  mkdir "$WB_ROOT/layers/sha256/$(printf 'b%.0s' {1..64})" && touch "$WB_ROOT/layers/sha256/.size-$(printf 'c%.0s' {1..64})"
  ln -s /etc "$WB_ROOT/layers/sha256/stray" && mkfifo "$WB_ROOT/images/blobs/sha256/fifo"
  [ "$(wb-image gc)" = "2 blobs, 2 layers, 0B freed" ]
  [ "$(find "$WB_ROOT" ! -path '*/.wb/*' | sort)" = "$before" ]
  [ -z "$(find "$WB_ROOT/images/.wb/unfinished" -type f)" ]
  [ -d /etc ]
}

@test "an import killed at any moment leaves a store that works" {
  make_busybox_image
  for step in {1..20}; do
    timeout -s KILL "0.0$((step * 2 + 10))" wb-image import "$(busybox_tar)" other -c "ENV N=$step" >/dev/null 2>&1 || true
    wb-image list >/dev/null
  done
  wb-image import "$(busybox_tar)" other >/dev/null
  wb-image gc --dangling >/dev/null
  [ -z "$(find "$WB_ROOT" -name '.tmp-*' -o -name '*.tmp')" ]
  wb-image list -q >/dev/null
  skopeo inspect "oci:$WB_ROOT/images:docker.io/library/other:latest" >/dev/null
}

@test "ten at once import and tag: every name is there" {
  for number in {0..9}; do
    (wb-image import "$(busybox_tar)" "box$number" -c "ENV N=$number" && wb-image tag "box$number" "second$number") >/dev/null &
    pids="${pids-} $!"
  done
  for pid in $pids; do wait "$pid"; done
  [ "$(wb-image list --json | jq '[.[].names[]] | length')" = 20 ]
  [ "$(layers | wc -l)" = 1 ]
}

@test "a store that somebody garbled: ls says so and shows the rest" {
  make_busybox_image
  wb-image import "$(busybox_tar)" other -c 'ENV A=b' >/dev/null
  digest=$(wb-image inspect other | jq -r '.[0].Descriptor.digest')
  echo garbled >"$WB_ROOT/images/blobs/sha256/${digest#sha256:}"
  must_fail 1 wb-image list -q
  [ "$(wc -l <<<"$output")" = 1 ]
  [[ $stderr = "wb-image: list: other:latest: blob $digest: 8 bytes instead of "* ]]
  wb-image rm other
  [ "$(wb-image list --json | jq length)" = 1 ]
  rm "$WB_ROOT/images/index.json" && ln -s /etc/passwd "$WB_ROOT/images/index.json"
  must_fail 1 wb-image list
}

@test "the commands by docker's names: a day with an image" {
  mkdir -p tree/bin && cp /bin/busybox tree/bin/sh && echo one >tree/file
  wb import tree app:1 --change 'CMD ["sh"]' >id
  wb tag app:1 team/app:2
  [ "$(wb images -q --no-trunc)" = "$(cat id)" ]
  [ "$(wb images --json | jq -c '.[0].names | sort')" = '["app:1","team/app:2"]' ]
  [ "$(wb history app:1 --json | jq length)" = 1 ]
  wb save -o app.tar app:1 team/app:2
  [ "$(wb rmi app:1 team/app:2 | sort | paste -sd' ')" = "Deleted: $(cat id) Untagged: app:1 Untagged: team/app:2" ]
  [ "$(wb images --json)" = "[]" ]
  wb load -i app.tar >/dev/null
  # Before it was gone and after it came back it is one image, to the other programs too.
  [ "$(wb images -q --no-trunc)" = "$(cat id)" ]
  [ "sha256:$(skopeo inspect --config --raw "oci:$WB_ROOT/images:docker.io/team/app:2" | sha256sum | cut -d' ' -f1)" = "$(cat id)" ]
  skopeo copy -q "oci:$WB_ROOT/images:docker.io/team/app:2" oci:other:app
  [ "$(wb-pull -n -q --as back:1 --print id oci:other:app)" = "$(cat id)" ]
  [ "$(wb-image list --json | jq -c '.[0].names | sort')" = '["app:1","back:1","team/app:2"]' ]
}
