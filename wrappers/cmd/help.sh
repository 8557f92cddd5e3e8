# wb help [COMMAND]
# Say what a command does.

# What a flow says about itself: the comment at its top, synopsis first. Which tool knows its options is for us.
wb_about () {
    options_of=
    while IFS= read -r line; do
        case $line in
        '# Options of: '*) options_of=${line#'# Options of: '} ;;
        '#'*)
            line=${line#'#'}
            printf '%s\n' "${line# }"
            ;;
        *) break ;;
        esac
    done <"$1"
}

# The line of a flow that says in a few words what it does: the first that is no synopsis.
wb_summary () {
    while read -r mark text; do
        case $mark$text in
        '#wb '*) ;;
        '#'*)
            printf '%s\n' "$text"
            return
            ;;
        *) return ;;
        esac
    done <"$1"
}

wb_help () {
    wb_is_command "$1" || wb_unknown "$1"
    printf 'usage: '
    wb_about "$WB_FLOWS/$1.sh"
    if [ -n "$options_of" ]; then
        printf '\n'
        # The tool's usage is for its own place in a pipe; the flow's stands above.
        # shellcheck disable=SC2086 # a tool and its verb
        $options_of --help | {
            shown=
            while IFS= read -r line; do
                case $line in 'Flags:' | 'Options:') shown=1 ;; esac
                [ -z "$shown" ] || printf '%s\n' "$line"
            done
        }
    fi
    printf '\nman wb-%s has the details\n' "$1"
}

# A command is what says in its first line how it is called.
wb_is_command () {
    case $1 in '' | *[!a-z]*) return 1 ;; esac
    [ -r "$WB_FLOWS/$1.sh" ] || return 1
    read -r _ called <"$WB_FLOWS/$1.sh"
    case "$called " in "wb $1 "*) return 0 ;; esac
    return 1
}

wb_commands () {
    for flow_file in "$WB_FLOWS"/*.sh; do
        name=${flow_file##*/} name=${name%.sh}
        ! wb_is_command "$name" || printf '%s\n' "$name"
    done
}

wb_overview () {
    printf 'usage: wb [--trace] COMMAND [ARGUMENT...]\n\n'
    for name in $(wb_commands); do
        printf '  %-10s %s\n' "$name" "$(wb_summary "$WB_FLOWS/$name.sh")"
    done
    printf '\nwb help COMMAND says more; every command and every tool behind it has a page of its own: man wb\n'
}

# Whether a word is one slip of the fingers away from another: a letter too many, too few, wrong, or two exchanged.
wb_is_near () {
    before='' rest=$1
    while [ -n "$rest" ]; do
        after=${rest#?}
        letter=${rest%"$after"}
        case $2 in "$before$rest" | "$before$after" | "$before"?"$after" | "$before"?"$rest") return 0 ;; esac
        beyond=${after#?}
        [ "$2" != "$before${after%"$beyond"}$letter$beyond" ] || return 0
        before=$before$letter rest=$after
    done
    case $2 in "$before"?) return 0 ;; esac
    return 1
}

# Those of the words after the first that it may have meant; otherwise those that begin with it.
wb_near () {
    typed=$1
    shift
    close='' longer=''
    for candidate; do
        ! wb_is_near "$typed" "$candidate" || close="$close $candidate"
        case $candidate in "$typed"*) longer="$longer $candidate" ;; esac
    done
    printf '%s' "${close:-$longer}"
}

# The flags that a flow says it has.
wb_flags () {
    wb_help "$1" 2>/dev/null | while IFS= read -r line; do
        case $line in *-*) ;; *) continue ;; esac
        set -f
        # shellcheck disable=SC2086 # into words
        set -- $line
        for word; do
            while :; do
                case $word in
                '['* | '<'* | '('*) word=${word#?} ;;
                *',' | *']' | *';' | *')' | *'.') word=${word%?} ;;
                *) break ;;
                esac
            done
            case $word in
            -[A-Za-z] | --[a-z]*)
                word=${word%%=*} word=${word%%[[]*}
                printf '%s\n' "${word%%|*}"
                ;;
            *) case $word in *'|--'*) printf '%s\n' "--${word#*|--}" ;; esac ;;
            esac
        done
        set +f
    done
}

# A command that does not exist: name those that were meant.
wb_unknown () {
    printf 'wb: "%s" is not a command\n' "$1" >&2
    # shellcheck disable=SC2046 # a list of names
    close=$(wb_near "$1" --trace $(wb_commands))
    if [ -n "$close" ]; then
        printf 'hint: did you mean%s?\n' "$close" >&2
    else
        printf 'hint: wb help lists the commands\n' >&2
    fi
    exit 1
}

# shellcheck disable=SC2154 # the dispatcher's
if [ "$flow" = "$WB_FLOWS/help.sh" ]; then
    if [ $# -gt 0 ]; then
        wb_help "$1"
    else
        wb_overview
    fi
fi
