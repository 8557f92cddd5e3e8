# wb complete [WORD...]
# Print what the last word of a command line could become, a line each; what shells ask when Tab is pressed.

# Names of what there is, by its kind.
wb_names () {
    case $1 in
    container) wb-state list --all --format '{{.Names}}' ;;
    running) wb-state list --format '{{.Names}}' ;;
    image)
        wb-image list --table | while read -r repository tag _; do
            case $repository in REPOSITORY | '<none>') ;; *) printf '%s:%s\n' "$repository" "$tag" ;; esac
        done
        ;;
    network) wb-netns network list --quiet ;;
    volume) wb-state volume ls --quiet ;;
    command) wb_commands ;;
    esac 2>/dev/null || :
}

# What a command's words name, those of its flags aside.
wb_kind () {
    case $1 in
    run | create) echo image ;;
    rmi | tag | history | push | save | pull) echo image ;;
    exec | attach | stop | kill | pause | top | stats | restart | update | port) echo running ;;
    start | rm | logs | wait | rename | inspect | commit | diff | cp | export | unpause | describe | drift | doctor) echo container ;;
    help | trace) echo command ;;
    esac
}

# What the value of a flag can be, where that is the name of something or one of few words.
wb_values () {
    case $1 in
    --network | --net)
        wb_names network
        printf '%s\n' none host
        wb_joined
        ;;
    --pid | --ipc)
        echo host
        wb_joined
        ;;
    --volume | -v) wb_names volume ;;
    --volumes-from) wb_names container ;;
    --pull) printf '%s\n' always missing never ;;
    --restart) printf '%s\n' no always unless-stopped on-failure ;;
    esac
}

# The namespaces of another container.
wb_joined () {
    wb_names running | while read -r name; do printf 'container:%s\n' "$name"; done
}

# The flags of a command that have the next word as their value: what its help says of them ends, before two blanks,
# with a word that is none.
wb_valued () {
    wb_help "$1" 2>/dev/null | while IFS= read -r line; do
        line=${line#"${line%%[! ]*}"}
        line=${line%%'  '*}
        case $line in -*' '*) ;; *) continue ;; esac
        case ${line##* } in -*) continue ;; esac
        set -f
        for word in $line; do
            case $word in -*) printf '%s\n' "${word%,}" ;; esac
        done
        set +f
    done
}

# Whether the next word is the value of this one; of short flags in one word the last counts.
wb_is_valued () {
    case $1 in
    --*) flag=$1 ;;
    -?*) flag=-${1#"${1%?}"} ;;
    *) return 1 ;;
    esac
    case "
$valued
" in
    *"
$flag
"*) return 0 ;;
    esac
    return 1
}

wb_subcommands () {
    case $1 in
    network) printf '%s\n' create ls inspect rm prune connect disconnect ;;
    volume) printf '%s\n' create ls inspect rm prune ;;
    image) printf '%s\n' history import inspect load ls prune pull push rm save tag ;;
    container)
        printf '%s\n' attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run \
            start stats stop top unpause update wait
        ;;
    system) printf '%s\n' df events info prune ;;
    esac
}

# The command that a longer spelling, or a command before it, stands for.
wb_inner () {
    case $1/$2 in
    image/ls | image/list) echo images ;;
    image/rm | image/remove) echo rmi ;;
    container/ls | container/list) echo ps ;;
    image/inspect | */prune) ;;
    image/* | container/* | trace/*) echo "$2" ;;
    esac
}

# Those of the lines that begin with the word.
wb_beginning () {
    while IFS= read -r line; do
        case $line in "$1"*) printf '%s\n' "$line" ;; esac
    done
}

# The words so far: $last is the one to complete, $flow_name the command, $verb its first operand, $before the flag
# whose value the last word is, $operands how many there are.
wb_complete () {
    flow_name='' verb='' before='' operands=0 valued='' last=''
    while [ $# -gt 1 ]; do
        if [ -n "$before" ]; then
            before=''
        else
            case $1 in
            -*) [ -z "$flow_name" ] || ! wb_is_valued "$1" || before=$1 ;;
            *) wb_operand "$1" ;;
            esac
        fi
        shift
    done
    last=${1-}
    if [ -z "$flow_name" ]; then
        case $last in -*) echo --trace ;; *) wb_commands ;; esac | wb_beginning "$last"
        return
    fi
    wb_is_command "$flow_name" || return 0
    wb_candidates | wb_beginning "$last"
}

wb_operand () {
    if [ -z "$flow_name" ]; then
        flow_name=$1
    else
        inner=
        [ "$operands" -gt 0 ] || inner=$(wb_inner "$flow_name" "$1")
        if [ -z "$inner" ]; then
            operands=$((operands + 1))
            verb=${verb:-$1}
            return
        fi
        flow_name=$inner
    fi
    valued=$(wb_valued "$flow_name")
}

wb_candidates () {
    if [ -n "$before" ]; then
        wb_values "$before"
        return
    fi
    case $last in
    --*=*)
        wb_values "${last%%=*}" | while IFS= read -r value; do printf '%s=%s\n' "${last%%=*}" "$value"; done
        return
        ;;
    -*)
        wb_flags "$flow_name" | sort -u
        return
        ;;
    esac
    case $flow_name/$verb in
    network/ | volume/ | image/ | container/ | system/) wb_subcommands "$flow_name" ;;
    network/inspect | network/rm) wb_names network ;;
    network/connect | network/disconnect)
        if [ "$operands" -le 1 ]; then wb_names network; else wb_names container; fi
        ;;
    volume/inspect | volume/rm) wb_names volume ;;
    image/inspect) wb_names image ;;
    run/?* | create/?* | exec/?* | rename/?* | push/?* | help/?* | image/?* | container/?* | system/?*) ;;
    *) wb_names "$(wb_kind "$flow_name")" ;;
    esac
}

. "$WB_FLOWS/help.sh"
wb_complete "$@"
