# wb logout [REGISTRY]
# Forget the password for a registry.
# Options of: wb-pull logout
exec wb-pull logout "$@"
