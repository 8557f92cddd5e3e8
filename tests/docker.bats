#!/usr/bin/env bats
# The same words to docker and to wb, one after the other: the same output, the same status.

load lib/common

setup () {
  wb_setup
  make_busybox_image
  dockerd_pid=''
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH
  mkdir docker && echo '{}' >docker/config.json
}
teardown () {
  if [ -n "$dockerd_pid" ]; then
    left=$("${docker[@]}" ps -aq) && [ -z "$left" ] || "${docker[@]}" rm -f $left >/dev/null 2>&1 || true
    kill "$(cat docker.pid 2>/dev/null || echo "$dockerd_pid")" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
    rmdir /sys/fs/cgroup/{,*/}wbd-"$WB_MACHINE_HASH" 2>/dev/null || true
  fi
  cut -d' ' -f5 /proc/self/mountinfo | grep -F "$WB_SCRATCH/" | sort -r | xargs -r -n 1 umount -l
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f -v $ids >/dev/null 2>&1 || true
  wb_teardown
}

# A docker of this test alone, without bridge and rules: its containers have no network.
start_docker () {
  require_program dockerd docker
  docker=(/usr/bin/docker -H "unix://$WB_SCRATCH/docker.sock")
  env -u WB_ROOT -u WB_RUN dockerd --data-root "$WB_SCRATCH/docker.d" --exec-root "$WB_SCRATCH/docker.x" \
    -p "$WB_SCRATCH/docker.pid" -H "unix://$WB_SCRATCH/docker.sock" --bridge none --iptables=false --ip-forward=false \
    --ip-masq=false --cgroup-parent "/wbd-$WB_MACHINE_HASH" >docker.log 2>&1 3>&- </dev/null &
  dockerd_pid=$!
  eventually 30 "${docker[@]}" version >/dev/null 2>&1 || {
    tail docker.log >&2
    return 1
  }
  "${docker[@]}" import "$(busybox_tar)" busybox >/dev/null
}

# both WORD…: gives the words to both, and compares what they print and their status. $filter makes the same of what
# need not be the same, $input is their standard input.
both () {
  local ours=0 theirs=0
  timeout 60 "${docker[@]}" "$@" <"${input:-/dev/null}" >theirs 2>theirs.err || theirs=$?
  timeout 60 wb "$@" <"${input:-/dev/null}" >ours 2>ours.err || ours=$?
  ${filter:-cat} <theirs >theirs.same
  ${filter:-cat} <ours >ours.same
  cmp -s theirs.same ours.same && [ "$theirs" = "$ours" ] || {
    printf 'differs: %s\n--- docker: %s\n' "$*" "$theirs" >&2
    cat theirs.same theirs.err >&2
    printf -- '--- wb: %s\n' "$ours" >&2
    cat ours.same ours.err >&2
    differences=$((differences + 1))
  }
}
inside () { both run --rm --network none "$@"; }

