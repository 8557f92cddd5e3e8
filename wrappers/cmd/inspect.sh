# wb inspect [--type KIND] NAME...
# Print everything that is known about containers, or about images, networks or volumes.
#   --type KIND  container (the default), image, network or volume
# Options of: wb-state get
. "$WB_FLOWS/lib.sh"

kind=container
left=$#
while [ "$left" -gt 0 ]; do
    case $1 in
    --type)
        [ "$left" -gt 1 ] || wb_usage '--type takes container, image, network or volume'
        kind=$2 left=$((left - 1))
        shift
        ;;
    --type=*) kind=${1#*=} ;;
    *) set -- "$@" "$1" ;;
    esac
    left=$((left - 1))
    shift
done
[ $# -gt 0 ] || wb_usage 'name a container'
case $kind in
container) exec wb-state get --json "$@" ;;
image) exec wb-image inspect "$@" ;;
network) exec wb-netns network inspect "$@" ;;
volume) exec wb-state volume inspect "$@" ;;
*) wb_usage "$kind is none of container, image, network, volume" ;;
esac
