# Commands in the pages, read out of the mdoc source and run.
#
#   page_blocks PAGE SECTION   the literal blocks of a section, as a reader sees them
#   run_session FILE           a session: lines `# command`, below each what it prints (`...` stands for anything)

# The literal blocks of a page's section ('' for all), mdoc's escapes undone.
page_blocks () {
  awk -v section="$2" '
    /^\.Sh / { inside = section == "" || $0 == ".Sh " section }
    /^\.Bd -literal/ { block = inside; next }
    /^\.Ed/ { block = 0 }
    block { gsub(/\\e/, "\\"); gsub(/\\-/, "-"); gsub(/\\&/, ""); gsub(/\\\(aq/, "\047"); print }
  ' "$1"
}

# Runs a session in this very shell, so that its variables and directory last; stops at the first difference.
run_session () {
  local line command='' expected='' seen=0
  while IFS= read -r line <&8 || [ -n "$line" ]; do
    case $line in
    '# '*)
      [ "$seen" = 0 ] || session_step "$command" "$expected" || return
      command=${line#'# '} expected='' seen=1
      ;;
    *) expected=$expected$line$'\n' ;;
    esac
  done 8<"$1"
  session_step "$command" "$expected"
}

session_step () {
  local status=0 actual pattern
  eval "$1" >session.out 2>&1 8<&- || status=$?
  actual=$(sed 's/[[:blank:]][[:blank:]]*/ /g;s/ $//' session.out)
  pattern=$(printf '%s' "$2" | sed -e 's/[[:blank:]][[:blank:]]*/ /g' -e 's/[][\*?]/\\&/g' -e 's/\.\.\./*/g')
  # Where the output says nothing, the status has to.
  case ${2//[[:space:]]/} in
  '' | ...)
    [ "$status" -eq 0 ] || {
      printf 'the page: # %s\n--- but it ends with status %s:\n%s\n' "$1" "$status" "$actual" >&2
      return 1
    }
    ;;
  esac
  # shellcheck disable=SC2053 # a pattern is meant
  if [[ $actual != $pattern ]]; then
    printf 'the page: # %s\n%s--- but it prints (status %s):\n%s\n' "$1" "$2" "$status" "$actual" >&2
    return 1
  fi
}
