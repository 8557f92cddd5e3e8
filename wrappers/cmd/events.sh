# wb events [--json] [--format TEMPLATE] [--filter KEY=VALUE] [--since TIME] [--until TIME]
# Print what happens to containers, images, networks and volumes, as it happens.
# Options of: wb-state events
exec wb-state events "$@"
