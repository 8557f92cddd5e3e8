# wb history [-q] [--json] [--no-trunc] IMAGE
# Show the steps an image was made in.
exec wb-image history "$@"
