# prune.sh
# What the prune of containers, images, networks, volumes and everything has in common; no command of its own.

# wb_prune containers|images|networks|volumes|all [OPTION...]: removes what of it nobody uses, once a person has said
# yes. The filters go round to the end of the arguments: so they may hold anything.
wb_prune () {
    what=$1 force='' all='' volumes='' age=''
    shift
    left=$#
    while [ "$left" -gt 0 ]; do
        option=$1 left=$((left - 1))
        shift
        case $what:$option in
        *:-f | *:--force) force=1 ;;
        images:-a | images:--all | volumes:-a | volumes:--all | all:-a | all:--all) all=1 ;;
        images:-af | images:-fa | volumes:-af | volumes:-fa | all:-af | all:-fa) all=1 force=1 ;;
        all:--volumes) volumes=1 ;;
        *:--filter)
            [ "$left" -gt 0 ] || wb_usage '--filter takes KEY=VALUE'
            wb_prune_filter "$1" || set -- "$@" --filter "$1"
            left=$((left - 1))
            shift
            ;;
        *:--filter=*) wb_prune_filter "${option#*=}" || set -- "$@" --filter "${option#*=}" ;;
        *:-*) wb_usage "unknown flag $option" ;;
        *) wb_usage "prune takes no operand: $option" ;;
        esac
    done
    [ -z "$volumes" ] || [ -z "$age" ] || wb_usage 'volumes have no age: --filter until= and --volumes'
    images='all images without a name' unused=--dangling unnamed='all unused volumes without a name of their own'
    if [ -n "$all" ]; then
        images='all images that no container uses' unused=--unused
        [ "$what" != volumes ] || unnamed='all unused volumes'
    fi
    case $what in
    containers) warning='all stopped containers' ;;
    images) warning=$images ;;
    networks) warning='all networks without a container, but for the default one' ;;
    volumes) warning=$unnamed ;;
    all) warning="all stopped containers, all networks without one${volumes:+, $unnamed}, and then $images" ;;
    esac
    [ -n "$force" ] || wb_sure "$warning"
    before=$(wb-state df --total) || exit
    status=0
    case $what in containers | all) wb_prune_containers "$@" || status=$? ;; esac
    case $what in
    networks | all) wb_prune_list 'Deleted Networks:' wb-netns network prune "$@" || status=$? ;;
    esac
    case $what$volumes in
    # Everything is asked to take nothing that somebody gave a name.
    all1) wb_prune_list 'Deleted Volumes:' wb-state volume prune "$@" || status=$? ;;
    volumes) wb_prune_list 'Deleted Volumes:' wb-state volume prune ${all:+--all} "$@" || status=$? ;;
    esac
    case $what in images | all) wb-image gc "$unused" "$@" || status=$? ;; esac
    [ "$what" = networks ] || wb-state df --since "$before"
    exit "$status"
}

# What the flow itself knows of filters: it is said to tools by a flag. Fails for what is theirs.
wb_prune_filter () {
    case $what:$1 in
    images:dangling=false | images:dangling=0 | volumes:all=true | volumes:all=1) all=1 ;;
    images:dangling=true | images:dangling=1 | volumes:all=false | volumes:all=0) all= ;;
    volumes:until=*) wb_usage "invalid filter $1: volumes have no age" ;;
    *:until=?*)
        age=1
        return 1
        ;;
    *:label=?* | *:label!=?*) return 1 ;;
    containers:?*=*) return 1 ;;
    *) wb_usage "invalid filter $1" ;;
    esac
}

# Asks a person; what is not a clear yes is a no.
wb_sure () {
    printf 'WARNING! This will remove %s.\nAre you sure you want to continue? [y/N] ' "$1" >&2
    answer=
    # A last line may lack its end.
    read -r answer || :
    case $answer in
    y | Y) ;;
    *) exit 0 ;;
    esac
}

# One pipeline for all of them.
wb_prune_containers () {
    ids=$(wb-state list --quiet --no-trunc --filter status=created --filter status=exited --filter status=dead "$@") ||
        return
    [ -n "$ids" ] || return 0
    # shellcheck disable=SC2086 # ids
    gone=$(wb-state get --not-running $ids | wb-cgroup delete | wb-netns del | wb-ipam del |
        wb-rootfs umount --purge | wb-state rm --quiet) || status=$?
    wb_titled 'Deleted Containers:' "$gone"
}

# wb_prune_list TITLE COMMAND...: what a tool says it has removed.
wb_prune_list () {
    title=$1 failed=0
    shift
    gone=$("$@") || failed=$?
    wb_titled "$title" "$gone"
    return "$failed"
}

# A list under its title, and an empty line; nothing for nothing.
wb_titled () {
    [ -z "$2" ] || printf '%s\n%s\n\n' "$1" "$2"
}
