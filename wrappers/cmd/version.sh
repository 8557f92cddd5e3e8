# wb version
# Say which version this is.
exec wb-spec --version
