# wb logs [-f] [-t] [-n LINES] [--since TIME] [--until TIME] CONTAINER
# Show what a container has printed.
# Options of: wb-monitor logs
exec wb-monitor logs "$@"
