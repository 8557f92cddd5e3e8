# wb tag IMAGE NAME[:TAG]
# Give an image another name.
exec wb-image tag "$@"
