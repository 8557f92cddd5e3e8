# wb push [-q] [--platform OS/ARCH] IMAGE [DESTINATION]
# Send an image to a registry.
exec wb-image push "$@"
