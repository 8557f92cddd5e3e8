# wb update [OPTIONS] CONTAINER...
# Change the limits and the restart policy of containers, also while they run.
# Options of: wb-spec update
wb-spec -n update "$@" | wb-cgroup set | wb-state put --names
