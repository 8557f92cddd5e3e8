#!/usr/bin/env bats
# Completions: what wb says a word could become, and what bash, zsh and fish make of it when Tab is pressed.

load lib/common

setup () {
  wb_setup
  make_busybox_image
  completions=$WB_CHECKOUT/wrappers/completions
}
teardown () {
  ids=$(wb ps -aq 2>/dev/null) && [ -z "$ids" ] || wb rm -f $ids >/dev/null 2>&1 || true
  wb_teardown
}

# Something of every kind that has a name.
things () {
  wb create --name stopped-box --net none busybox true >/dev/null
  wb run -d --name running-box --net none busybox sleep 1000 >/dev/null
  wb network create lab-net >/dev/null
  wb volume create data-volume >/dev/null
}

# What wb says, on one line.
completed () { wb complete "$@" | paste -sd' '; }

@test "commands, flags and names are completed where they belong" {
  things
  [ "$(completed sto)" = stop ]
  [ "$(completed re)" = 'rename restart' ]
  completed '' | grep -q 'attach .* volume'
  [ "$(completed --tr)" = --trace ]
  [ "$(completed run --cap)" = '--cap-add --cap-drop' ]
  [ "$(completed stop --t)" = --time ]
  completed ps - | grep -q -e '--all.*--filter.* -a'
  [ "$(completed run bus)" = busybox:latest ]
  [ "$(completed run --rm bus)" = busybox:latest ]
  [ "$(completed run --network lab)" = lab-net ]
  [ "$(completed run -v data)" = data-volume ]
  # What follows the image belongs to the container.
  [ -z "$(completed run busybox '')" ]
  [ "$(completed stop '')" = running-box ]
  [ "$(completed rm -f sto)" = stopped-box ]
  [ "$(completed exec run)" = running-box ]
  [ -z "$(completed exec running-box '')" ]
  completed network '' | grep -q 'create .* disconnect'
  [ "$(completed network rm lab)" = lab-net ]
  [ "$(completed network connect lab-net run)" = running-box ]
  [ "$(completed volume rm '')" = data-volume ]
  [ "$(completed help dri)" = drift ]
  # The value of a flag is no operand, and a flag's value may stand in the same word.
  [ "$(completed run -m 64m --rm -itp 80:80 bus)" = busybox:latest ]
  [ "$(completed exec -u 1000 run)" = running-box ]
  [ "$(completed logs --tail 5 run)" = running-box ]
  [ "$(completed run --network=lab)" = --network=lab-net ]
  [ "$(completed run --network=lab-net bus)" = busybox:latest ]
  [ "$(completed run --net container:run)" = container:running-box ]
  [ -z "$(completed run --name '')" ]
  # A command inside another, and longer spellings.
  [ "$(completed trace -o picture.svg run -m 64m bus)" = busybox:latest ]
  [ "$(completed image rm bus)" = busybox:latest ]
  [ "$(completed container stop run)" = running-box ]
  [ "$(completed system '')" = 'df events info prune' ]
  [ -z "$(completed nosuch '')" ]
}

@test "completing touches nothing, and is silent where nothing can be known" {
  find "$WB_ROOT" "$WB_RUN" 2>/dev/null | sort >before
  for line in '' 'run --' 'rm ' 'network rm ' 'volume rm '; do
    # shellcheck disable=SC2086 # words
    wb complete $line '' >/dev/null 2>message
    [ ! -s message ]
  done
  find "$WB_ROOT" "$WB_RUN" 2>/dev/null | sort | diff before -
}

@test "bash" {
  cat >ask <<'END'
. "$1"
shift
COMP_LINE="wb $*" COMP_POINT=$((${#COMP_LINE}))
_wb
printf '%s\n' "${COMPREPLY[@]}"
END
  [ "$(bash ask "$completions/wb.bash" unpa)" = unpause ]
  [ "$(bash ask "$completions/wb.bash" run busy)" = busybox:latest ]
  # As bash takes it apart at the colon.
  [ "$(bash ask "$completions/wb.bash" run busybox:la)" = latest ]
  # As a person does it.
  printf '. %s\nwb renam\t--help\nexit 0\n' "$completions/wb.bash" >typed
  TERM=dumb within 30 script -qec 'bash --norc -i' /dev/null <typed >out
  grep -q 'usage: wb rename CONTAINER NAME' out
  things
  printf '. %s\nA=1 wb run -m 64m --rm --network=lab\tbusybox:lat\techo it$((1+1))works\nexit 0\n' "$completions/wb.bash" >typed
  TERM=dumb within 30 script -qec 'bash --norc -i' /dev/null <typed >out
  grep -q 'it2works' out
}

@test "subcommands that are offered are there" {
  for flow in network volume image container system; do
    for verb in $(completed "$flow" ''); do
      run --separate-stderr wb "$flow" "$verb" --help
      [[ $stderr != *"is none of"* ]]
    done
  done
}

@test "a subcommand with a slip of the fingers: the one that was meant" {
  while read -r flow typed meant; do
    run --separate-stderr -1 wb "$flow" "$typed"
    [[ $stderr == *"wb: $flow: $typed is none of"*"hint: did you mean $meant?"* ]]
  done <<'END'
network creat create
image lss ls
container strt start
system dff df
END
  run --separate-stderr -1 wb network zzzzzz
  [[ $stderr != *"did you mean"* ]]
}

@test "a name with a slip of the fingers: the one that was meant" {
  things
  meant () {
    local name=$1
    shift
    run --separate-stderr "$@"
    [ "$status" -ne 0 ]
    [[ $stderr == *$'\n'"hint: did you mean $name?" ]]
  }
  meant running-box wb stop runing-box
  meant running-box wb exec running-bx true
  meant stopped-box wb-state get stoped-box
  meant busybox wb run --pull never busybux true
  meant busybox wb rmi buysbox
  meant lab-net wb run --network lab-nte busybox true
  meant lab-net wb network rm labnet
  meant data-volume wb volume rm data-vlume
  must_fail 1 wb stop something-else
  [ "$stderr" = 'wb-state: get: no such container: something-else' ]
  # And not a word more: nothing was made that would have to be undone.
  must_fail 125 wb run -d --dry-run busybox true
  [ "$stderr" = $'wb-spec: run: unknown flag: --dry-run\nhint: --dry-run comes first: wb run --dry-run ...' ]
}

@test "zsh" {
  require_program zsh
  printf 'autoload -U compinit; compinit -u -d ./dump; . %s\nwb renam\t--help\nexit 0\n' "$completions/wb.zsh" >typed
  { cat typed; sleep 1; } | TERM=dumb within 30 script -qec 'zsh -f -i' /dev/null >out
  grep -q 'usage: wb rename CONTAINER NAME' out
  # As installed: found by its name.
  mkdir functions && cp "$completions/wb.zsh" functions/_wb
  printf 'fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -d ./dump2\nwb run --rm busyb\t--nosuch; wb run --no-suc\t\nexit 0\n' >typed
  { cat typed; sleep 1; } | TERM=dumb within 30 script -qec 'zsh -f -i' /dev/null >out || true
  grep -q 'busybox:latest' out
}

@test "fish" {
  require_program fish
  ask () { HOME=$PWD within 30 fish --no-config -c "source $completions/wb.fish; complete -C '$1'"; }
  [ "$(ask 'wb unpa')" = unpause ]
  [ "$(ask 'wb run --rm busy')" = busybox:latest ]
  [ "$(ask 'wb run --cap-d')" = --cap-drop ]
}
