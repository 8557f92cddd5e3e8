# wb tag IMAGE NAME[:TAG]
# Give an image another name.
# Options of: wb-image tag
exec wb-image tag "$@"
