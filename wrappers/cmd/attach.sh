# wb attach [--no-stdin] [--detach-keys KEYS] CONTAINER
# Connect the terminal to a running container.
exec wb-monitor attach "$@"
