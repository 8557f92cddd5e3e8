# wb wait CONTAINER...
# Wait until containers end; print their exit codes.
# Options of: wb-monitor wait
exec wb-monitor wait "$@"
