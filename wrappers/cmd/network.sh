# wb network create|ls|inspect|rm|prune [OPTIONS] [NAME...]
# Make, list and remove networks.
. "$WB_FLOWS/lib.sh"

verb=${1-ls}
[ $# -eq 0 ] || shift
case $verb in
create) wb-ipam -n create "$@" | wb-netns network create --quiet ;;
ls | list) exec wb-netns network list --table "$@" ;;
inspect) exec wb-netns network inspect "$@" ;;
rm | remove) exec wb-netns network rm "$@" ;;
prune) exec wb-netns network prune ;;
*) wb_usage "$verb is none of create, ls, inspect, rm, prune" ;;
esac
