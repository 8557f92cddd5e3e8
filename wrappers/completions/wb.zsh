#compdef wb
# Completions of wb for zsh: wb itself knows what a word can become.

_wb () {
    local -a candidates
    candidates=("${(@f)$(wb complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    candidates=("${(@)candidates:#}")
    if (( $#candidates )); then
        compadd -- "${candidates[@]}"
    else
        _files
    fi
}

if [[ $funcstack[1] == _wb ]]; then
    _wb "$@"
else
    compdef _wb wb
fi
