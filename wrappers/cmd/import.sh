# wb import [--change INSTRUCTION] FILE|DIRECTORY|- NAME[:TAG]
# Make an image from a root file system.
# Options of: wb-image import
exec wb-image import "$@"
