# wb run [OPTIONS] IMAGE [COMMAND [ARG...]]
# Make and start a container.
# Options of: wb-spec run
. "$WB_FLOWS/lib.sh"

case ${1-} in
--dry-run | --break | --break=*)
    . "$WB_FLOWS/stages.sh"
    wb_staged "$@"
    ;;
esac
wb_default_network
id=
trap 'status=$?; [ -z "$id" ] || wb_undo "$id"; exit "$status"' INT TERM
id=$(wb-spec -n run "$@" | wb-state create | wb-pull | wb-rootfs mount | wb-ipam add | wb-netns add |
    wb-cgroup create | wb-state put --quiet) || {
    status=$?
    [ -z "$id" ] || wb_undo "$id"
    exit "$status"
}
trap - INT TERM
wb_attend "$id"
