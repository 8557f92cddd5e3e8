# wb stats [-a] [--no-stream] [--no-trunc] [--json] [--format TEMPLATE] [CONTAINER...]
# Show what containers use: CPU, memory, network, disks, tasks; once a second.
# Options of: wb-cgroup stats
exec wb-cgroup stats "$@"
