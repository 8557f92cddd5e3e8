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

# The kind of the value that a flag takes, where that is the name of something.
wb_kind_of_value () {
    case $1 in
    --network | --net) echo network ;;
    --volume | -v) echo volume ;;
    --volumes-from) echo container ;;
    esac
}

wb_subcommands () {
    case $1 in
    network) printf '%s\n' create ls inspect rm prune connect disconnect ;;
    volume) printf '%s\n' create ls inspect rm prune ;;
    esac
}

# Those of the lines that begin with the word.
wb_beginning () {
    while IFS= read -r line; do
        case $line in "$1"*) printf '%s\n' "$line" ;; esac
    done
}

# The words so far: $last is the one to complete, $flow_name the command, $verb its first operand, $before the word
# before the last, $operands how many there are.
wb_complete () {
    flow_name='' verb='' before='' operands=0 last=''
    while [ $# -gt 1 ]; do
        case $1 in
        -*) ;;
        *)
            if [ -z "$flow_name" ]; then
                flow_name=$1
            elif [ -z "$(wb_kind_of_value "$before")" ]; then
                operands=$((operands + 1))
                verb=${verb:-$1}
            fi
            ;;
        esac
        before=$1
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

wb_candidates () {
    value=$(wb_kind_of_value "$before")
    if [ -n "$value" ]; then
        wb_names "$value"
        return
    fi
    case $last in
    -*)
        wb_flags "$flow_name" | sort -u
        return
        ;;
    esac
    case $flow_name/$verb in
    network/ | volume/) wb_subcommands "$flow_name" ;;
    network/inspect | network/rm) wb_names network ;;
    network/connect | network/disconnect)
        if [ "$operands" -le 1 ]; then wb_names network; else wb_names container; fi
        ;;
    volume/inspect | volume/rm) wb_names volume ;;
    run/?* | create/?* | exec/?* | rename/?* | push/?* | help/?*) ;;
    trace/?*) ;;
    *) wb_names "$(wb_kind "$flow_name")" ;;
    esac
}

. "$WB_FLOWS/help.sh"
wb_complete "$@"
