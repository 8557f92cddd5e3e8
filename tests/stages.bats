#!/usr/bin/env bats
# wb run, one stage at a time: printed with --dry-run, stopped at with --break.

load lib/common

setup () {
  wb_setup
  make_busybox_image
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

# A script's words, whatever the lines; what stands for the flow's own arguments and directory alike.
words () { tr -s '\\\n ' '\n' | sed -e 's/^"\$@"$/ARGUMENTS/' -e '/^$/d' | tr '\n' ' '; }
# From the file $1, the text from the first line with $2 to the first after it with $3.
passage () { awk -v from="$2" -v to="$3" 'index($0, from) { on = 1 } on { print } on && index($0, to) { exit }' "$1"; }

@test "the dry run is what run.sh and lib.sh do, word for word" {
  cmd=$WB_CHECKOUT/wrappers/cmd
  wb run --dry-run ARGUMENTS >dry
  passage "$cmd/run.sh" 'wb-spec -n run' 'wb-cgroup create' | words >flow
  passage dry 'wb-spec -n run' 'wb-cgroup create' | words >printed
  grep -q 'wb-state create | wb-pull' flow
  diff flow printed
  finish=$(sed -n "s/^wb_finish='\(.*\)'$/\1/p" "$cmd/lib.sh")
  passage "$cmd/lib.sh" 'exec wb-monitor run' 'wb-confine' | sed "s/\$wb_finish/$finish/g" | words >flow
  passage dry 'exec wb-monitor run' 'wb-confine' | words | sed 's/--take --doc "$made" -- wb-unshare/ARGUMENTS -- wb-unshare/' >printed
  grep -q 'wb-unshare run' flow
  diff flow printed
  forget=$(passage "$cmd/lib.sh" 'wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount --purge' 'wb-state rm' | words |
    sed 's/ARGUMENTS //; s/ $//')
  passage "$cmd/run.sh" '[ ! -s "$made" ]' 'rm -f' | words | sed "s,wb_forget <\"\$made\" || : ,$forget ," >flow
  passage dry '[ ! -s "$made" ]' 'rm -f' | words | sed 's/<"$made" //' >printed
  grep -q 'wb-cgroup delete' flow
  diff flow printed
}

@test "a dry run touches nothing" {
  find "$WB_ROOT" "$WB_RUN" 2>/dev/null | sort >before
  wb run --dry-run -d --name a busybox true >dry
  find "$WB_ROOT" "$WB_RUN" 2>/dev/null | sort | diff before -
  sh -n dry
}

# What is each container's own is the same word for both.
description () {
  wb describe "$1" | jq -S --arg id "$(wb inspect "$1" | jq -r '.[0].wb.id')" '
    del(.wb.state) | .process.env |= map(select(startswith("_=") | not)) | .wb.described.namespaces |= map_values({ours})
    | (.. | objects | select(has("mac")) | .mac) = "MAC"
    | tostring | split($id) | join("ID") | split($id[:12]) | join("ID")' -r |
    sed -E -e 's/10\.[0-9]+\.[0-9]+\.[0-9]+/ADDRESS/g' -e "s/\"$1\"/\"NAME\"/g" \
      -e 's,/proc/[0-9]+/,/proc/PID/,g' | jq -S .
}

@test "ten dry runs, pasted, give the containers that wb run gives" {
  mkdir data && echo hello >data/file
  wb network create lab >/dev/null
  count=0
  while read -r line; do
    count=$((count + 1))
    eval "set -- $line"
    # Names of different lengths would be differences.
    wb run -d --name "a$count" "$@" >/dev/null
    wb run --dry-run -d --name "b$count" "$@" >dry
    within 30 sh dry >id </dev/null
    [[ $(<id) =~ ^[0-9a-f]{64}$ ]]
    description "a$count" >a
    description "b$count" >b
    diff a b || {
      echo "wb run $line" >&2
      return 1
    }
    jq -e '.process.args and .mounts and .wb.described' a
    wb rm -f "a$count" "b$count" >/dev/null
  done <<'END'
--net none busybox sleep 1000
--network lab -p 127.0.0.1::80 -e 'C=ü "x" $HOME `id` \' busybox sh -c 'exec sleep "$1"' $'it\'s\na line' 1000
-m 64m --cpus 0.5 --pids-limit 50 --net none busybox sleep 1000
-e A="it's" -e 'B=two words' -w /tmp -u 1000:1000 --net none busybox sleep 1000
-v "$PWD/data:/data:ro" --tmpfs /scratch:size=1m --net none busybox sleep 1000
--hostname kiste --cap-drop ALL --cap-add NET_BIND_SERVICE --security-opt no-new-privileges --net none busybox sleep 1000
--read-only --ulimit nofile=64:128 --oom-score-adj 200 --net none busybox sleep 1000
--init -l a=b --net none busybox sh -c 'trap "exit 0" TERM; while :; do sleep 1; done'
--privileged --net none busybox sleep 1000
--userns 0:231072:65536 --network host --ipc private busybox sleep 1000
END
  [ "$count" -eq 10 ]
}

@test "a difference between two containers is seen" {
  wb run -d --name a1 --net none busybox sleep 1000 >/dev/null
  wb run -d --name b1 --net none --cap-drop KILL busybox sleep 1000 >/dev/null
  description a1 >a
  description b1 >b
  must_fail 1 diff a b
  [[ $output == *CAP_KILL* ]]
}

@test "a pasted dry run leaves the shell as it was, gives the exit status, and undoes what fails" {
  require_program script
  wb run --dry-run --rm --net none busybox sh -c 'echo "it is $0"; exit 7' >dry
  { cat dry; echo 'echo "status $?"; command -v wb-spec; exit 0'; } >typed
  within 30 env -u WB_FLOWS TERM=dumb PATH=/usr/bin:/bin script -qec 'bash --norc' /dev/null <typed >out
  grep -q 'it is sh' out
  grep -q 'status 7' out
  must_fail 1 grep -q '^/.*wb-spec' out
  wb run --dry-run --net none -v /data:relative busybox true >dry
  must_fail 125 sh dry
  wb run --dry-run --net none --memory 1m --memory-swap 1k busybox true >dry
  must_fail 125 sh dry
  [ -z "$(wb ps -aq)" ]
}

# A shell for --break, which does what stands in ./typed.
by_hand () {
  printf '#!/bin/sh\necho "$WB_DOC" >>stops\n%s\n' "$1" >by-hand
  chmod +x by-hand
  export SHELL=$PWD/by-hand
}

@test "--break: goes on, with the document as it is" {
  by_hand 'jq -r .root.path "$WB_DOC" >root; ls "$(cat root)/bin" >bin'
  [ "$(wb run --break after:wb-rootfs --rm --net none busybox echo went on)" = 'went on' ]
  grep -qx busybox bin
  [ "$(wc -l <stops)" = 1 ]
  [ ! -e "$(cat stops)" ]
}

@test "--break: goes on with the document as it was edited, at every stop" {
  by_hand 'jq ".process.args = [\"echo\", \"edited\"]" "$WB_DOC" >new && mv new "$WB_DOC"'
  for stop in before:wb-state after:wb-pull after:wb-rootfs before:wb-ipam after:wb-ipam before:wb-netns after:wb-netns \
    before:wb-cgroup after:wb-cgroup; do
    [ "$(wb run --break=$stop --rm --net none busybox echo as typed 2>message)" = edited ]
    grep -q "^wb: stopped ${stop%:*} ${stop#*:}; the document is in" message
  done
  [ -z "$(wb ps -aq)" ]
}

@test "--break: undoes what is made, also when the document was destroyed or a stage fails" {
  by_hand 'exit 1'
  for stop in after:wb-spec before:wb-state after:wb-state after:wb-rootfs after:wb-netns after:wb-cgroup before:wb-monitor; do
    must_fail 125 wb run --break $stop --name gone busybox true
    [ -z "$(wb ps -aq)" ]
    [ -z "$(wb_mounts)" ]
    [ -z "$(wb_cgroups)" ]
    [ ! -e "$(tail -n 1 stops)" ]
  done
  by_hand 'echo garbage >"$WB_DOC"'
  must_fail 1 wb run --break after:wb-netns --name gone busybox true
  [ -z "$(wb ps -aq)" ]
  by_hand 'jq ".linux.resources.memory.limit = \"much\"" "$WB_DOC" >new; mv new "$WB_DOC"'
  must_fail 125 wb run --break before:wb-cgroup --name gone busybox true
  [ -z "$(wb ps -aq)" ]
}

@test "--break on a terminal asks where the shell's status says nothing" {
  require_program script
  export SHELL=/bin/sh
  line='wb run --break after:wb-rootfs --rm --net none busybox echo went on'
  printf 'echo "doc $WB_DOC"; test -s "$WB_DOC"\nexit\n' >typed
  within 30 script -qec "$line" /dev/null <typed >out
  grep -q 'doc /.*document.json' out
  grep -q 'went on' out
  printf 'false\nexit\ny\n' >typed
  within 30 script -qec "$line" /dev/null <typed >out
  grep -q 'went on' out
  printf 'exit 1\nn\n' >typed
  run -125 within 30 script -qec "$line" /dev/null <typed
  [[ $output == *'go on with the container'* && $output != *'went on'* ]]
  [ -z "$(wb ps -aq)" ]
}

@test "--break wants a stage" {
  must_fail 125 wb run --break
  must_fail 125 wb run --break after:wb-nothing busybox true
  [[ $stderr == 'wb: run: --break takes one of after:wb-spec before:wb-state after:wb-state before:wb-pull'* ]]
  must_fail 125 wb run --break after:wb-rotfs busybox true
  [[ $stderr == *$'before:wb-monitor\nhint: did you mean after:wb-rootfs?\nhint: wb help run' ]]
  must_fail 125 wb run --break wb-pull busybox true
  must_fail 125 wb run --break after: busybox true
  [ -z "$(wb ps -aq)" ]
}
