# wb ps [-a] [-q] [-n NUMBER] [-l] [-s] [--no-trunc] [--filter KEY=VALUE] [--json]
# List containers.
exec wb-state list --table "$@"
