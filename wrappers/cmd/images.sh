# wb images [-q] [--json] [--no-trunc]
# List images.
# Options of: wb-image list
exec wb-image list "$@"
