# wb logout [REGISTRY]
# Forget the password for a registry.
exec wb-pull logout "$@"