@test "what run does" {
  start_docker
  differences=0
  mkdir -p host && echo file >host/file
  printf 'A=file\n# none\nC=3\n' >env
  inside busybox echo hello
  inside busybox sh -c 'echo out; echo err >&2; exit 3'
  inside busybox nosuch
  inside busybox /etc/passwd
  inside busybox sh -c 'kill -9 $$'
  inside busybox sh -c 'kill -TERM $$'
  both run --nosuch busybox true
  both run --rm --pull never nosuch true
  inside -e A=1 -e HOME --env-file env busybox sh -c 'echo $A,$C,$HOME'
  inside --env EMPTY= busybox sh -c 'echo "${EMPTY-unset}"'
  inside -w /tmp/deep busybox pwd
  inside -u 1000:1001 --group-add 7 busybox id
  inside -u nobody busybox id
  inside -u 1234 busybox sh -c 'echo $HOME; id -u; id -g'
  both run --rm --network none -u nosuch busybox true
  inside --hostname kiste busybox hostname
  inside --entrypoint echo busybox a b
  inside --entrypoint '' busybox echo plain
  inside -v "$PWD/host:/h" busybox cat /h/file
  inside -v "$PWD/host:/h:ro" busybox touch /h/no
  inside --mount "type=bind,source=$PWD/host,target=/h,readonly" busybox sh -c 'cat /h/file; touch /h/no'
  both run --rm --network none --mount "type=bind,source=$PWD/nosuch,target=/h" busybox true
  both run --rm --network none -v relative/path:/h busybox true
  both run --rm --network none -v "$PWD/host:relative" busybox true
  inside -v vol:/bin busybox sh -c 'ls /bin | wc -l'
  inside -v vol:/bin busybox sh -c 'ls /bin | wc -l'
  inside --mount type=volume,source=nocopy,target=/etc,volume-nocopy busybox ls /etc/passwd
  size='df -k /t | tail -n 1'
  inside --tmpfs /t:size=1m busybox sh -c "$size"
  inside --mount type=tmpfs,target=/t,tmpfs-size=2m,tmpfs-mode=1700 busybox sh -c "$size; stat -c %a /t"
  inside --shm-size 8m busybox sh -c 'df -k /dev/shm | tail -n 1'
  inside --read-only busybox touch /x
  inside --read-only --tmpfs /x busybox touch /x/y
  inside busybox grep Cap /proc/self/status
  inside --cap-drop ALL --cap-add NET_RAW busybox grep Cap /proc/self/status
  inside --cap-drop chown --cap-add CAP_SYS_TIME busybox grep Cap /proc/self/status
  inside -u 1000 --cap-add NET_ADMIN busybox grep Cap /proc/self/status
  inside --security-opt no-new-privileges busybox grep NoNewPrivs /proc/self/status
  inside --ulimit nofile=100:200 busybox sh -c 'ulimit -n; ulimit -Hn'
  inside --sysctl kernel.shmmax=77777 busybox cat /proc/sys/kernel/shmmax
  inside --oom-score-adj 500 busybox cat /proc/self/oom_score_adj
  inside --pid host busybox sh -c 'test "$$" -gt 1 && echo far'
  inside --uts host busybox hostname
  inside --ipc host busybox readlink /proc/self/ns/ipc
  inside --add-host friend:10.1.2.3 busybox sh -c 'grep friend /etc/hosts | tr "\t" " "'
  inside --device /dev/full:/dev/mine busybox stat -c '%t %T %a' /dev/mine
  inside --device /dev/full:/dev/mine:r busybox sh -c 'echo x >/dev/mine'
  inside -a stdout busybox sh -c 'echo out; echo err >&2'
  inside -a stderr busybox sh -c 'echo out; echo err >&2'
  head -c 300000 /dev/urandom >blob
  input=blob inside -i busybox cat
  input=blob inside busybox cat
  # Docker of Debian 12 leaves /dev/core out, which OCI runtimes may make.
  inside busybox sh -c 'ls /dev | grep -v core; ls -l /dev/fd /dev/stdin | sed "s/.*-> //"'
  inside busybox sh -c 'umask; echo $0 $#; ls /proc/self/fd | wc -l' one two
  inside --stop-signal NOSUCH busybox true
  inside -m 1 busybox true
  inside --restart always busybox true
  [ "$differences" = 0 ]
}

