# wb load [-i FILE] [-q]
# Take images out of an archive.
# Options of: wb-image load
exec wb-image load "$@"
