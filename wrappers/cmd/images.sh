# wb images [-q] [--json] [--format TEMPLATE] [--no-trunc]
# List images.
# Options of: wb-image list
exec wb-image list "$@"
