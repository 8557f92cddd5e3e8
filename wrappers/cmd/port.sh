# wb port CONTAINER [PORT[/PROTOCOL]]
# Show where a container's ports are published.
# Options of: wb-state port
exec wb-state port "$@"
