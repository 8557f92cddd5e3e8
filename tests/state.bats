#!/usr/bin/env bats
# wb-state: records claimed, stored, found, listed, removed, cleaned up.

load lib/common

setup () { wb_setup; }
teardown () {
  # Processes and records of a test that failed half way.
  [ -z "${SLEEPER:-}" ] || kill "$SLEEPER" 2>/dev/null || true
  wb_teardown
}

# make NAME [FLAGS…]: a record as `wb create` leaves it; prints the id.
make () {
  local name=$1
  shift
  wb-spec run --name "$name" "$@" busybox sleep 9 | wb-state create | wb-state put --quiet
}

# Whether the caller's shell works on a record is part of it; here nobody does any more.
forget_claim () { edit "$1" 'del(.wb.state.claim)'; }

# edit ID FILTER: changes a record behind the tool's back.
edit () {
  local file=$WB_ROOT/containers/$1/config.json
  jq -c "$2" "$file" >edited && cat edited >"$file"
}

# run_process: a living process, and its identity as a record has it.
start_process () {
  sleep 60 &
  SLEEPER=$!
  START=$(sed 's/.*) //' "/proc/$SLEEPER/stat" | cut -d' ' -f20)
  BOOT=$(cat /proc/sys/kernel/random/boot_id)
  LIVE='.wb.state = {status: "running", pid: '$SLEEPER', startTime: '$START', bootId: "'$BOOT'", exitCode: 0, startedAt: "2025-01-01T00:00:00Z"}'
}

stop_process () {
  kill "$SLEEPER"
  wait "$SLEEPER" || true
  SLEEPER=
}

remove () { wb-state get "$@" | wb-state rm >/dev/null; }

@test "a record lies where the design says, closed to others" {
  id=$(make web)
  [ "$(stat -c %a "$WB_ROOT/containers/$id" "$WB_ROOT/containers/$id/config.json" | tr '\n' ' ')" = "700 600 " ]
  [ "$(readlink "$WB_ROOT/names/web")" = "$id" ]
  [ "$(jq -r .wb.state.status "$WB_ROOT/containers/$id/config.json")" = created ]
  [[ $(jq -r .wb.created "$WB_ROOT/containers/$id/config.json") =~ ^[0-9-]+T[0-9:]+\.[0-9]{9}Z$ ]]
  remove web
}

@test "a name is given once, and a refusal leaves nothing" {
  id=$(make web)
  must_fail 125 bash -c 'wb-spec run --name web busybox true | wb-state create | wb-state put --quiet'
  [ -z "$output" ]
  [[ $stderr = "wb-state: create: the name \"web\" is in use by container ${id:0:12}"* ]]
  [ "$(ls "$WB_ROOT/containers")" = "$id" ]
  remove web
  make web >/dev/null
  remove web
}

@test "of a hundred that want one name exactly one gets it" {
  for i in $(seq 100); do
    { wb-spec run --name web busybox | wb-state create | wb-state put --quiet; } 2>/dev/null &
  done >ids
  wait
  [ "$(wc -l <ids)" -eq 1 ]
  [ "$(wb-state list -a -q | wc -l)" -eq 1 ]
  remove web
}

@test "a taken id is refused, and what it names is not handed to those who undo" {
  make web --id abc
  must_fail 125 wb-state create < <(wb-spec run --id abc busybox true)
  jq -e '.wb | has("id") | not' <<<"$output"
  [ "$(wb-state get abc | jq -r .wb.name)" = web ]
  remove web
}

@test "found by name, by id, and by the unique start of an id" {
  make web --id 3f2a11
  make db --id 3f2b22
  for word in web 3f2a11 3f2a; do [ "$(wb-state get "$word" | jq -r .wb.id)" = 3f2a11 ]; done
  must_fail 1 wb-state get 3f2
  [ "$stderr" = 'wb-state: get: "3f2" is the start of more than one id: 3f2a11, 3f2b22' ]
  must_fail 1 wb-state get nope web ../../etc db
  [ "$(jq -r '.wb.name // empty' <<<"$output" | tr '\n' ' ')" = "web db " ]
  [ "$stderr" = $'wb-state: get: no such container: nope\nwb-state: get: no such container: ../../etc' ]
  must_fail 1 wb-state get --json nope
  [ "$output" = '[]' ]
  remove web db
}

