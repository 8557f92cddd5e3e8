# wb info
# Say what this machine and this place have.
. "$WB_FLOWS/lib.sh"
[ $# -eq 0 ] || wb_usage "no argument is taken"

root=${WB_ROOT:-/var/lib/wb}
read -r _ _ kernel _ </proc/version
controllers=
while read -r name _ _ on; do
    [ "$on" != 1 ] || controllers="$controllers $name"
done </proc/cgroups
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || read -r controllers </sys/fs/cgroup/cgroup.controllers
cat <<EOF
version      $(wb-spec --version)
containers   $(wb-state list -a -q | wc -l), $(wb-state list -q | wc -l) running
images       $(wb-image list -q | wc -l)
root         $root
run          ${WB_RUN:-/run/wb}
kernel       $kernel
controllers  ${controllers# }
EOF
