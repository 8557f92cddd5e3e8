#!/usr/bin/env bats
# What the pages tell a person to type works as they say.

load lib/common
load lib/pages

setup () {
  wb_setup
  page_root=$WB_CHECKOUT/man
}
teardown () {
  # A session that broke off leaves its lab.
  {
    wb-cgroup -n --id lab delete
    wb-netns -n del --id lab
    wb-rootfs -n umount --id lab --purge
    ip link del br-lab
    wb-cgroup -n --id hasty delete
    wb-netns -n del --id hasty
    ip link del br-hasty
  } >/dev/null 2>&1 || true
  wb_teardown
}

# The examples of a page, in a directory of its own: a session, whose output is compared, where lines begin with `# `;
# otherwise every line must succeed.
examples () {
  mkdir -p "examples-$1" && cd "examples-$1" || return
  page_blocks "$page_root/$1" EXAMPLES >examples
  [ -s examples ] || { echo "$1: no example" >&2; return 1; }
  if [[ $(head -n 1 examples) == '# '* ]]; then
    run_session examples
  else
    within 60 bash -euo pipefail examples >examples.out 2>&1 || {
      cat examples examples.out >&2
      return 1
    }
  fi || { echo "in $1" >&2; return 1; }
  cd ..
}

# All pages with examples whose names match one of the patterns.
examples_of () {
  local pattern page
  make_busybox_image
  for pattern; do
    for page in "$page_root"/$pattern; do
      grep -q '^\.Sh EXAMPLES' "$page" || continue
      [[ $page != */wb-tutorial.7 ]] || continue
      examples "${page##*/}"
    done
  done
}

@test "the tutorial, from a directory to a pinging container" {
  require_program jq perl ping busybox
  page_blocks "$page_root/wb-tutorial.7" '' >session
  [ "$(grep -c '^# ' session)" -gt 30 ]
  run_session session
}

@test "from nothing to a pinging container in under twenty commands" {
  page_blocks "$page_root/wb-tutorial.7" 'THE SHORTEST WAY' >session
  grep -q 'packets received' session
  [ "$(grep -c '^# ' session)" -lt 20 ]
  run_session session
}

@test "every lesson leads to a section, and every step says where to look, what goes wrong without it and how docker does it" {
  grep '^\.It .* Ta Sx ' "$page_root/wb-tutorial.7" | sed 's/.* Ta Sx \(.*\) Ta .*/\1/' >sections
  [ "$(wc -l <sections)" -eq 12 ]
  while read -r section; do
    grep -qx "\.Ss $section" "$page_root/wb-tutorial.7" || { echo "no section: $section" >&2; return 1; }
    passage=$(awk -v section=".Ss $section" '$0 == section { on = 1; next } /^\.S[sh] / { on = 0 } on' "$page_root/wb-tutorial.7")
    [[ $passage == *'Em With docker'* ]] || { echo "not a word about docker: $section" >&2; return 1; }
    [[ $passage == *'Em Without'* ]] || { echo "nothing goes wrong without it: $section" >&2; return 1; }
    [[ $passage == *'Pa /proc'* || $passage == *'Pa /sys'* || $section == Images ]] || { echo "nowhere to look: $section" >&2; return 1; }
  done <sections
}

@test "examples: tools a to m" { examples_of 'wb-[a-m]*.[78]'; }
@test "examples: tools n to r" { examples_of 'wb-[n-r]*.[78]'; }
@test "examples: tools s to z" { examples_of 'wb-[s-z]*.[78]'; }
@test "examples: wb, commands a to d" { examples_of 'wb.1' 'wb-[a-d]*.1'; }
@test "examples: commands e to k" { examples_of 'wb-[e-k]*.1'; }
@test "examples: commands l to q" { examples_of 'wb-[l-q]*.1'; }
@test "examples: commands r" { examples_of 'wb-r*.1'; }
@test "examples: commands s" { examples_of 'wb-s*.1'; }
@test "examples: commands t to z" { examples_of 'wb-[t-z]*.1'; }

