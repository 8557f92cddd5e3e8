# lib.sh
# What several flows share: starting, undoing and naming containers.

# Gives back what only running containers need; of one started with --rm nothing stays. wb-monitor does the same at a
# container's end, where no shell is there any more.
wb_give_back () {
    wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount | wb-state finish >/dev/null
}
wb_finish='wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount | wb-state finish'

# Becomes the container's attendant. The chain behind it is the container's birth: each program does its part and
# becomes the next, and the last becomes the user's program. fd 3 is the document, fd 4 tells how far it got.
wb_attend () {
    exec wb-monitor run --finish "$wb_finish" --sweep "wb-state gc | $wb_finish" --health "$WB_FLOWS/health.sh" "$@" -- \
        wb-unshare run --doc 3 --status-fd 4 -- \
        wb-rootfs enter --doc 3 --status-fd 4 -- \
        wb-confine --doc 3 --status-fd 4
}

# Undoes everything the containers of the documents have on the machine, and forgets them; its words are for wb-state rm.
wb_forget () {
    wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount --purge | wb-state rm "$@" >/dev/null
}

# The document of a container for the undoing verbs. The id alone is enough where somebody else has removed the record.
wb_record_or_id () {
    wb-state get "$1" 2>/dev/null || wb-cgroup -n delete --id "$1"
}

# Undoes everything a container has on the machine, and forgets it; what follows the id is for wb-state rm.
wb_undo () {
    undone=$1
    shift
    wb-state get "$undone" | wb_forget "$@"
}

# The default network is made on first use.
wb_default_network () {
    [ -e "${WB_ROOT:-/var/lib/wb}/networks/bridge.conflist" ] ||
        wb-ipam -n create --network bridge | wb-netns network create >/dev/null ||
        exit 125
}

# Runs a flow's function for each container named, side by side; names those for which it worked.
# The status is 1 if it failed for any.
wb_each () {
    each=$1
    shift
    jobs=
    for name; do
        { "$each" "$name" >/dev/null && printf '%s\n' "$name"; } &
        jobs="$jobs $!"
    done
    status=0
    for job in $jobs; do
        wait "$job" || status=1
    done
    return "$status"
}

# Ends with a usage error: the word $1 is none of this command's own, which follow.
wb_no_verb () {
    typed=${1:-nothing}
    shift
    wb_usage_near "$typed is none of$(printf ' %s' "$@")" "$typed" "$@"
}

# Ends with the usage error $1; with $2 one of the words that follow may have been meant.
wb_usage_near () {
    problem=$1
    shift
    . "$WB_FLOWS/help.sh"
    close=$(wb_near "$@")
    [ -z "$close" ] || close="
hint: did you mean$close?"
    wb_usage "$problem$close"
}

# Refuses a first word that looks like a flag, where a command has none.
wb_no_flag () {
    case ${1-} in -*) wb_usage "unknown flag $1" ;; esac
}

# Reads the flags of stop and restart: what wb-monitor stop is told goes into options, how many words it were into taken.
wb_stop_flags () {
    options='' taken=$#
    while [ $# -gt 0 ]; do
        case $1 in
        -t | --time | --timeout)
            wb_seconds "${2-}"
            options="$options --time $2"
            shift
            ;;
        --time=* | --timeout=*)
            wb_seconds "${1#*=}"
            options="$options --time ${1#*=}"
            ;;
        -s | --signal)
            options="$options --signal ${2-}"
            shift
            ;;
        --signal=*) options="$options --signal ${1#*=}" ;;
        -*) wb_usage "unknown flag $1" ;;
        *) break ;;
        esac
        shift
    done
    taken=$((taken - $#))
}

# The value of --time; it stands as a word in a list of flags.
wb_seconds () {
    case ${1#-} in '' | *[!0-9]*) wb_usage "--time \"$1\": a number of seconds" ;; esac
}

# Ends with a usage error of this command, which the dispatcher has named: with docker's status, 125 where a flag is
# wrong, 1 where operands are. An unknown flag may be one mistyped.
# shellcheck disable=SC2154
wb_usage () {
    printf 'wb: %s: %s\n' "$command" "$1" >&2
    case $1 in
    'unknown flag --'*)
        . "$WB_FLOWS/help.sh"
        # shellcheck disable=SC2046 # a list of flags
        close=$(wb_near "${1#unknown flag }" $(wb_flags "$command"))
        [ -z "$close" ] || printf 'hint: did you mean%s?\n' "$close" >&2
        ;;
    esac
    printf 'hint: wb help %s\n' "$command" >&2
    case $1 in 'unknown flag'* | -*) exit 125 ;; esac
    exit 1
}
