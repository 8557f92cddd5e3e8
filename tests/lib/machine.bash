# For tests/run and the flow tests alike.

# The shared things of the whole machine, one a line.
wb_machine () {
  ip -o link show 2>/dev/null | sed -E 's/^[0-9]+: ([^:@]+).*/interface \1/'
  if [ -d /run/netns ]; then find /run/netns -mindepth 1 -printf 'netns %f\n'; fi
  nft list tables 2>/dev/null | sed 's/^/nft /'
}