@test "every page that promises examples has some, and some group runs it" {
  for page in "$page_root"/*.[1-8]; do
    page=${page##*/}
    case $page in wb.1 | wb-[a-z]*.[178]) ;; *) echo "$page is in no group" >&2; return 1 ;; esac
    case $page in *.7) continue ;; esac
    [ -n "$(page_blocks "$page_root/$page" EXAMPLES)" ] || { echo "$page: no example" >&2; return 1; }
  done
}

@test "every tool and every command has its page, with the sections of its kind" {
  for tool in "$WB_CHECKOUT"/tools/*/; do
    page=$page_root/$(basename "$tool").8
    for section in NAME SYNOPSIS DESCRIPTION 'THE KERNEL PRIMITIVE' 'INPUT and OUTPUT' 'EXIT STATUS' EXAMPLES \
      'SECURITY CONSIDERATIONS' 'SEE ALSO'; do
      grep -qx "\.Sh $section" "$page" || { echo "$page lacks $section" >&2; return 1; }
    done
  done
  for name in $(commands); do
    for section in NAME SYNOPSIS DESCRIPTION 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
      grep -qx "\.Sh $section" "$page_root/wb-$name.1" || { echo "wb-$name.1 lacks $section" >&2; return 1; }
    done
    grep -qE "\b$name\b" "$page_root/wb.1" || { echo "wb.1 does not know $name" >&2; return 1; }
  done
}

# The commands of wb, as wb help lists them.
commands () { wb help | awk '/^  [a-z]/ { print $1 }'; }

@test "wb help lists exactly the flows that are commands" {
  for flow in "$WB_CHECKOUT"/wrappers/cmd/*.sh; do
    name=$(basename "$flow" .sh)
    # A flow says in its first line how it is called.
    ! head -n 1 "$flow" | grep -q "^# wb $name" || echo "$name"
  done | sort >flows
  commands | sort | diff flows -
}

@test "help is had by every way of asking for it, and nothing is done" {
  for name in $(commands); do
    wb help "$name" >wanted
    grep -q "^usage: wb $name" wanted
    [ "$name" = complete ] || wb "$name" --help | diff wanted -
    case $name in run | create | complete) ;; *) wb "$name" -h | diff wanted - ;; esac
  done
  for name in $(wb complete container ''); do
    case $name in ls) wb help ps ;; prune) continue ;; *) wb help "$name" ;; esac >wanted
    wb container "$name" --help | diff wanted -
  done
  [ ! -e "$WB_ROOT" ]
}

@test "pages and --help agree: verbs and flags of every tool" {
  require_program python3
  for tool in "$WB_CHECKOUT"/tools/*/; do
    tool=$(basename "$tool")
    within 30 python3 "$WB_CHECKOUT/tests/lib/page_flags.py" tool "$tool" "$page_root/$tool.8"
  done
}

@test "pages and wb help agree: flags of every command, and its synopsis" {
  require_program python3
  for name in $(commands); do
    within 30 python3 "$WB_CHECKOUT/tests/lib/page_flags.py" command "$name" "$page_root"
  done
}

@test "wb-document(7) has every member below wb that the tools read or write" {
  # JSON pointers in the code, but for those of its unit tests.
  for file in "$WB_CHECKOUT"/tools/*/src "$WB_CHECKOUT"/lib/*/src; do
    find "$file" -name '*.rs' ! -name 'tests.rs' -exec awk '/^#\[cfg\(test\)\]/ { nextfile } { print }' {} +
  done | grep -oE '"/wb/[a-zA-Z]+(/[a-zA-Z]+)?' | sed 's,"/wb/,,' | sort -u >members
  [ "$(wc -l <members)" -gt 40 ]
  while IFS=/ read -r member inner; do
    grep -qE "wb\.$member\b" "$page_root/wb-document.7" || echo "wb.$member"
    [ -z "$inner" ] || grep -qE "\b$inner\b" "$page_root/wb-document.7" || echo "wb.$member.$inner"
  done <members >missing
  [ ! -s missing ] || { cat missing >&2; return 1; }
}

