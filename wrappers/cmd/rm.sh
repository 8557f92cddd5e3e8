# wb rm [-f] [-v] CONTAINER...
# Remove containers that have ended; with -f running ones too, with -v their anonymous volumes.
#   -f, --force    Running ones too
#   -v, --volumes  Their anonymous volumes, too
. "$WB_FLOWS/lib.sh"

force='' volumes=''
while [ $# -gt 0 ]; do
    case $1 in
    -f | --force) force=1 ;;
    -v | --volumes) volumes=--volumes ;;
    -fv | -vf) force=1 volumes=--volumes ;;
    -*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || wb_usage 'name a container'

wb_rm () {
    if [ -n "$force" ]; then
        # As with docker, what does not exist is told and no failure: it is gone. It is not named as removed.
        document=$(wb-state get --ignore "$1") || return
        [ -n "$document" ] || exit 0
        printf '%s\n' "$document" | wb-monitor stop --time 0 >/dev/null || return
        # A container that was to be removed at its end is gone by now.
        wb-state get "$1" >/dev/null 2>&1 || return 0
    fi
    # Said first: whoever starts it at this moment gives up, or has made all of what is undone here.
    wb-state get --not-running "$1" | wb-state put --status removing >/dev/null || return
    # shellcheck disable=SC2086 # a flag of ours
    wb_undo "$1" $volumes
}
wb_each wb_rm "$@"
