# Completions of wb for fish: wb itself knows what a word can become.

function __wb_complete
    set -l words (commandline -opc) (commandline -ct)
    wb complete $words[2..-1] 2>/dev/null
end

complete -c wb -f -a '(__wb_complete)'
# Where wb knows nothing, files.
complete -c wb -n 'test -z "$(__wb_complete)"' -F