# The members below wb of the documents given, a path each, but for what other specifications name (a CNI result, a
# manifest, an image's configuration, kinds of namespaces, controllers, sizes of pages) or people do (labels).
members_below_wb () {
  jq -r '.wb // {} | del(.labels, .image.manifest?, .image.config?, .network.result?, .networks[]?.result?, .cgroup.paths?, .userns.map?)
    | if .described.namespaces then .described.namespaces |= [.[]] else . end
    | if .cgroup.stat.hugetlb then .cgroup.stat.hugetlb |= [.[]] else . end
    | paths | map(select(type == "string")) | join(".")' "$@" | sort -u | sed '/^$/d'
}
# Those of which the page has not the last name.
not_in_page () {
  while read -r member; do
    grep -qw -e "${member##*.}" "$page_root/wb-document.7" || echo "wb.$member"
  done
}

@test "wb-document(7) has every member below wb that documents of real containers have" {
  require_program jq
  make_busybox_image
  mkdir documents data
  wb network create lab >/dev/null
  wb-spec -n run --name box -d -it -p 80:80 -P --expose 90 -v "$PWD/data:/h:ro" -v data:/d --network lab --network-alias other \
    --ip 10.80.0.9 --mac-address 02:00:00:00:00:01 --dns 1.1.1.1 --dns-search x --dns-option ndots:2 --add-host a:1.1.1.1 \
    --group-add staff --entrypoint sh --init --restart on-failure:3 --stop-signal INT --stop-timeout 3 -l a=b --cidfile c \
    --pidfile p --pull never --platform linux/amd64 --userns auto --log-opt max-size=1m --log-opt max-file=2 \
    --detach-keys ctrl-x --health-cmd true --health-interval 3s --health-timeout 2s --health-retries 2 \
    --health-start-period 1s --security-opt seccomp=unconfined busybox -c x >documents/words
  wb-spec -n run --rm --privileged --attach stdout busybox true >documents/others
  wb-spec -n run --network nosuch busybox true | wb-doctor --json >documents/lacks || true
  wb-spec -n run --pull never nosuch true 2>/dev/null | wb-pull >documents/failed 2>/dev/null || true
  wb run -d --name box -p 127.0.0.1:18475:80 -v data:/d --health-cmd true --health-interval 1s -m 64m busybox sleep 1000 >/dev/null
  wb network connect lab box
  eventually 20 sh -c 'wb-state get box | jq -e ".wb.state.health.log | length > 0" >/dev/null'
  wb-state get box | wb-cgroup stat >documents/running
  wb describe box >documents/described
  nsenter -t "$(jq .wb.state.pid documents/running)" -u hostname other
  wb drift box >documents/drift
  wb stop -t 0 box >/dev/null
  wb-state get box >documents/stopped
  wb rm box >/dev/null
  wb network rm lab >/dev/null
  members_below_wb documents/* >members
  for member in state.stopped state.health.failingStreak cgroup.stat.memory.usage described.namespaces.inode drift.member \
    lacks.mend error.message networks.name volumes.source run.restart.max healthcheck.Interval userns.mode image.layers; do
    grep -qx "$member" members || echo "no document has wb.$member"
  done >missing
  not_in_page <members >>missing
  [ ! -s missing ] || { cat missing >&2; return 1; }
  # Nothing is in the page only because everything is.
  [ "$(echo state.nosuchMember | not_in_page)" = wb.state.nosuchMember ]
}

@test "the comparison of pages and help finds what is missing and what is made up" {
  sed 's/Fl -json/Fl -jsno/' "$page_root/wb-doctor.8" >page
  must_fail 1 python3 "$WB_CHECKOUT/tests/lib/page_flags.py" tool wb-doctor page
  [ "$output" = 'wb-doctor --json: not in the page
--jsno: the page has it, wb-doctor has not' ]
}