@test "the life of a container" {
  start_docker
  differences=0
  nothing () { cat >/dev/null; }
  program () { awk 'NR > 1 { print $2, $3 }'; }
  is_id () { sed -E 's/[0-9a-f]{64}/ID/; s/\b[0-9a-f]{12}\b/ID/'; }
  filter=is_id both create --name cc --network none -l tier=front --stop-signal KILL -i busybox sh -c 'echo up; echo err >&2; exec sleep 1000'
  both ps -a --format '{{.Names}} {{.State}} {{.Status}} {{.Image}} {{.Command}}'
  both start cc
  both start cc
  both ps --format '{{.Names}} {{.State}}'
  both inspect --format '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.Name}} {{.Config.Labels.tier}} {{.HostConfig.NetworkMode}}' cc
  both exec cc echo inside
  both exec cc sh -c 'exit 4'
  filter=nothing both exec cc /etc/passwd
  both exec -e A=1 -w /tmp -u 1000 cc sh -c 'echo $A; pwd; id -u'
  echo typed >typed
  input=typed both exec -i cc cat
  both logs cc
  both pause cc
  both ps --format '{{.Names}} {{.State}}'
  both pause cc
  both exec cc true
  both start cc
  both unpause cc
  both unpause cc
  both rename cc dd
  both rename cc dd
  both exec cc true
  both rm dd
  both cp typed dd:/tmp/
  both exec dd cat /tmp/typed
  both cp dd:/tmp/typed back
  both cp dd:/nosuch back
  both cp typed dd:/nosuch/x
  both exec dd sh -c 'rm /etc/group; echo changed >/new'
  filter='sort' both diff dd
  filter=program both top dd -o pid,args
  both port dd
  both kill -s USR1 nosuch
  both stop -t 1 dd
  both stop dd
  both kill dd
  both exec dd true
  both inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}' dd
  both wait dd
  both start dd nosuch
  both restart -t 0 dd
  both kill dd
  eventually 5 [ "$(wb wait dd)" = 137 ]
  both wait dd
  both images --format '{{.Repository}} {{.Tag}}'
  # The columns are three blanks apart, not docker's at least ten wide.
  filter='tr -s [:space:]' both ps -a --format 'table {{.Names}}\t{{.Image}}\t{{.ID}}' --filter name=nosuch
  both ps -a --filter status=exited --format '{{.Names}} {{.State}}'
  both ps -a --filter exited=137 -q --no-trunc --filter name=nosuch
  both rm dd
  both rm nosuch
  both stop nosuch
  both inspect nosuch
  both logs nosuch
  both volume create vv
  filter='tr -s [:space:]' both volume ls
  both volume inspect --format '{{.Name}} {{.Driver}}' vv
  both volume rm vv
  both volume rm vv
  filter=is_id both run -d --name rr --network none --restart on-failure:1 busybox sh -c 'echo run; exit 3'
  settled () { [ "$("${docker[@]}" inspect --format '{{.State.Status}}{{.RestartCount}}' rr)$(wb inspect --format '{{.State.Status}}{{.RestartCount}}' rr)" = exited1exited1 ]; } 2>/dev/null
  eventually 10 settled
  both logs rr
  both inspect --format '{{.RestartCount}} {{.State.ExitCode}} {{.HostConfig.RestartPolicy.Name}}' rr
  both container prune -f --filter label=none
  both rm rr
  [ "$differences" = 0 ]
}

# ends WORD…: both end with the same status; what they print on standard output, such as docker's help, is their own.
ends () { filter=silent both "$@"; }
silent () { cat >/dev/null; }

@test "the status where a flag, an operand or a filter is wrong" {
  start_docker
  differences=0
  for command in attach create diff exec export history images import info inspect kill load logs pause port \
    ps pull push rename restart rm rmi run save start stats stop tag top unpause update version wait events \
    'container prune' 'image prune' 'network prune' 'volume prune' 'system prune' 'system df' 'volume create' \
    'volume ls' 'volume rm' 'volume inspect' 'network create' 'network ls' 'network rm' 'network inspect' \
    'network connect' 'image ls' 'container ls'; do
    ends $command --nosuch
  done
  # Not of run, create and exec: 125 is whatever wb could not do before the command.
  for command in attach commit cp diff export history import inspect kill logs pause port pull push rename restart rm \
    rmi save start stop tag top unpause update wait 'volume rm' 'volume inspect' 'network rm' 'network inspect' \
    'network create' 'network connect' 'network disconnect'; do
    ends $command
  done
  for words in 'commit --nosuch a' 'cp --nosuch a b' 'attach a b' 'logs a b' 'rename a b c' 'tag a b c' 'diff a b' 'export a b' 'ps a' 'info a' 'version a' \
    'events a' 'volume ls a' 'volume create a b' 'network ls a' 'cp a b c' 'cp a b' 'container prune -f a' \
    'volume prune -f a' 'volume nosuch' 'network nosuch' 'system nosuch' 'container nosuch' 'image nosuch' nosuch \
    'stop -t x a' 'restart -t x a' 'logs --since x a' 'ps -n x' 'ps --filter nosuch=x' 'ps --filter exited=x' \
    'ps --format {{' 'images --filter nosuch=x' 'network ls --filter nosuch=x' 'volume ls --filter nosuch=x' 'events --since x --until 0s' \
    'container prune -f --filter nosuch=x' 'container prune -f --filter until=x' 'volume prune -f --filter nosuch=x' \
    'network prune -f --filter nosuch=x' 'network prune -f --filter until=x' 'image prune -f --filter nosuch=x' \
    'volume prune -f --filter until=1h' 'tag busybox UPPER' 'tag nosuch a:1' 'load -i nosuch' 'import nosuch' \
    'save -o nosuch/x busybox' 'network create none'; do
    ends $words
  done
  for command in history rmi inspect save push 'image inspect' 'image rm' 'volume rm' 'volume inspect' 'network rm' \
    'network inspect'; do
    ends $command nosuch
  done
  ends load
  ends tag busybox 'B A D'
  ends volume create 'b a d'
  [ "$differences" = 0 ]
}

