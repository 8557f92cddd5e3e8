# wb port CONTAINER [PORT[/PROTOCOL]]
# Show where a container's ports are published.
exec wb-state port "$@"
