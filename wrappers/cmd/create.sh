# wb create [OPTIONS] IMAGE [COMMAND [ARG...]]
# Make a container without starting it.
# Options of: wb-spec run
. "$WB_FLOWS/lib.sh"

# Docker's status is 125 only where the command line is wrong.
document=$(wb-spec -n run "$@") || exit
id=$(printf '%s\n' "$document" | wb-state create | wb-pull | wb-state put --quiet) || {
    [ -z "$id" ] || wb_undo "$id"
    exit 1
}
printf '%s\n' "$id"
