# wb volume create|ls|inspect|rm|prune [OPTIONS] [NAME...]
# Make, list and remove volumes.
# Options of: wb-state volume create
[ $# -gt 0 ] || set -- ls
exec wb-state volume "$@"
