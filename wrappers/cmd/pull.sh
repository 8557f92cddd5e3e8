# wb pull [-q] [--platform OS/ARCH] IMAGE
# Fetch an image from a registry.
exec wb-pull --null-input "$@" >/dev/null
