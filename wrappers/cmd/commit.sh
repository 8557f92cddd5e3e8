# wb commit [--pause=false] [-a AUTHOR] [-m MESSAGE] [-c INSTRUCTION] CONTAINER [NAME[:TAG]]
# Make an image of a container's changes, its processes standing still meanwhile.
#   -p, --pause=BOOL  Freeze its processes meanwhile (true)
# Options of: wb-image commit
. "$WB_FLOWS/lib.sh"

# The flags go to wb-image as they are; CONTAINER is the first operand, NAME the second.
pause=--where-possible
container=
count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    -p | --pause | --pause=true) pause='' ;;
    --pause=false) pause=false ;;
    -a | -m | -c | --author | --message | --change)
        [ "$count" -gt 0 ] || wb_usage "$word needs a value"
        set -- "$@" "$word" "$1"
        shift
        count=$((count - 1))
        ;;
    -*) set -- "$@" "$word" ;;
    *) if [ -n "$container" ]; then set -- "$@" "$word"; else container=$word; fi ;;
    esac
done
[ -n "$container" ] || wb_usage 'name a container'

if [ "$pause" != false ] && wb-state get --running "$container" >/dev/null 2>&1; then
    # $(...) ends when the container goes on again, which it does however this ends.
    image=$(wb-state get "$container" | wb-cgroup freeze ${pause:+"$pause"} -- wb-image commit --container "$container" "$@")
    printf '%s\n' "$image"
else
    exec wb-image commit --container "$container" "$@"
fi
