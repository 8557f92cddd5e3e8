# wb rename CONTAINER NAME
# Give a container another name.
. "$WB_FLOWS/lib.sh"
case ${1-} in -*) wb_usage "unknown flag $1" ;; esac
[ $# -eq 2 ] || wb_usage 'name a container, and its new name'
exec wb-state rename "$@"
