# wb inspect CONTAINER...
# Print everything that is known about containers.
# Options of: wb-state get
exec wb-state get --json "$@"
