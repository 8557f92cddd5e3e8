# wb network create|ls|inspect|rm|prune|connect|disconnect [OPTIONS] [NAME...]
# Make, list and remove networks; put running containers on them and take them off.
#   -f, --force  prune: do not ask first
#   --filter KEY=VALUE  ls, prune: only those that match
#   --format TEMPLATE  ls, inspect: what a template says of each
#   -q, --quiet  ls: only names
#   --json  ls: one JSON array
# Options of: wb-ipam create
. "$WB_FLOWS/lib.sh"

# The record first: should this be killed, the container's end gives back what it names.
wb_connect () {
    net='' container=''
    for word; do net=$container container=$word; done
    id=$(wb-ipam -n connect "$@" | wb-state put --quiet) || return
    wb-state get "$id" | wb-netns connect | wb_keep || {
        status=$?
        wb_disconnect "$net" "$id" 2>/dev/null || :
        return "$status"
    }
}

wb_disconnect () {
    case ${1-} in -f | --force) shift ;; esac
    [ $# -eq 2 ] || wb_usage 'disconnect takes a network and a container'
    wb-netns -n disconnect "$1" "$2" | wb-ipam disconnect "$1" | wb_keep
}

# Puts the document back. None comes where a tool before it was killed.
wb_keep () {
    kept=$(wb-state put --quiet) || return
    [ -n "$kept" ] || {
        printf 'wb: network %s: a tool was killed on the way\n' "$verb" >&2
        return 1
    }
}

verb=${1-ls}
[ $# -eq 0 ] || shift
case $verb in
create)
    [ $# -gt 0 ] || wb_usage 'name a network'
    wb-ipam -n create "$@" | wb-netns network create --quiet
    ;;
ls | list) exec wb-netns network list --table "$@" ;;
inspect) exec wb-netns network inspect "$@" ;;
rm | remove) exec wb-netns network rm "$@" ;;
prune)
    . "$WB_FLOWS/prune.sh"
    wb_prune networks "$@"
    ;;
connect) wb_connect "$@" ;;
disconnect) wb_disconnect "$@" ;;
*) wb_no_verb "$verb" create ls inspect rm prune connect disconnect ;;
esac
