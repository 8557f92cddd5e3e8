# wb pull [-q] [--platform OS/ARCH] IMAGE
# Fetch an image from a registry.
# Options of: wb-pull
exec wb-pull --pull always --print name "$@"
