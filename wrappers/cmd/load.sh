# wb load [-i FILE] [-q]
# Take images out of an archive.
exec wb-image load "$@"
