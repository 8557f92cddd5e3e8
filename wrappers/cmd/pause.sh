# wb pause CONTAINER...
# Stop every process of containers where it stands.
. "$WB_FLOWS/lib.sh"
wb_no_flag "$@"
[ $# -gt 0 ] || wb_usage 'name a container'

wb_pause () {
    wb-state get --running "$1" | wb-cgroup freeze | wb-state put --status paused
}
wb_each wb_pause "$@"
