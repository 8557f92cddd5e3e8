# Completions of wb for bash: wb itself knows what a word can become.

_wb () {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} word=
    local -a words
    # Not COMP_WORDS: bash takes colons and equal signs for the ends of words; wb does not.
    read -ra words <<<"$line"
    case $line in *[[:space:]]) words+=('') ;; esac
    word=${words[-1]}
    IFS=$'\n'
    # shellcheck disable=SC2207 # a line each
    COMPREPLY=($(wb complete "${words[@]:1}" 2>/dev/null))
    # bash puts what it is given behind the last of those.
    local breaks=${COMP_WORDBREAKS//[!:=]/}
    [ -z "$breaks" ] || COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*["$breaks"]}"}"}")
}
complete -o default -F _wb wb
