# wb login [-u NAME] [-p PASSWORD|--password-stdin] [REGISTRY]
# Keep a name and a password for a registry.
# Options of: wb-pull login
exec wb-pull login "$@"
