# wb image COMMAND [ARGUMENT...]
# Docker's longer spelling of what concerns images; image prune removes those without a name, with -a all unused.
#   -a, --all  prune: those with a name, too
#   -f, --force  prune: do not ask first
#   --filter KEY=VALUE  prune: only those that match
. "$WB_FLOWS/lib.sh"

verb=${1-}
[ $# -eq 0 ] || shift
case $verb in
prune)
    . "$WB_FLOWS/prune.sh"
    wb_prune images "$@"
    ;;
inspect) exec wb-image inspect "$@" ;;
ls | list) command=images ;;
rm | remove) command=rmi ;;
history | import | load | pull | push | save | tag) command=$verb ;;
*) wb_no_verb "$verb" history import inspect load ls prune pull push rm save tag ;;
esac
. "$WB_FLOWS/$command.sh"
