# wb events [--json] [--filter KEY=VALUE]
# Print what happens to containers, as it happens.
exec wb-state events "$@"
