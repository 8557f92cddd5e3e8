# wb exec [OPTIONS] CONTAINER COMMAND [ARG...]
# Run a command inside a running container.
# Options of: wb-spec exec

# The document takes fd 3, since standard input belongs to the command.
{
    wb-spec -n exec "$@" |
        wb-monitor exec --doc 3 -- wb-nsenter run --doc 3 --status-fd 4 -- wb-confine --doc 3 --status-fd 4 \
            3<&0 <&4 4<&-
} 4<&0
