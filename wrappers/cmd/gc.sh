# wb gc
# Give back what killed tools and earlier boots have left on the machine.
. "$WB_FLOWS/lib.sh"

status=0
wb-state gc | wb_give_back || status=$?
# An address that was leased, and its taker killed before the record told of it.
wb-ipam gc || status=$?
exit "$status"
