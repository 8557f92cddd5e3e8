#!/usr/bin/env bats
# wb commit of a container that runs: it stands still meanwhile, and goes on however the commit ends.

load lib/common
load lib/net

setup () { wb_setup; }
teardown () {
  wb rm -f c >/dev/null 2>&1 || true
  wb_teardown
}

# What the kernel says of the container's freezer.
frozen () {
  local directory
  directory=$(wb inspect c | jq -r '.[0].wb.cgroup.paths | .freezer // .unified') || return
  if [ -e "$directory/freezer.state" ]; then
    [ "$(cat "$directory/freezer.state")" = FROZEN ]
  else
    grep -qx 'frozen 1' "$directory/cgroup.events"
  fi
}
thawed () { ! frozen; }

# It runs, and its output grows: by another witness than the freezer's own word.
ticks () { stat -c %s "$merged/ticks"; }
goes_on () {
  local before
  before=$(ticks)
  eventually 5 eval "[ \"\$(ticks)\" -gt $before ]"
}

start () {
  make_busybox_image
  wb run -d --name c --net none "$@" busybox sh -c 'while :; do echo x >>/ticks; sleep 0.01; done' >/dev/null
  merged=/proc/$(wb inspect c | jq -r '.[0].wb.state.pid')/root
  eventually 5 test -s "$merged/ticks"
}

# The tools, with a wb-image that says when it begins and waits for a word: the middle of a commit.
slow_image () {
  mkdir tools
  ln -s "$WB_BIN"/wb-* tools/
  rm tools/wb-image
  mkfifo begun go
  cat >tools/wb-image <<END
#!/bin/sh
echo \$\$ >"$WB_SCRATCH/begun"
read word <"$WB_SCRATCH/go"
exec "$WB_BIN/wb-image" "\$@"
END
  chmod +x tools/wb-image
}

@test "a container stands still while it is committed, and has gone on when wb commit returns" {
  start
  slow_image
  WB_BIN=$PWD/tools wb commit c mine:1 >id 3>&- &
  commit=$!
  within 20 cat begun >/dev/null
  frozen
  before=$(ticks)
  sleep 0.2
  [ "$(ticks)" = "$before" ]
  # Its record does not call it paused, for nobody has paused it.
  [ "$(wb inspect c | jq -r '.[0].wb.state.status')" = running ]
  echo >go
  wait "$commit"
  thawed
  goes_on
  [ "$(cat id)" = "$(wb-image inspect mine:1 | jq -r '.[0].Id')" ]
  # The file that grew is in it as it was then.
  umoci unpack --image "$WB_ROOT/images:docker.io/library/mine:1" bundle >/dev/null 2>&1
  [ "$(stat -c %s bundle/rootfs/ticks)" = "$before" ]
}

@test "--pause=false lets it run, a paused container stays paused, one that has ended is committed too" {
  start
  slow_image
  WB_BIN=$PWD/tools wb commit --pause=false c mine:1 >/dev/null 3>&- &
  commit=$!
  within 20 cat begun >/dev/null
  thawed
  goes_on
  echo >go
  wait "$commit"
  wb pause c >/dev/null
  wb commit c mine:2 >/dev/null
  frozen
  wb unpause c >/dev/null
  goes_on
  wb kill c >/dev/null
  wb wait c >/dev/null
  wb commit c mine:3 >/dev/null
  [ "$(wb images --json | jq '[.[].names[] | select(startswith("mine"))] | length')" = 3 ]
}

@test "whatever kills a commit, the container goes on" {
  start
  slow_image
  for victim in shell program group; do
    echo "$victim"
    WB_BIN=$PWD/tools setsid wb commit c mine:1 >/dev/null 2>&1 3>&- &
    commit=$!
    read -r program <begun
    frozen
    case $victim in
    # The shell alone is gone; the program finds nobody who reads, and is done when it is done.
    shell) kill -9 "$commit" && echo >go ;;
    program) kill -9 "$program" ;;
    group) kill -9 -- "-$commit" ;;
    esac
    wait "$commit" || true
    eventually 5 thawed
    goes_on
  done
  # A refused one, too.
  must_fail 1 wb commit -c 'RUN true' c mine:1
  goes_on
}

@test "of two commits at once the last lets the container go on; a pause meanwhile is kept" {
  start
  slow_image
  cp tools/wb-image first && sed 's/begun/begun2/; s/\/go"/\/go2"/' first >second
  mkfifo begun2 go2
  WB_BIN=$PWD/tools wb commit c mine:1 >/dev/null 3>&- &
  one=$!
  within 20 cat begun >/dev/null
  cp second tools/wb-image
  WB_BIN=$PWD/tools wb commit c mine:2 >/dev/null 3>&- &
  two=$!
  within 20 cat begun2 >/dev/null
  echo >go
  wait "$one"
  frozen
  echo >go2
  wait "$two"
  thawed
  cp first tools/wb-image
  WB_BIN=$PWD/tools wb commit c mine:3 >/dev/null 3>&- &
  one=$!
  within 20 cat begun >/dev/null
  wb pause c >/dev/null
  echo >go
  wait "$one"
  frozen
  wb unpause c >/dev/null
  thawed
}

@test "neither volumes nor what wb writes into a container is committed" {
  mkdir host && echo secret >host/file
  start -v "$PWD/host:/bind" -v named:/named -v /anonymous --tmpfs /scratch
  for place in bind named anonymous scratch dev/shm run; do
    mkdir -p "$merged/$place"
    echo content >"$merged/$place/inside"
  done
  echo kept >"$merged/etc/kept"
  wb commit c mine:1 >/dev/null
  digest=$(jq -r '.layers[-1].digest' "$WB_ROOT/images/blobs/sha256/$(wb-image inspect mine:1 | jq -r '.[0].Descriptor.digest[7:]')")
  tar -tzf "$WB_ROOT/images/blobs/sha256/${digest#sha256:}" | sort >list
  grep -qx etc/kept list
  grep -qx run/inside list
  # The directories things are mounted on may be there, and nothing in them.
  run -1 grep -E '^(bind|named|anonymous|scratch|dev|proc|sys)/.' list
  run -1 grep -E '^etc/(hosts|hostname|resolv\.conf)$' list
}
