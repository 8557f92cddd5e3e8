# wb stop [-t SECONDS] [-s SIGNAL] CONTAINER...
# Ask containers to end; after the timeout, kill them.
#   -t, --time SECONDS  How long to wait before killing; the container says, or 10
#   -s, --signal SIGNAL  What to send first; the container says, or SIGTERM
. "$WB_FLOWS/lib.sh"

wb_stop_flags "$@"
# shellcheck disable=SC2154 # of wb_stop_flags
shift "$taken"
[ $# -gt 0 ] || wb_usage 'name a container'

wb_stop () {
    # shellcheck disable=SC2086,SC2154 # flags of ours
    wb-state get "$1" | wb-monitor stop $options
}
wb_each wb_stop "$@"
