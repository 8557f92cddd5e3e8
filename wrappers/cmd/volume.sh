# wb volume create|ls|inspect|rm|prune [OPTIONS] [NAME...]
# Make, list and remove volumes.
#   -a, --all  prune: those with a name, too
#   -f, --force  prune: do not ask first
#   --filter KEY=VALUE  prune: only those that match
# Options of: wb-state volume create
[ $# -gt 0 ] || set -- ls
if [ "$1" = prune ]; then
    shift
    . "$WB_FLOWS/lib.sh"
    . "$WB_FLOWS/prune.sh"
    wb_prune volumes "$@"
fi
exec wb-state volume "$@"
