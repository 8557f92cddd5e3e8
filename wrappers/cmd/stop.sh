# wb stop [-t SECONDS] CONTAINER...
# Ask containers to end; after the timeout, kill them.
#   -t, --time SECONDS  How long to wait before killing; the container says, or 10
. "$WB_FLOWS/lib.sh"

options=
while [ $# -gt 0 ]; do
    case $1 in
    -t | --time | --timeout)
        options="--time ${2-}"
        shift
        ;;
    --time=* | --timeout=*) options="--time ${1#*=}" ;;
    -*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || wb_usage 'name a container'

wb_stop () {
    # shellcheck disable=SC2086 # flags of ours
    wb-state get "$1" | wb-monitor stop $options
}
wb_each wb_stop "$@"
