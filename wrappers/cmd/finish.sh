#!/bin/sh
# finish.sh CONTAINER
# Give back what only a running container needs; wb-monitor calls this at its end. With --rm nothing stays.
wb-state get "$1" | wb-cgroup delete | wb-netns del | wb-ipam del | wb-rootfs umount | wb-state finish >/dev/null
