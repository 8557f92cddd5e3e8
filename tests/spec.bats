#!/usr/bin/env bats
# wb-spec: words into a document; jq and runc are the witnesses.

load lib/common

setup () { wb_setup; }
teardown () { wb_teardown; }

# spec FLAGS…: the document of a command line.
spec () { wb-spec run --id a "$@" busybox true; }

# A root file system that holds nothing but busybox.
make_root () {
  mkdir -p root/{bin,proc,sys,dev,tmp}
  cp "$(command -v busybox)" root/bin/busybox
  local name
  for name in sh id ps echo cat hostname mount; do ln -sf busybox "root/bin/$name"; done
}

@test "the words after the image are the container's, whatever they look like" {
  wb-spec run --rm stress -m 1 --name x -- y >a.json
  [ "$(jq -c .process.args a.json)" = '["-m","1","--name","x","--","y"]' ]
  [ "$(jq -c .wb.run a.json)" = '{"remove":true}' ]
  jq -e '.linux.resources | has("memory") | not' a.json
}

@test "arguments arrive as typed: spaces, quotes, newlines, nothing" {
  wb-spec run busybox printf '%s\n' 'a b' '' $'c\nd' "'\"\$x" >a.json
  [ "$(jq -c .process.args a.json)" = '["printf","%s\\n","a b","","c\nd","'"'"'\"$x"]' ]
}

@test "one document on one line, an id of 64 digits, another each time" {
  [ "$(spec | wc -l)" -eq 1 ]
  first=$(wb-spec run busybox | jq -r .wb.id) second=$(wb-spec run busybox | jq -r .wb.id)
  [[ $first =~ ^[0-9a-f]{64}$ ]]
  [ "$first" != "$second" ]
}

@test "the older systems' spellings mean the same" {
  wb-spec run --id a -ti -d --memory 100m --cpuset-cpus 0 --cpu-shares 512 --name web -e A=1 -p 80:80 \
    --network none -v /tmp:/x busybox true 2>/dev/null >docker.json || true
  spec -ti -d -m 100m --cpuset-cpus 0 --cpu-shares 512 --name web -e A=1 --network none -v /tmp:/x >docker.json
  spec -ti -d -mem 100m -cpuset 0 -cpushare 512 -name web -e A=1 -net none -v /tmp:/x >old.json
  cmp docker.json old.json
}

@test "limits are docker's, to the byte" {
  spec -m 100m --cpus 0.25 --pids-limit 64 -c 512 --cpuset-cpus 0 >a.json
  want='{"memory":{"limit":104857600,"swap":209715200},"cpu":{"shares":512,"quota":25000,"period":100000,"cpus":"0"},"pids":{"limit":64}}'
  [ "$(jq -c '.linux.resources | del(.devices)' a.json)" = "$want" ]
  [ "$(spec | jq .linux.resources.pids.limit)" = 2048 ]
  [ "$(spec --cpus 0.04 | jq -c '.linux.resources.cpu | [.quota, .period]')" = '[4000,100000]' ]
}

@test "the environment: given, taken over, from a file, and nothing of the host's else" {
  printf '# comment\nFROM_FILE=x y\nHOST_VALUE\n' >env.list
  HOST_VALUE=h SECRET=s wb-spec run --env-file env.list -e A=1 -e A=2 -e HOST_VALUE busybox >a.json
  [ "$(jq -c .process.env a.json)" = '["FROM_FILE=x y","HOST_VALUE=h","A=2"]' ]
}

@test "a container is as closed as docker's" {
  spec >a.json
  [ "$(jq -c '.process.capabilities | [.bounding, .effective, .permitted | length]' a.json)" = '[14,14,14]' ]
  [ "$(jq -c '.process.capabilities | [.inheritable, .ambient]' a.json)" = '[null,null]' ]
  jq -e '.linux.maskedPaths | contains(["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/timer_list"])' a.json
  jq -e '.linux.readonlyPaths | contains(["/proc/sys", "/proc/sysrq-trigger"])' a.json
  [ "$(jq -c '.linux.resources.devices[0]' a.json)" = '{"allow":false,"access":"rwm"}' ]
  jq -e '.mounts[] | select(.destination == "/sys") | .options | contains(["ro"])' a.json
}

