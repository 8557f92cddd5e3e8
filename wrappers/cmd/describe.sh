# wb describe PID|CONTAINER
# Derive a document from any living process, whatever started it.
. "$WB_FLOWS/lib.sh"

wb_no_flag "$@"
[ $# -eq 1 ] || wb_usage 'name one process or container'
wb-describe "$1" | wb-cgroup limits
