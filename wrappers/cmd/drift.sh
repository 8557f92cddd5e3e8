# wb drift CONTAINER...
# Compare what was asked for with what the kernel says.
. "$WB_FLOWS/lib.sh"

case ${1-} in -*) wb_usage "unknown flag $1" ;; esac
[ $# -gt 0 ] || wb_usage 'name a container'
wb-state get "$@" | wb-describe drift
