# wb images [-q] [--json] [--no-trunc]
# List images.
exec wb-image list --table "$@"
