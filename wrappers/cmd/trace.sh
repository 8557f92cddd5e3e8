# wb trace [-o FILE.svg] COMMAND [ARGUMENT...]
# Run a command of wb and say where the milliseconds went.
#   -o FILE.svg  Draw a picture, too
. "$WB_FLOWS/lib.sh"

svg=
case ${1-} in
-o)
    svg=${2:-}
    [ -n "$svg" ] || wb_usage "-o takes a file"
    shift 2
    ;;
esac
[ $# -gt 0 ] || wb_usage "name a command, for example: wb trace run --rm busybox true"
trace=$(mktemp) || exit 125
trap 'rm -f "$trace"' EXIT
status=0
# shellcheck disable=SC2154 # the dispatcher's own path
WB_TRACE=json:$trace "$wb_self" "$@" || status=$?
if [ -s "$trace" ]; then
    wb-trace ${svg:+--svg "$svg"} "$trace" >&2
else
    printf 'wb: trace: no tool made a call that is told\n' >&2
fi
exit "$status"
