# wb ps [-a] [-q] [-n NUMBER] [-l] [--no-trunc] [--filter KEY=VALUE] [--json]
# List containers.
exec wb-state list --table "$@"
