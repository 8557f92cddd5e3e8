# wb restart [-t SECONDS] [-s SIGNAL] CONTAINER...
# Stop containers, and start them again; those that have ended are only started.
#   -t, --time SECONDS   How long to wait before killing; the container says, or 10
#   -s, --signal SIGNAL  Which signal asks it to end; the container says, or SIGTERM
. "$WB_FLOWS/lib.sh"

wb_stop_flags "$@"
# shellcheck disable=SC2154 # of wb_stop_flags
shift "$taken"
[ $# -gt 0 ] || wb_usage 'name a container'

# shellcheck disable=SC2154 # the dispatcher's
wb_restart () {
    removes=$(wb-state get --format '{{.HostConfig.AutoRemove}}' "$1") || exit
    if [ "$removes" = true ]; then
        printf 'wb: restart: container %s was made with --rm: its end would remove it\n' "$1" >&2
        exit 1
    fi
    # shellcheck disable=SC2086,SC2154 # flags of ours
    wb-state get "$1" | wb-monitor stop $options >/dev/null && "$wb_self" start "$1"
}
wb_each wb_restart "$@"