@test "a document with a root is a configuration that runc runs" {
  require_program runc jq
  make_root
  mkdir bundle
  wb-spec run --rootfs root --network none --hostname box -m 64m -u 7:8 -w /tmp -e A=b \
    sh -c 'id -u; id -g; hostname; pwd; echo "$A"; echo "$$"; [ -w /proc/sys/kernel/panic ] || echo closed' |
    jq 'del(.wb)' >bundle/config.json
  # Its cgroup is for wb-cgroup to make: runc's own place here.
  within 30 runc --root "$WB_SCRATCH/runc" run --bundle bundle "wb-test-$$" >out
  [ "$(tr '\n' ' ' <out)" = "7 8 box /tmp b 1 closed " ]
}

@test "refusals: one line, docker's status, and a failed document for the pipe" {
  must_fail 125 wb-spec run --netwrok none busybox
  [ "$stderr" = $'wb-spec: run: unknown flag: --netwrok\nhint: did you mean --network?' ]
  [ "$(jq -c '[.wb.error.tool, .wb.error.code]' <<<"$output")" = '["wb-spec",125]' ]
  must_fail 125 wb-spec run
  must_fail 125 wb-spec run -m 100 busybox
  must_fail 125 wb-spec run --name ../x busybox
  must_fail 125 wb-spec run -v /a:/b:zz busybox
  must_fail 125 wb-spec run --rm --restart always busybox
  must_fail 2 wb-spec frobnicate
  # What stands behind it in the pipe does nothing, and ends with the same status.
  must_fail 125 bash -c 'wb-spec run --foo busybox 2>/dev/null | wb-state create | wb-state put --quiet'
  [ -z "$output" ]
}

@test "exec replaces the process of a running container, and only of one" {
  state='{"status":"running"}'
  spec -e A=1 -w /srv | jq -c --argjson state "$state" '.wb.state = $state' >running.json
  wb-spec exec -it -e B=2 -u 5 -- sh -c 'x y' <running.json >exec.json
  [ "$(jq -c .process.args exec.json)" = '["sh","-c","x y"]' ]
  [ "$(jq -c .process.env exec.json)" = '["A=1","TERM=xterm","B=2"]' ]
  [ "$(jq -c '[.process.terminal, .process.cwd, .process.user.uid]' exec.json)" = '[true,"/srv",5]' ]
  [ "$(jq -c 'del(.process, .wb.run)' exec.json)" = "$(jq -c 'del(.process, .wb.run)' running.json)" ]
  must_fail 1 wb-spec exec -- true < <(spec)
  [ "$stderr" = "wb-spec: exec: container a is not running" ]
  [ "$(jq -c .wb.error.message <<<"$output")" = '"container a is not running"' ]
}

@test "exec and update find their container in the store" {
  spec --name web | wb-state create | wb-state put --quiet
  must_fail 1 wb-spec -n exec web true
  [ "$stderr" = "wb-spec: exec: container web is not running" ]
  must_fail 1 wb-spec -n exec nope true
  [ "$stderr" = "wb-spec: exec: no such container: nope" ]
  [ "$(wb-spec -n update -m 200m web | jq .linux.resources.memory.limit)" = 209715200 ]
  wb-state get web | wb-state rm >/dev/null
}

@test "help lists the flags, and every flag it lists is taken" {
  wb-spec run --help >help
  [ "$(grep -c -- ' --' help)" -gt 90 ]
  for flag in $(grep -oE -- '--[a-z0-9-]+' help | sort -u); do
    # A value too many or too few is another error; an unknown flag would be this one.
    run wb-spec run "$flag=true" busybox
    [[ $output != *"unknown flag"* ]]
  done
}

# The examples of the man page.
@test "the page's examples" {
  [ "$(wb-spec run -m 100m --cpus 0.5 busybox sh -c 'echo hi' | jq -c '.linux.resources.cpu')" = \
    '{"quota":50000,"period":100000}' ]
  make_root
  wb-spec run --rootfs root --network none sh | jq 'del(.wb)' >config.json
  [ "$(jq -r .root.path config.json)" = "$WB_SCRATCH/root" ]
}
