# wb save [-o FILE] [--format docker|oci] IMAGE...
# Write images into an archive.
# Options of: wb-image save
exec wb-image save "$@"
