# wb history [-q] [--json] [--no-trunc] IMAGE
# Show the steps an image was made in.
# Options of: wb-image history
exec wb-image history "$@"
