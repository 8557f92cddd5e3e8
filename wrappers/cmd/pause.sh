# wb pause CONTAINER...
# Stop every process of containers where it stands.
. "$WB_FLOWS/lib.sh"
case ${1-} in -*) wb_usage "unknown flag $1" ;; esac
[ $# -gt 0 ] || wb_usage 'name a container'

wb_pause () {
    wb-state get --running "$1" | wb-cgroup freeze | wb-state put --status paused
}
wb_each wb_pause "$@"
