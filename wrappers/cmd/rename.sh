# wb rename CONTAINER NAME
# Give a container another name.
. "$WB_FLOWS/lib.sh"
wb_no_flag "$@"
[ $# -eq 2 ] || wb_usage 'name a container, and its new name'
exec wb-state rename "$@"
