# wb rmi [-f] IMAGE...
# Remove images.
# Options of: wb-image rm
exec wb-image rm "$@"
