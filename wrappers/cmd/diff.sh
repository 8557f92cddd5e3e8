# wb diff [--json] CONTAINER
# List what a container changed: A added, C changed, D deleted.
#       --json  As one JSON array
. "$WB_FLOWS/lib.sh"

options=
while [ $# -gt 1 ]; do
    case $1 in
    --json) options=$1 ;;
    -*) wb_usage "unknown flag $1" ;;
    *) wb_usage 'name one container' ;;
    esac
    shift
done
wb_no_flag "$@"
[ $# -eq 1 ] || wb_usage 'name a container'
# shellcheck disable=SC2086 # a flag of ours
wb-state get "$1" | wb-rootfs diff $options
