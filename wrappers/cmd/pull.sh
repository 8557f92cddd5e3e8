# wb pull [-q] [--platform OS/ARCH] IMAGE
# Fetch an image from a registry.
exec wb-pull --pull always --print name "$@"