@test "a status is true: alive, dead, another program, another boot" {
  id=$(make web)
  start_process
  edit "$id" "$LIVE"
  [ "$(wb-state get web | jq -r .wb.state.status)" = running ]
  [ "$(wb-state list -q)" = "${id:0:12}" ]
  must_fail 1 wb-state get --not-running web
  must_fail 1 wb-state rm < <(wb-state get web)
  [[ $stderr = "wb-state: rm: container web is running"* ]]
  # A stranger under the same number.
  edit "$id" "$LIVE | .wb.state.startTime += 1"
  [ "$(wb-state get web | jq -c '[.wb.state.status, .wb.state.exitCode]')" = '["exited",null]' ]
  edit "$id" "$LIVE | .wb.state.bootId = \"another\""
  [ "$(wb-state get web | jq -r .wb.state.status)" = exited ]
  edit "$id" "$LIVE"
  stop_process
  [ "$(wb-state get web | jq -c '[.wb.state.status, .wb.state.exitCode]')" = '["exited",null]' ]
  [ -z "$(wb-state list -q)" ]
  [[ $(wb-state list -a --table) = *"Exited (unknown)"* ]]
  remove web
}

@test "a late document does not undo an exit that was written meanwhile" {
  id=$(make web)
  edit "$id" '.wb.state = {status: "running", pid: 1, startTime: 1, bootId: "x"}'
  wb-state get web >late.json
  edit "$id" '.wb.state = {status: "exited", exitCode: 3}'
  wb-state put <late.json | jq -e '.wb.state.exitCode == 3'
  remove web
}

@test "wb.error is never stored, and a stage that failed to undo keeps the record" {
  id=$(make web)
  wb-state get web | jq -c '.wb.error = {tool: "wb-x", verb: "add", message: "m", code: 7}' >failed.json
  must_fail 7 wb-state put --quiet <failed.json
  [ "$output" = "$id" ]
  [ "$(grep -c error "$WB_ROOT/containers/$id/config.json")" = 0 ]
  jq -c '.wb.error.undo = true' <failed.json >undo.json
  must_fail 7 wb-state rm <undo.json
  [ -d "$WB_ROOT/containers/$id" ]
  # A failure on the way up does not keep it.
  must_fail 7 wb-state rm <failed.json
  [ ! -e "$WB_ROOT/containers/$id" ]
}

@test "nothing is removed behind a mount" {
  id=$(make web)
  mkdir -p user "$WB_RUN/containers/$id/merged" "$WB_ROOT/containers/$id/upper/dir"
  echo precious >user/file
  mount --bind user "$WB_RUN/containers/$id/merged"
  mount --bind user "$WB_ROOT/containers/$id/upper/dir"
  must_fail 1 wb-state rm < <(wb-state get web)
  [[ $stderr = *"still mounted"* ]]
  [ "$(cat user/file)" = precious ]
  umount "$WB_RUN/containers/$id/merged"
  must_fail 1 wb-state rm < <(wb-state get web)
  [ "$(cat user/file)" = precious ]
  [ "$(wb-state get web | jq -r .wb.name)" = web ]
  umount "$WB_ROOT/containers/$id/upper/dir"
  remove web
  [ "$(cat user/file)" = precious ]
}

@test "torn, foreign and hostile records do not stop the others" {
  make good >/dev/null
  for id in torn linked fifo other deep; do mkdir -m 700 "$WB_ROOT/containers/$id"; done
  printf '{"wb":{"id":"to' >"$WB_ROOT/containers/torn/config.json"
  ln -s /etc/passwd "$WB_ROOT/containers/linked/config.json"
  mkfifo "$WB_ROOT/containers/fifo/config.json"
  echo '{"wb":{"id":"good"}}' >"$WB_ROOT/containers/other/config.json"
  printf '{"a":%.0s' $(seq 200) >"$WB_ROOT/containers/deep/config.json"
  ln -s good "$WB_ROOT/containers/link"
  within 10 wb-state list -a --table 2>err >out
  [ "$(wc -l <out)" -eq 2 ]
  [ "$(wc -l <err)" -eq 5 ]
  must_fail 1 wb-state get torn
  for id in torn linked fifo other deep; do wb-state -n rm --id "$id" >/dev/null; done
  rm "$WB_ROOT/containers/link"
  remove good
}

@test "the table has docker's columns and words, and drives no terminal" {
  id=$(make web -p 8080:80)
  edit "$id" '.wb.state = {status: "exited", exitCode: 137, finishedAt: (now - 7200 | todate)} | .process.args = ["sh", "-c", "printf \u001b[2J"]'
  wb-state list -a --table >table
  [ "$(head -1 table | tr -s ' ')" = "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES" ]
  grep -q "^${id:0:12} .*Exited (137) 2 hours ago .*web\$" table
  ! grep -q $'\x1b' table || return 1
  [ "$(wb-state list --table | wc -l)" -eq 1 ]
  [ "$(wb-state list -a -q --no-trunc)" = "$id" ]
  [ "$(wb-state list -a --json | jq -r '.[0].wb.name')" = web ]
  [ "$(wb-state list -a | jq -r .wb.name)" = web ]
  remove web
}

