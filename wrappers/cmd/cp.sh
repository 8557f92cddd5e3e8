# wb cp [-a] [-L] CONTAINER:PATH FILE|- | FILE|- CONTAINER:PATH
# Copy files out of a container or into it, running or not; - is a tar on a pipe.
#   -a, --archive      Keep owners and modes
#   -L, --follow-link  Copy what a link leads to
#   -q, --quiet        Accepted: nothing is said anyway
. "$WB_FLOWS/lib.sh"

options=
while [ $# -gt 0 ]; do
    case $1 in
    -a | --archive) options="$options --archive" ;;
    -L | --follow-link) options="$options --follow-link" ;;
    -aL | -La) options="$options --archive --follow-link" ;;
    -q | --quiet) ;;
    --)
        shift
        break
        ;;
    -?*) wb_usage "unknown flag $1" ;;
    *) break ;;
    esac
    shift
done
[ $# -eq 2 ] || wb_usage 'name a source and a destination'

# Whether a word names a path in a container: a colon, and nothing before it that only a path can have.
wb_inside () {
    case $1 in
    /* | .* | -) return 1 ;;
    *:*)
        case ${1%%:*} in
        '' | */*) return 1 ;;
        esac
        ;;
    *) return 1 ;;
    esac
}

if wb_inside "$1"; then
    ! wb_inside "$2" || wb_usage 'copying between containers is not supported'
    container=${1%%:*} direction="--from=${1#*:}" file=$2
elif wb_inside "$2"; then
    container=${2%%:*} direction="--to=${2#*:}" file=$1
else
    wb_usage 'one of the two is CONTAINER:PATH'
fi

[ -n "${direction#*=}" ] || wb_usage 'the path in the container is missing'

# The document takes fd 3, since standard input may be a tar.
{
    # shellcheck disable=SC2086 # flags of ours
    wb-state get "$container" | wb-rootfs cp --doc 3 $options "$direction" -- "$file" 3<&0 <&4 4<&-
} 4<&0
