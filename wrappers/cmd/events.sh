# wb events [--json] [--format TEMPLATE] [--filter KEY=VALUE]
# Print what happens to containers, as it happens.
# Options of: wb-state events
exec wb-state events "$@"
