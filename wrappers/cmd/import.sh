# wb import [--change INSTRUCTION] FILE|DIRECTORY|- NAME[:TAG]
# Make an image from a root file system.
exec wb-image import "$@"
