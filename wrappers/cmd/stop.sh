# wb stop [-t SECONDS] [-s SIGNAL] CONTAINER...
# Ask containers to end; after the timeout, kill them.
#   -t, --time SECONDS  How long to wait before killing; the container says, or 10
#   -s, --signal SIGNAL  What to send first; the container says, or SIGTERM
. "$WB_FLOWS/lib.sh"

options=
while [ $# -gt 0 ]; do
    case $1 in
    -t | --time | --timeout)
        wb_seconds "${2-}"
        options="$options --time $2"
        shift
        ;;
    --time=* | --timeout=*)
        wb_seconds "${1#*=}"
        options="$options --time ${1#*=}"
        ;;
    -s | --signal)
        options="$options --signal ${2-}"
        shift
        ;;
    --signal=*) options="$options --signal ${1#*=}" ;;
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
