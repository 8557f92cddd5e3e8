# wb logs [-f] [-t] [-n NUMBER] [--since TIME] [--until TIME] CONTAINER
# Show what a container has printed.
exec wb-monitor logs "$@"
