# wb stats [-a] [--no-stream] [--no-trunc] [--json] [--format TEMPLATE] [CONTAINER...]
# Show what containers use: CPU, memory, network, disks, tasks; once a second.
exec wb-cgroup stats "$@"
