# wb push [-q] [--platform OS/ARCH] IMAGE [DESTINATION]
# Send an image to a registry.
# Options of: wb-image push
exec wb-image push "$@"
