# wb start [-a] [-i] CONTAINER...
# Start containers that were made or have ended.
. "$WB_FLOWS/lib.sh"

attach='--detach'
while [ $# -gt 0 ]; do
    case $1 in
    -a | --attach) attach='--attach' ;;
    -i | --interactive | -ai | -ia) attach='--attach --interactive' ;;
    -*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || wb_usage 'name a container'
wb_default_network

wb_start () {
    id=$(wb-state get --not-running "$1" | wb-rootfs mount | wb-ipam add | wb-netns add | wb-cgroup create |
        wb-state put --quiet) || {
        status=$?
        [ -z "$id" ] || "$WB_FLOWS/finish.sh" "$id"
        exit "$status"
    }
    # shellcheck disable=SC2086 # flags of ours
    wb_attend $attach "$id"
}

case $attach in
--detach) wb_each wb_start "$@" ;;
*) wb_start "$1" ;;
esac
