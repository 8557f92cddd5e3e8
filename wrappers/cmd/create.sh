# wb create [OPTIONS] IMAGE [COMMAND [ARG...]]
# Make a container without starting it.
# Options of: wb-spec run
. "$WB_FLOWS/lib.sh"

id=$(wb-spec -n run "$@" | wb-state create | wb-pull | wb-state put --quiet) || {
    status=$?
    [ -z "$id" ] || wb_undo "$id"
    exit "$status"
}
printf '%s\n' "$id"
