# wb gc
# Give back what killed tools and earlier boots have left on the machine.
. "$WB_FLOWS/lib.sh"

wb-state gc | wb_give_back
