#!/usr/bin/env bats
# What a person does first: quickstart in a fresh clone, and install.

load lib/common

setup () { wb_setup; }
teardown () { wb_teardown; }

@test "quickstart builds, makes an image and runs a container, twice" {
  local round
  for round in 1 2; do
    within 1200 "$WB_CHECKOUT/wrappers/quickstart" >out 2>err </dev/null || {
      cat out err
      return 1
    }
    grep -qx 'hello from a container' out
    grep -q 'what to try next' out
  done
  [ "$(wb images -q | wc -l)" -eq 1 ]
}

@test "quickstart says how to get cargo where it is missing or too old" {
  mkdir bin
  must_fail 1 env CARGO_HOME=/nonexistent PATH="/usr/bin:/bin" "$WB_CHECKOUT/wrappers/quickstart"
  [[ "$stderr" == "quickstart: cargo"*"1.85 or later"*"https://rustup.rs"* ]]
  printf '#!/bin/sh\necho cargo 1.84.1 "(xyz)"\n' >bin/cargo
  chmod +x bin/cargo
  must_fail 1 env PATH="$PWD/bin:$PATH" "$WB_CHECKOUT/wrappers/quickstart"
  [[ "$stderr" == *"cargo 1.84.1"*"too old"* ]]
}

@test "what install installs runs without the checkout" {
  DESTDIR=$PWD/dest within 20 "$WB_CHECKOUT/wrappers/install" /usr 2>/dev/null
  # Nothing of the checkout is named in it, and nothing lies outside the prefix.
  [ "$(ls dest)" = usr ]
  [ "$(find dest/usr -name 'wb-*' -path '*/libexec/*' -perm -u+x | wc -l)" -ge 12 ]
  run -1 grep -rlF "$WB_CHECKOUT" dest/usr/bin/wb dest/usr/libexec/wb/cmd
  # Completions and pages lie where shells and man(1) look for them.
  for file in bash-completion/completions/wb zsh/site-functions/_wb fish/vendor_completions.d/wb.fish man/man1/wb-run.1 \
    man/man8/wb-doctor.8; do
    [ -s "dest/usr/share/$file" ]
  done
  make_busybox_image
  run -7 env -u WB_BIN PATH="$PWD/dest/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin" wb run --rm --net none busybox sh -c 'exit 7'
  # A tool alone, by its link.
  env -u WB_BIN "$PWD/dest/usr/bin/wb-spec" --version
  wb-image rm busybox >/dev/null
}

@test "install wants an absolute prefix" {
  must_fail 2 "$WB_CHECKOUT/wrappers/install" relative
}
