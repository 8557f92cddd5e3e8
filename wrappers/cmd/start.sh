# wb start [-a] [-i] CONTAINER...
# wb start --boot
# Start containers that were made or have ended; with --boot those that --restart wants to run after a boot.
#   -a, --attach       Stay with it and show what it prints
#   -i, --interactive  And give it this standard input
#       --boot         Those that --restart wants to run after a boot
. "$WB_FLOWS/lib.sh"

attach='--detach'
while [ $# -gt 0 ]; do
    case $1 in
    -a | --attach) attach='--attach' ;;
    -i | --interactive | -ai | -ia) attach='--attach --interactive' ;;
    --boot)
        # What the last boot has left goes first; then nobody else has to be named.
        # shellcheck disable=SC2154 # the dispatcher's
        "$wb_self" gc
        due=$(wb-state list --due --quiet --no-trunc) || exit
        [ -n "$due" ] || exit 0
        # shellcheck disable=SC2086 # ids
        set -- --boot $due
        ;;
    -*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || wb_usage 'name a container'
wb_default_network

# In a shell of its own: its end is to become the attendant.
wb_start () (
    state=$(wb-state get --format '{{.State.Status}}' "$1") || exit
    case $attach:$state in
    --detach:running) exit 0 ;;
    --attach:running) exec wb-monitor attach --no-stdin "$1" ;;
    *:running) exec wb-monitor attach "$1" ;;
    esac
    id=$(wb-state get --not-running "$1" | wb-rootfs mount | wb-ipam add | wb-netns add | wb-cgroup create |
        wb-state put --quiet) || {
        status=$?
        [ -z "$id" ] || wb_record_or_id "$id" | wb_give_back
        exit "$status"
    }
    # shellcheck disable=SC2086 # flags of ours
    wb_attend $attach "$id"
)

case $attach in
--detach) wb_each wb_start "$@" ;;
*) wb_start "$1" ;;
esac