@test "templates speak docker's names and the document's own" {
  id=$(make web -p 8080:80 -l a=b -m 64m)
  [ "$(wb-state get --json --format '{{.Name}} {{.State.Status}} {{.HostConfig.Memory}} {{.wb.id}}' web)" = "/web created 67108864 $id" ]
  [ "$(wb-state list -a --format '{{.ID}}: {{.Names}} {{.Labels}}')" = "${id:0:12}: web a=b" ]
  wb-state list -a --format 'table {{.Names}}\t{{.Status}}' >table
  [ "$(head -1 table)" = "NAMES   STATUS" ]
  [ "$(tail -1 table)" = "web     Created" ]
  wb-state list -a --format json | jq -e '.Names == "web"'
  must_fail 2 wb-state get --format '{{.Nmae}}' web
  [ "$stderr" = 'wb-state: get: template: no member "Nmae"' ]
  remove web
}

@test "published ports, all or one" {
  make web -p 127.0.0.1:8080:80 -p 53:53/udp >/dev/null
  [ "$(wb-state port web)" = $'80/tcp -> 127.0.0.1:8080\n53/udp -> 0.0.0.0:53' ]
  [ "$(wb-state port web 80)" = 127.0.0.1:8080 ]
  must_fail 1 wb-state port web 81
  remove web
}

@test "volumes: made, listed, in use, removed, pruned" {
  [ "$(wb-state volume create data -l tier=db)" = data ]
  random=$(wb-state volume create)
  [[ $random =~ ^[0-9a-f]{64}$ ]]
  wb-state volume create data >/dev/null
  echo precious >"$WB_ROOT/volumes/data/_data/file"
  [ "$(wb-state volume ls -q | wc -l)" -eq 2 ]
  [ "$(wb-state volume ls | head -1)" = "DRIVER   VOLUME NAME" ]
  [ "$(wb-state volume ls -q --filter label=tier=db)" = data ]
  [ "$(wb-state volume inspect data --format '{{.Mountpoint}} {{.Labels.tier}}')" = "$WB_ROOT/volumes/data/_data db" ]
  make web -v data:/data >/dev/null
  [ "$(wb-state volume ls -q --filter dangling=true)" = "$random" ]
  must_fail 1 wb-state volume rm data
  [[ $stderr = "wb-state: volume: volume data is in use by "* ]]
  [ "$(wb-state volume prune)" = "$random" ]
  [ "$(cat "$WB_ROOT/volumes/data/_data/file")" = precious ]
  remove web
  [ "$(wb-state volume rm data)" = data ]
  must_fail 1 wb-state volume rm data ../containers
  wb-state volume rm --force data
  [ -z "$(ls "$WB_ROOT/volumes")" ]
}

@test "filters, and the last ones" {
  make one -l tier=front >/dev/null
  make two -l tier=back >/dev/null
  names () { wb-state list -a "$@" | jq -r .wb.name | tr '\n' ' '; }
  [ "$(names)" = "two one " ]
  [ "$(names -n 1)" = "two " ]
  [ "$(names -l)" = "two " ]
  [ "$(names --filter label=tier=front)" = "one " ]
  [ "$(names -f name=tw -f status=created)" = "two " ]
  [ "$(names -f since=one)" = "two " ]
  must_fail 2 wb-state list --filter foo=bar
  remove one two
}

@test "renamed: the old name is free, the new one taken" {
  make web >/dev/null
  make db >/dev/null
  must_fail 1 wb-state rename web db
  wb-state rename web www
  must_fail 1 wb-state get web
  [ "$(wb-state get www | jq -r .wb.name)" = www ]
  make web >/dev/null
  remove web www db
}

@test "with --rm the end removes everything, its anonymous volumes too" {
  id=$(make gone --rm -v /data -v keep:/keep)
  mkdir -p "$WB_ROOT/containers/$id/upper/x"
  volume=$(wb-state get gone | jq -r '.wb.volumes[] | select(.anonymous) | .name')
  mkdir -p "$WB_ROOT/volumes/$volume/_data" "$WB_ROOT/volumes/keep/_data"
  wb-state get gone | wb-state finish >/dev/null
  [ ! -e "$WB_ROOT/containers/$id" ]
  [ "$(ls "$WB_ROOT/volumes")" = keep ]
  id=$(make stays)
  wb-state get stays | wb-state finish >/dev/null
  [ -e "$WB_ROOT/containers/$id" ]
  remove stays
}

@test "the id goes to --cidfile, never over a file" {
  id=$(make web --cidfile cid)
  [ "$(cat cid)" = "$id" ]
  must_fail 125 bash -c 'wb-spec run --cidfile cid busybox | wb-state create'
  [ "$(cat cid)" = "$id" ]
  remove web
}

