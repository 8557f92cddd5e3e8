# Completions of wb for bash: wb itself knows what a word can become.

_wb () {
    local IFS=$'\n' word=${COMP_WORDS[COMP_CWORD]} prefix=
    # bash takes a colon for the end of a word; wb does not.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local words cword cur
        _get_comp_words_by_ref -n : -w words -i cword -c cur
        # shellcheck disable=SC2207 # a line each
        COMPREPLY=($(wb complete "${words[@]:1:cword}" 2>/dev/null))
        __ltrim_colon_completions "$cur"
        return
    fi
    prefix=${word%"${word##*:}"}
    # shellcheck disable=SC2207 # a line each
    COMPREPLY=($(wb complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -o default -F _wb wb
