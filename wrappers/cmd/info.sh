# wb info [--json] [--format TEMPLATE]
# Say what this machine and this place have.
# Options of: wb-state info
exec wb-state info "$@"
