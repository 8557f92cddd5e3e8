# wb attach [--no-stdin] [--detach-keys KEYS] CONTAINER
# Connect the terminal to a running container.
# Options of: wb-monitor attach
exec wb-monitor attach "$@"
