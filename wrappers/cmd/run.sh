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

# The document of what the pipeline has made, until wb-monitor takes it; nobody else may read it. One that stays is
# for wb-state gc.
made=${WB_RUN:-/run/wb}/made/$$
[ -d "${made%/*}" ] || (umask 077 && mkdir -p "${made%/*}") || exit 125

# Undoes what it has made when it failed.
wb_undo_made () {
    [ ! -s "$made" ] || wb_forget <"$made" || :
    rm -f "$made"
}

trap 'status=$?; wb_undo_made; exit "$status"' INT TERM
wb-spec -n run "$@" | wb-state create | wb-pull | wb-rootfs mount | wb-ipam add | wb-netns add |
    wb-cgroup create >"$made" || {
    status=$?
    wb_undo_made
    exit "$status"
}
trap - INT TERM
wb_attend --take --doc "$made"
