# wb drift CONTAINER...
# Compare what was asked for with what the kernel says.
. "$WB_FLOWS/lib.sh"

wb_no_flag "$@"
[ $# -gt 0 ] || wb_usage 'name a container'
wb-state get "$@" | wb-describe drift | wb-cgroup drift