@test "the status where a container is not there, or not as it must be" {
  start_docker
  differences=0
  for command in attach diff export inspect kill logs pause port restart rm start 'start -a' stop top unpause wait \
    'rm -f' 'stats --no-stream' 'update -m 64m'; do
    ends $command nosuch
  done
  ends commit nosuch image
  ends exec nosuch true
  ends exec -d nosuch true
  ends cp nosuch:/etc/passwd .
  ends cp docker.log nosuch:/
  ends rename nosuch other
  ends network connect bridge nosuch
  ends network disconnect bridge nosuch
  ends create --name taken --network none busybox sleep 1000
  ends create --name taken --network none busybox true
  ends create --name other --pull never nosuch true
  ends run --name taken --network none busybox true
  ends run -d --name taken --network none busybox true
  both inspect --format '{{.Name}} {{.Config.Labels.nosuch}}' taken nosuch
  for command in 'exec taken true' 'kill taken' 'pause taken' 'unpause taken' 'attach taken' 'top taken' 'port taken' \
    'port taken 80' 'logs taken' 'stop taken' 'cp taken:/nosuch .' 'cp taken:/etc/passwd nosuch/nosuch' \
    'cp taken:/etc taken:/tmp' 'kill -s NOSUCH taken' 'kill -s 99 taken' 'rename taken taken' 'rmi busybox' \
    'update --restart sometimes taken' 'inspect --format {{.Nosuch}} taken' 'inspect --type volume taken' 'start taken' 'cp taken:/etc/passwd /nosuch/x' \
    'top taken -o nosuch' 'network connect nosuch taken' 'rm taken'; do
    ends $command
  done
  ends rename taken 'b a d'
  ends exec -it taken true
  ends exec -e '' taken true
  both rm -f nosuch taken
  ends wait taken
  [ "$differences" = 0 ]
}

# What docker takes and wb refuses, or refuses in other words, is not here: -v :/x, a host name with blanks, an unknown
# --pull and a weight that this kernel has no controller for are errors of ours; 127 for a device or a cidfile, because
# of the words "no such file" in the message, and 1 for --detach-keys and -d -a, are docker's alone; more CPUs than
# there are is for the kernel to say, which takes it. exec ends as run does: 127 for a program that is not there, and
# 125 for a user, where this docker has 126 for all.
@test "the status where run refuses" {
  start_docker
  differences=0
  for flags in '-m x' '-m 1k' '--cpus x' '--cpuset-cpus 1000' '--memory-swap 1m' '-m 64m --memory-swap 32m' \
    '--pids-limit x' '--ulimit x' '--ulimit nofile=2:1' '--user a:b:c' '--user nosuch' '--workdir relative' \
    '-v a:b:c:d' '-v /:/' '--mount type=nosuch,target=/x' '--mount type=bind,target=/x' '--mount nosuch' \
    '--tmpfs relative' '--tmpfs /x:nosuch' '--cap-add NOSUCH' '--security-opt nosuch' '--security-opt seccomp=/nosuch' \
    '--sysctl nosuch' '--sysctl kernel.nosuch=1' '--restart sometimes' '--restart no:3' '--env-file nosuch' \
    '--label-file nosuch' '--add-host x' '--dns x' '--name /' '--log-opt nosuch=1' '--log-opt max-size=x' \
    '--stop-timeout x' '--shm-size x' '--ipc nosuch' '--pid nosuch' '--uts nosuch' '--userns nosuch' \
    '--cgroupns nosuch' '--platform nosuch' '--oom-score-adj 2000' '-a nosuch' '-p x' '-p 1:2:3:4' '--expose x' \
    '--ip x' '--mac-address x' '--health-interval x' '--health-retries -1' '--device-read-bps /nosuch:1m' \
    '--isolation nosuch' '--network nosuch' '--network container:nosuch' '--pid container:nosuch' \
    '--volumes-from nosuch'; do
    ends run --rm --network none $flags busybox true
  done
  ends run --rm --network none -v 'b a d:/x' busybox true
  ends run --rm --network none --name 'b a d' busybox true
  ends run --rm --network none -e '' busybox true
  ends run --rm --network none BAD true
  ends run --rm --network none 'b a d' true
  ends run -d --rm --network none busybox nosuch
  ends run -it --rm --network none busybox true
  [ "$differences" = 0 ]
}
