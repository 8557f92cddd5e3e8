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
document=
trap 'status=$?; wb_undo_document; exit "$status"' INT TERM
document=$(wb-spec -n run "$@" | wb-state create | wb-pull | wb-rootfs mount | wb-ipam add | wb-netns add |
    wb-cgroup create) || {
    status=$?
    wb_undo_document
    exit "$status"
}
trap - INT TERM
wb_attend --doc 3 3<<EOF
$document
EOF
