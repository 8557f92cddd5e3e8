# wb doctor [--json] [CONTAINER...]
# Say what this machine lacks for containers, or for these, and what mends it.
# Options of: wb-doctor
case ${1-} in
'' | -*) exec wb-doctor "$@" ;;
*) wb-state get "$@" | wb-doctor ;;
esac