@test "gc: leftovers of the dead are printed, the living and those in the making are not" {
  half=$(setsid -w sh -c 'wb-spec run --name half busybox | wb-state create | jq -r .wb.id')
  make fresh >/dev/null
  live=$(make live)
  dead=$(make dead)
  start_process
  edit "$live" "$LIVE"
  edit "$dead" '.wb.state = {status: "running", pid: 1, startTime: 1, bootId: "x"}'
  # This shell is at work on what it makes; the record `half` was made by one that has died, with its session.
  making=$(wb-spec run --name making busybox | wb-state create | jq -r .wb.id)
  # Of this one the flow has ended, and a subshell of it works on.
  worker=$(WB_FLOWS=x bash -c 'export WB_CLAIM=$$
    { id=$(wb-spec run --name working busybox | wb-state create | jq -r .wb.id); exec sleep 1000; } >/dev/null 2>&1 3>&- &
    echo $!')
  eventually 5 test -L "$WB_ROOT/names/working"
  mkdir "$WB_ROOT/containers/empty"
  ln -s nothing "$WB_ROOT/names/dangling"
  # What a power cut leaves of a container with --rm.
  passed=$(make passed)
  : >"$WB_ROOT/containers/$passed/config.json"
  # What a flow leaves that was killed, and what one has that lives.
  mkdir -p "$WB_RUN/made"
  : >"$WB_RUN/made/4194305"
  echo '{"wb":{"id":"made"}}' >"$WB_RUN/made/4194306"
  : >"$WB_RUN/made/$$"
  [ "$(wb-state gc | jq -r .wb.id | sort)" = "$(printf '%s\n' "$half" "$dead" made | sort)" ]
  [ ! -e "$WB_ROOT/containers/empty" ]
  [ ! -L "$WB_ROOT/names/dangling" ]
  [ ! -e "$WB_ROOT/containers/$passed" ] && [ ! -L "$WB_ROOT/names/passed" ]
  [ "$(ls "$WB_RUN/made")" = "$$" ]
  rm "$WB_RUN/made/$$"
  wb-state gc | wb-state finish >/dev/null
  [ -z "$(wb-state gc)" ]
  kill "$worker"
  eventually 5 sh -c 'wb-state gc | grep -q working'
  wb-state gc | wb-state finish >/dev/null
  must_fail 1 wb-state get half working
  [ "$(wb-state get dead | jq -r .wb.state.status)" = exited ]
  [ "$(wb-state get making live | jq -r .wb.id)" = "$making"$'\n'"$live" ]
  stop_process
  remove dead live fresh making
}

@test "events come as things happen, and only those asked for" {
  wb-state events >events &
  SLEEPER=$!
  wb-state events --json --filter event=rename >renames &
  renames=$!
  # Both watch, and wait for the kernel's word.
  watches () { grep -qs 'inotify wd' "/proc/$1/fdinfo/"* && grep -q '^State:.S' "/proc/$1/status"; }
  eventually 5 watches "$SLEEPER"
  eventually 5 watches "$renames"
  id=$(make web)
  wb-state rename web www
  wb-spec -n update -m 100m www | wb-state put >/dev/null
  remove www
  eventually 5 grep -q destroy events
  eventually 5 grep -q rename renames
  kill "$SLEEPER" "$renames"
  SLEEPER=
  [ "$(cut -d' ' -f3 events | tr '\n' ' ')" = "create rename update destroy " ]
  [ "$(cut -d' ' -f4 events | sort -u)" = "$id" ]
  [ "$(jq -c '[.action, .attributes.oldName, .attributes.name]' renames)" = '["rename","web","www"]' ]
}

@test "a userns of its own for each, where one was asked for" {
  make a --userns auto >/dev/null
  make b --userns auto >/dev/null
  [ "$(wb-state get a b | jq -s 'map(.linux.uidMappings[0].hostID) | unique | length')" = 2 ]
  wb-state get a | jq -e '.linux.gidMappings[0] | .containerID == 0 and .size == 65536'
  remove a b
}

@test "a record that cannot be written stays as it was" {
  mkdir small
  mount -t tmpfs -o size=64k tmpfs small
  WB_ROOT=$PWD/small make web >/dev/null
  dd if=/dev/zero of=small/fill bs=1k 2>/dev/null || true
  WB_ROOT=$PWD/small wb-state get web | jq -c '.pad = ("x" * 20000)' >large.json
  WB_ROOT=$PWD/small must_fail 1 wb-state put <large.json
  WB_ROOT=$PWD/small wb-state get web | jq -e '.wb.name == "web" and (has("pad") | not)'
  WB_ROOT=$PWD/small remove web
  umount small
}
