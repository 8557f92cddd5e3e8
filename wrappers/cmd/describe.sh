# wb describe PID|CONTAINER
# Derive a document from any living process, whatever started it.
. "$WB_FLOWS/lib.sh"

case ${1-} in -*) wb_usage "unknown flag $1" ;; esac
[ $# -eq 1 ] || wb_usage 'name one process or container'
wb-describe "$1" | wb-cgroup limits
