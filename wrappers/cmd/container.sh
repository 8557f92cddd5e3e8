# wb container COMMAND [ARGUMENT...]
# Docker's longer spelling of what concerns containers; container prune removes all that have ended.
#   -f, --force  prune: do not ask first
#   --filter KEY=VALUE  prune: only those that match
. "$WB_FLOWS/lib.sh"

verb=${1-}
[ $# -eq 0 ] || shift
case $verb in
prune)
    . "$WB_FLOWS/prune.sh"
    wb_prune containers "$@"
    ;;
ls | list | ps) command='ps' ;;
attach | commit | cp | create | diff | exec | export | inspect | kill | logs | pause | port | rename | restart | rm | \
    run | start | stats | stop | top | unpause | update | wait) command=$verb ;;
*)
    wb_no_verb "$verb" attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm \
        run start stats stop top unpause update wait
    ;;
esac
flow=$WB_FLOWS/$command.sh
if [ "${1-}" = --help ]; then
    set -- "$command"
    flow=$WB_FLOWS/help.sh
fi
. "$flow"
