# prune.sh
# What the prune of containers, of images and of everything has in common; no command of its own.

# wb_prune containers|images|all [OPTION...]: removes what of it nobody uses, once a person has said yes.
wb_prune () {
    what=$1 force='' all='' volumes='' filters=''
    shift
    while [ $# -gt 0 ]; do
        case $what:$1 in
        *:-f | *:--force) force=1 ;;
        images:-a | images:--all | all:-a | all:--all) all=1 ;;
        images:-af | images:-fa | all:-af | all:-fa) all=1 force=1 ;;
        all:--volumes) volumes=1 ;;
        containers:--filter=*) wb_prune_filter "${1#*=}" ;;
        containers:--filter)
            wb_prune_filter "${2-}"
            shift
            ;;
        *) wb_usage "unknown flag $1" ;;
        esac
        shift
    done
    images='all images without a name' unused=--dangling
    [ -z "$all" ] || images='all images that no container uses' unused=--unused
    case $what in
    containers) warning='all stopped containers' ;;
    images) warning=$images ;;
    all) warning="all stopped containers, all networks without one${volumes:+, all unused volumes without a name of their own}, and then $images" ;;
    esac
    [ -n "$force" ] || wb_sure "$warning"
    before=$(wb-state df --total) || exit
    status=0
    case $what in containers | all) wb_prune_containers || status=$? ;; esac
    case $what in
    all)
        gone=$(wb-netns network prune) || status=$?
        wb_titled 'Deleted Networks:' "$gone"
        [ -z "$volumes" ] || gone=$(wb-state volume prune) || status=$?
        [ -z "$volumes" ] || wb_titled 'Deleted Volumes:' "$gone"
        ;;
    esac
    case $what in images | all) wb-image gc "$unused" || status=$? ;; esac
    wb-state df --since "$before"
    exit "$status"
}

# It stands as a word in a list of flags.
wb_prune_filter () {
    case $1 in
    '' | *[!A-Za-z0-9_.:=/+-]*) wb_usage "invalid filter $1" ;;
    esac
    filters="$filters --filter $1"
}

# Asks a person; what is not a clear yes is a no.
wb_sure () {
    printf 'WARNING! This will remove %s.\nAre you sure you want to continue? [y/N] ' "$1" >&2
    read -r answer || answer=
    case $answer in
    y | Y) ;;
    *) exit 0 ;;
    esac
}

# One pipeline for all of them.
wb_prune_containers () {
    # shellcheck disable=SC2086 # flags of ours
    ids=$(wb-state list --quiet --no-trunc --filter status=created --filter status=exited --filter status=dead $filters)
    [ -n "$ids" ] || return 0
    # shellcheck disable=SC2086 # ids
    gone=$(wb-state get --not-running $ids | wb-cgroup delete | wb-netns del | wb-ipam del |
        wb-rootfs umount --purge | wb-state rm --quiet) || status=$?
    wb_titled 'Deleted Containers:' "$gone"
}

# A list under its title, and an empty line; nothing for nothing.
wb_titled () {
    [ -z "$2" ] || printf '%s\n%s\n\n' "$1" "$2"
}
