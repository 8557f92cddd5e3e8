# wb ps [-a] [-q] [-n NUMBER] [-l] [-s] [--no-trunc] [--filter KEY=VALUE] [--json]
# List containers.
# Options of: wb-state list
exec wb-state list --table "$@"
