# wb version
# Say which version this is.
. "$WB_FLOWS/lib.sh"
case ${1-} in
'') exec wb-spec --version ;;
-*) wb_usage "unknown flag $1" ;;
*) wb_usage 'version takes no operand' ;;
esac
