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
        [ $# -gt 0 ] || wb_usage '--break takes before:TOOL or after:TOOL'
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

# Prints the pipeline for a command line, ready to paste: in a shell of its own, so that it changes nothing of the
# one it is pasted into, and undone as run.sh undoes it.
wb_dry_run () {
    printf '(\nPATH=%s:$PATH\nexport WB_FLOWS=%s\n' "$(wb_word "$bin")" "$(wb_word "$WB_FLOWS")"
    [ -z "${WB_ROOT-}" ] || printf 'export WB_ROOT=%s\n' "$(wb_word "$WB_ROOT")"
    [ -z "${WB_RUN-}" ] || printf 'export WB_RUN=%s\n' "$(wb_word "$WB_RUN")"
    printf '[ -e "${WB_ROOT:-/var/lib/wb}/networks/bridge.conflist" ] ||\n'
    printf '    wb-ipam -n create --network bridge | wb-netns network create >/dev/null || exit 125\n'
    printf 'made=$(mktemp) || exit 125\n'
    printf 'wb-spec -n run%s' "$(wb_quote "$@")"
    printf '%s\n' "$wb_stages" | while read -r stage; do printf ' |\n    %s' "$stage"; done
    printf ' >"$made" || {\n    status=$?\n'
    printf '    [ ! -s "$made" ] || wb-cgroup delete <"$made" | wb-netns del | wb-ipam del |\n'
    printf '        wb-rootfs umount --purge | wb-state rm >/dev/null\n    rm -f "$made"\n    exit "$status"\n}\n'
    printf 'exec wb-monitor run --finish "%s" \\\n    --sweep "wb-state gc | %s" \\\n' "$wb_finish" "$wb_finish"
    printf '    --health "$WB_FLOWS/health.sh" --take --doc "$made" --'
    printf ' \\\n    %s' 'wb-unshare run --doc 3 --status-fd 4 --' 'wb-rootfs enter --doc 3 --status-fd 4 --' \
        'wb-confine --doc 3 --status-fd 4'
    printf '\n)\n'
}

wb_word () {
    word=$(wb_quote "$1")
    printf '%s' "${word# }"
}

# Runs the stages one after the other and stops in a shell at one of them: $1 is before:TOOL or after:TOOL.
# The document lies in $WB_DOC; what the person makes of it goes on.
wb_break () {
    at=$1
    shift
    # shellcheck disable=SC2046 # lists of words
    wb_is_stop "$at" || wb_usage_near "--break takes one of$(printf ' %s' $(wb_stops))" "$at" $(wb_stops)
    wb_default_network
    work=$(mktemp -d) || exit 125
    export WB_DOC="$work/document.json"
    # Leaves nothing half made, whichever way it ends.
    trap 'wb_give_up' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    wb-spec -n run "$@" >"$WB_DOC" || exit
    wb_stop_at after:wb-spec
    printf '%s\n' "$wb_stages" >"$work/stages"
    exec 3<"$work/stages"
    while read -r stage <&3; do
        wb_stop_at "before:${stage%% *}"
        # shellcheck disable=SC2086 # a program and its verb
        $stage <"$WB_DOC" >"$work/next" || exit
        mv "$work/next" "$WB_DOC"
        cp "$WB_DOC" "$work/made"
        wb_stop_at "after:${stage%% *}"
    done
    exec 3<&-
    wb_stop_at before:wb-monitor
    trap - EXIT INT TERM
    exec 3<"$WB_DOC"
    rm -rf "$work"
    wb_attend --doc 3
}

# Where one can stop, a line each.
wb_stops () {
    echo after:wb-spec
    printf '%s\n' "$wb_stages" | while read -r stage; do
        printf 'before:%s\nafter:%s\n' "${stage%% *}" "${stage%% *}"
    done
    echo before:wb-monitor
}

wb_is_stop () {
    wb_stops | grep -qxF -e "$1"
}

# Stops in a shell if this is where to. A terminal's shell ends with the status of whatever was typed last, which
# says nothing: there the person is asked.
wb_stop_at () {
    [ "$at" = "$1" ] || return 0
    at=
    printf 'wb: stopped %s %s; the document is in $WB_DOC (%s)\n' "${1%%:*}" "${1#*:}" "$WB_DOC" >&2
    printf 'hint: leave the shell to go on with the document as it then is, or with exit 1 to undo\n' >&2
    "${SHELL:-/bin/sh}" 3<&- && return
    if [ -t 0 ]; then
        printf 'wb: go on with the container? [y/N] ' >&2
        read -r answer || answer=
        case $answer in [yY]*) return ;; esac
    fi
    exit 125
}

# Undoes what the stages have made so far: that needs the id, which the last document of a stage has; what a person
# has made of it may be no document at all.
wb_give_up () {
    status=$?
    [ "$status" -ne 0 ] || status=125
    trap '' INT TERM
    if [ -s "$work/made" ]; then
        wb_forget <"$work/made"
    fi
    rm -rf "$work"
    exit "$status"
}
