# wb system df|prune|info|events [OPTIONS]
# Say how much of the disk is taken; remove what nobody uses.
#   -v, --verbose  df: what each image, container and volume takes
#   --json  df: one JSON array
#   --format TEMPLATE  df: what a template says of each kind
#   -a, --all  prune: all images that no container uses
#   -f, --force  prune: do not ask first
#   --filter KEY=VALUE  prune: only what matches
#   --volumes  prune: volumes without a name of their own, too
. "$WB_FLOWS/lib.sh"

verb=${1-}
[ $# -eq 0 ] || shift
case $verb in
df) exec wb-state df "$@" ;;
info | events) exec wb-state "$verb" "$@" ;;
prune)
    . "$WB_FLOWS/prune.sh"
    wb_prune all "$@"
    ;;
*) wb_no_verb "$verb" df prune info events ;;
esac
