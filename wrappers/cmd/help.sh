# wb help [COMMAND]
# Say what a command does.

# What a flow says about itself: the comment at its top, synopsis first.
wb_about () {
    while read -r mark text; do
        [ "$mark" = '#' ] || break
        printf '%s\n' "$text"
    done <"$1"
}

wb_help () {
    [ -r "$WB_FLOWS/$1.sh" ] || wb_unknown "$1"
    printf 'usage: '
    wb_about "$WB_FLOWS/$1.sh"
    case $1 in
    run | create) words=run ;;
    exec | update) words=$1 ;;
    *) return ;;
    esac
    printf '\n'
    wb-spec "$words" --help
}

wb_overview () {
    printf 'usage: wb [--trace] COMMAND [ARGUMENT...]\n\n'
    for flow in "$WB_FLOWS"/*.sh; do
        name=${flow##*/}
        { read -r _ && read -r _ about; } <"$flow"
        case $name in
        lib.sh | stages.sh | health.sh) ;;
        *) printf '  %-10s %s\n' "${name%.sh}" "$about" ;;
        esac
    done
    printf '\nwb help COMMAND says more; every tool behind it has a page of its own: man wb\n'
}

# A command that does not exist: name those that begin alike.
wb_unknown () {
    printf 'wb: "%s" is not a command\n' "$1" >&2
    rest=${1#??}
    start=${1%"$rest"}
    close=
    for flow in "$WB_FLOWS/$start"*.sh; do
        name=${flow##*/}
        [ -z "$rest" ] || [ ! -r "$flow" ] || close="$close ${name%.sh}"
    done
    if [ -n "$close" ]; then
        printf 'hint: did you mean%s?\n' "$close" >&2
    else
        printf 'hint: wb help lists the commands\n' >&2
    fi
    exit 125
}

if [ "$flow" = "$WB_FLOWS/help.sh" ]; then
    if [ $# -gt 0 ]; then
        wb_help "$1"
    else
        wb_overview
    fi
fi
