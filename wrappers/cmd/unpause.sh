# wb unpause CONTAINER...
# Let paused containers go on.
. "$WB_FLOWS/lib.sh"
wb_no_flag "$@"
[ $# -gt 0 ] || wb_usage 'name a container'

wb_unpause () {
    wb-state get --paused "$1" | wb-cgroup thaw | wb-state put --status running
}
wb_each wb_unpause "$@"
