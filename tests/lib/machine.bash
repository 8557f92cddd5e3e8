# For tests/run and the flow tests alike.

# The shared things of the whole machine, one a line.
wb_machine () {
  local path
  for path in /sys/class/net/*; do echo "interface ${path##*/}"; done
  for path in /run/netns/*; do
    if [ -e "$path" ]; then echo "netns ${path##*/}"; fi
  done
  nft list tables 2>/dev/null | while read -r path; do echo "nft $path"; done
}
