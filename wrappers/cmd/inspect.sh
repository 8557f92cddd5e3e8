# wb inspect CONTAINER...
# Print everything that is known about containers.
# Options of: wb-state get
. "$WB_FLOWS/lib.sh"
[ $# -gt 0 ] || wb_usage 'name a container'
exec wb-state get --json "$@"
