# wb export [-o FILE] CONTAINER
# Write a container's files as one tar, without its volumes.
#   -o, --output FILE  Into this file instead of standard output
. "$WB_FLOWS/lib.sh"

output=
while [ $# -gt 0 ]; do
    case $1 in
    -o | --output)
        output=${2-}
        [ -n "$output" ] || wb_usage "$1 needs a value"
        shift
        ;;
    --output=*) output=${1#*=} ;;
    -?*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -eq 1 ] || wb_usage 'name a container'
wb-state get "$1" | wb-rootfs export ${output:+"--output=$output"}
