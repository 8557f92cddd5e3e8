# wb top CONTAINER [PS-OPTION...]
# List the processes of a container, as ps(1) shows them on the host (ps -ef).
. "$WB_FLOWS/lib.sh"
wb_no_flag "$@"
[ $# -gt 0 ] || wb_usage 'name a container'

pids=$(wb-state get "$1" | wb-cgroup procs)
shift
[ $# -gt 0 ] || set -- -ef
# ps cannot be asked for these alone: it joins a list of processes to its other options with "or".
ps "$@" | awk -v pids="$pids" '
    BEGIN { count = split(pids, list); for (i = 1; i <= count; i++) wanted[list[i]] }
    NR == 1 {
        for (i = 1; i <= NF; i++) if ($i == "PID") column = i
        if (!column) { print "wb: top: ps must be asked for PID too" | "cat >&2"; exit 1 }
        print
        next
    }
    $column in wanted
    END { if (!NR) exit 1 }'
