# wb kill [-s SIGNAL] CONTAINER...
# Send containers a signal, SIGKILL by default.
#   -s, --signal SIGNAL  Which signal, by name or number (SIGKILL)
. "$WB_FLOWS/lib.sh"

signal=KILL
while [ $# -gt 0 ]; do
    case $1 in
    -s | --signal)
        signal=${2-}
        shift
        ;;
    --signal=*) signal=${1#*=} ;;
    -*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || wb_usage 'name a container'

wb_kill () {
    wb-state get "$1" | wb-monitor kill --signal "$signal"
}
wb_each wb_kill "$@"
