# wb gc
# Give back what killed tools and earlier boots have left on the machine.
wb-state gc | wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount | wb-state finish >/dev/null
