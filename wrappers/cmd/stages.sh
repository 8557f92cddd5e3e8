# stages.sh
# wb run, one stage at a time: printed with --dry-run, stopped at with --break.
# shellcheck disable=SC2016,SC2154 # what is printed is for another shell; bin is the dispatcher's

# The pipeline of run.sh as a list; tests compare the two.
wb_stages='wb-state create
wb-pull
wb-rootfs mount
wb-ipam add
wb-netns add
wb-cgroup create'

wb_staged () {
    option=$1
    shift
    case $option in
    --dry-run)
        wb_dry_run "$@"
        exit 0
        ;;
    --break)
        [ $# -gt 0 ] || wb_usage "--break takes before:TOOL or after:TOOL"
        wb_break "$@"
        ;;
    --break=*) wb_break "${option#*=}" "$@" ;;
    esac
}

# Words as a shell reads them back.
wb_quote () {
    for word; do
        case $word in
        '' | *[!A-Za-z0-9_./:=@%+,-]*)
            quoted=
            while :; do
                case $word in
                *\'*) quoted="$quoted${word%%\'*}'\\''" word=${word#*\'} ;;
                *) break ;;
                esac
            done
            printf " '%s'" "$quoted$word"
            ;;
        *) printf ' %s' "$word" ;;
        esac
    done
}

# Prints the pipeline for a command line, ready to paste.
wb_dry_run () {
    quoted_bin=$(wb_quote "$bin") quoted_flows=$(wb_quote "$WB_FLOWS")
    printf 'PATH=%s:$PATH\nexport WB_FLOWS=%s\n' "${quoted_bin# }" "${quoted_flows# }"
    printf 'id=$(wb-spec -n run%s |\n' "$(wb_quote "$@")"
    printf '%s\n' "$wb_stages" | while read -r stage; do printf '    %s |\n' "$stage"; done
    printf '    wb-state put --quiet) &&\n'
    printf 'wb-monitor run --finish "$WB_FLOWS/finish.sh" --health "$WB_FLOWS/health.sh" "$id" --'
    printf ' \\\n    %s' 'wb-unshare run --doc 3 --status-fd 4 --' 'wb-rootfs enter --doc 3 --status-fd 4 --' \
        'wb-confine --doc 3 --status-fd 4'
    printf '\n'
}

# Runs the stages one after the other and stops in a shell at one of them: $1 is before:TOOL or after:TOOL.
# The document lies in $WB_DOC; what the person makes of it goes on.
wb_break () {
    where=${1%%:*} tool=${1#*:}
    shift
    case $where in
    before | after) ;;
    *) wb_usage "--break takes before:TOOL or after:TOOL" ;;
    esac
    case $wb_stages in
    *"$tool"*) ;;
    *) wb_usage "$tool is no stage of: $(printf '%s\n' "$wb_stages" | while read -r stage; do printf ' %s' "${stage%% *}"; done)" ;;
    esac
    WB_DOC=$(mktemp) || exit 125
    export WB_DOC
    trap 'rm -f "$WB_DOC" "$WB_DOC.next"' EXIT
    wb-spec -n run "$@" >"$WB_DOC" || wb_stopped $?
    printf '%s\n' "$wb_stages" >"$WB_DOC.next"
    exec 3<"$WB_DOC.next"
    while read -r stage <&3; do
        name=${stage%% *}
        [ "$where:$name" != "before:$tool" ] || wb_inspect_by_hand "before $name"
        # shellcheck disable=SC2086 # a program and its verb
        $stage <"$WB_DOC" >"$WB_DOC.next" || wb_stopped $?
        mv "$WB_DOC.next" "$WB_DOC"
        [ "$where:$name" != "after:$tool" ] || wb_inspect_by_hand "after $name"
    done
    exec 3<&-
    id=$(wb-state put --quiet <"$WB_DOC") || wb_stopped $?
    rm -f "$WB_DOC"
    trap - EXIT
    wb_attend "$id"
}

wb_inspect_by_hand () {
    printf 'wb: stopped %s; the document is in $WB_DOC (%s)\n' "$1" "$WB_DOC" >&2
    printf 'hint: leave the shell to go on with the document as it then is, or with exit 1 to undo\n' >&2
    "${SHELL:-/bin/sh}" || {
        wb_give_up
        exit 125
    }
}

wb_stopped () {
    [ ! -s "$WB_DOC.next" ] || mv "$WB_DOC.next" "$WB_DOC"
    wb_give_up
    exit "$1"
}

# Undoes what the stages have made so far; the document knows the id.
wb_give_up () {
    wb-cgroup delete <"$WB_DOC" | wb-netns del | wb-ipam del | wb-rootfs umount --purge | wb-state rm >/dev/null
}
