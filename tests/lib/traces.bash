# What the tools have on the machine and in the store, compared before and after: `load lib/traces`, after lib/common.
#
#   remember     takes what there is now, once nobody is at work any more, as what there has to be
#   as_before    whether it is so again; `eventually 5 as_before`, since some things die a little later

traces () {
  wb_leftovers | grep -v '^process ' | sort
  find "$WB_ROOT/containers" "$WB_ROOT/names" "$WB_RUN/containers" -mindepth 1 -maxdepth 1 2>/dev/null | sort
  wb-ipam list | jq -r .id | sort
}

settled () {
  before=$(traces)
  sleep 0.1
  [ "$before" = "$(traces)" ]
}

remember () { eventually 5 settled; }

as_before () { [ "$(traces)" = "$before" ]; }

what_is_left () { diff <(echo "$before") <(traces); }
