# wb volume create|ls|inspect|rm|prune [OPTIONS] [NAME...]
# Make, list and remove volumes.
[ $# -gt 0 ] || set -- ls
exec wb-state volume "$@"
