#!/usr/bin/env bats
# Whom wb-pull trusts, and whom it tells a password: certificates of an authority made for the test, helpers and files
# of credentials as docker and skopeo have them, hosts that nobody but a person may name.

load lib/common
load lib/registry

setup () {
  wb_setup
  # Nobody's passwords but the test's own.
  export DOCKER_CONFIG=$WB_SCRATCH/docker HOME=$WB_SCRATCH XDG_RUNTIME_DIR=$WB_SCRATCH
  unset SSL_CERT_FILE SSL_CERT_DIR REGISTRY_AUTH_FILE
  network=''
}
teardown () {
  hostile_registry_stop reg
  hostile_registry_stop second
  if [ -n "$network" ]; then ip netns delete "$network"; fi
  wb_teardown
}

pull () { wb-pull -n -q --idle-timeout 2s "$@"; }

nothing_stored () {
  [ -z "$(find "$WB_ROOT/images/.wb/unfinished" -type f 2>/dev/null)" ] || return
  [ "$(jq '.manifests | length' "$WB_ROOT/images/index.json" 2>/dev/null || echo 0)" = 0 ]
}

# authority NAME: NAME.crt and NAME.key, a certificate authority.
authority () {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

# certificate NAME AUTHORITY DAYS EXTENSION: NAME.crt and NAME.key, signed by the authority.
certificate () {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days "$3" -extfile <(echo "$4") \
    -out "$1.crt" 2>/dev/null
}

# with_etc CMD…: with a directory of certificates of the test's own as /etc/$certs_d.
with_etc () {
  # shellcheck disable=SC2016 # the inner shell's arguments
  unshare --mount --propagation private bash -ec '
    mount -t tmpfs none /etc
    mkdir -p "/etc/$1"
    cp -r certs/. "/etc/$1/"
    shift
    "$@"' - "$certs_d" "$@"
}

@test "a certificate counts if its authority is known: --cert-dir, docker's and podman's certs.d, the system's" {
  authority ours
  authority theirs
  certificate server ours 2 subjectAltName=IP:127.0.0.1,DNS:localhost
  hostile_registry reg --tls server.crt server.key
  image=127.0.0.1:$registry_port/good/x
  # openssl is of the same mind as the tests' comments.
  openssl verify -CAfile ours.crt server.crt
  mkdir -p certs
  cp theirs.crt certs/ca.crt
  for flags in '' '--cert-dir certs'; do
    # shellcheck disable=SC2086 # a flag and its value
    must_fail 1 pull "$image" $flags
    [[ $stderr == *certificate*"hint: a certificate of its own belongs into "* ]]
    nothing_stored
  done
  SSL_CERT_FILE=theirs.crt must_fail 1 pull "$image"
  cp ours.crt certs/ca.crt
  pull --cert-dir certs "$image" >/dev/null
  rm -rf "$WB_ROOT"
  SSL_CERT_FILE=ours.crt pull "$image" >/dev/null
  rm -rf "$WB_ROOT"
  for certs_d in docker/certs.d/127.0.0.1:$registry_port containers/certs.d/127.0.0.1:$registry_port; do
    with_etc wb-pull -n -q "$image" >/dev/null
    rm -rf "$WB_ROOT"
  done
  # That of another registry says nothing of this one.
  certs_d=docker/certs.d/127.0.0.1:1
  must_fail 1 with_etc wb-pull -n -q "$image"
  # skopeo agrees with all of it.
  skopeo inspect --raw --cert-dir certs "docker://$image" >/dev/null
  # Signed by nobody known, and taken because somebody said so.
  pull --tls-verify=false "$image" >/dev/null
}

@test "a certificate that is over, of another host, or pinned: only what it is for" {
  authority ours
  certificate old ours 0 subjectAltName=IP:127.0.0.1
  certificate other ours 2 subjectAltName=DNS:registry.example
  mkdir certs
  cp ours.crt certs/ca.crt
  # It is valid for the rest of this second at most.
  eventually 5 bash -c '! openssl x509 -checkend 0 -noout -in old.crt >/dev/null'
  for name in old other; do
    hostile_registry reg --tls "$name.crt" "$name.key"
    must_fail 1 pull --cert-dir certs "127.0.0.1:$registry_port/good/x"
    [[ $stderr == *certificate* ]]
    nothing_stored
    hostile_registry_stop reg
    rm -r reg
  done
  # What docker's page tells people to make: a certificate that is its own authority.
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \
    -keyout self.key -out self.crt 2>/dev/null
  hostile_registry reg --tls self.crt self.key
  must_fail 1 pull --cert-dir certs "127.0.0.1:$registry_port/good/x"
  cp self.crt certs/ca.crt
  pull --cert-dir certs "127.0.0.1:$registry_port/good/x" >/dev/null
  rm -rf "$WB_ROOT"
  must_fail 1 pull --cert-dir certs "127.0.0.1:$registry_port/redirect-http/x"
  [[ $stderr == *"redirect from https to"* ]]
  nothing_stored
}

@test "a registry that wants our certificate gets that of its certs.d, and nobody else does" {
  authority ours
  certificate server ours 2 subjectAltName=IP:127.0.0.1,DNS:localhost
  certificate alice ours 2 extendedKeyUsage=clientAuth
  hostile_registry reg --tls server.crt server.key --client-ca ours.crt
  mkdir certs
  cp ours.crt certs/ca.crt
  must_fail 1 pull --cert-dir certs "127.0.0.1:$registry_port/good/x"
  [ "$(grep -cv ^hint: <<<"$stderr")" = 1 ]
  [[ $stderr == *CertificateRequired*"hint: it wants a certificate of ours: "* ]]
  cp alice.crt certs/client.cert
  must_fail 1 pull --cert-dir certs "127.0.0.1:$registry_port/good/x"
  [[ $stderr == *"certs/client.key: No such file or directory (ENOENT)"* ]]
  cp alice.key certs/client.key
  nothing_stored
  pull --cert-dir certs "127.0.0.1:$registry_port/good/x" >/dev/null
  grep -q "^$registry_port GET /v2/good/x/manifests/latest .* alice\$" reg/log
  rm -rf "$WB_ROOT"
  : >reg/log
  # The other host would take it, and is not shown it.
  pull --cert-dir certs "127.0.0.1:$registry_port/redirect-localhost/x" >/dev/null
  [ "$(awk -v port="$registry_port" '$1 == port { print $6 }' reg/log | sort -u)" = alice ]
  [ "$(awk -v port="$other_port" '$1 == port { print $6 }' reg/log | sort -u)" = - ]
}

@test "http is for this machine's registries, or for who said --tls-verify=false; from elsewhere nothing leads here" {
  network=wb-trust-$WB_MACHINE_HASH
  ip netns add "$network"
  registry_in="ip netns exec $network"
  $registry_in ip link set lo up
  $registry_in ip link add elsewhere type veth peer name other
  $registry_in ip address add 198.51.100.1/24 dev elsewhere
  # Where clouds keep their machines' passwords.
  $registry_in ip address add 169.254.169.254/32 dev elsewhere
  $registry_in ip link set elsewhere up
  $registry_in ip link set other up
  hostile_registry reg --address 198.51.100.1
  inside () { $registry_in wb-pull -n -q --idle-timeout 2s "$@"; }
  must_fail 1 inside "198.51.100.1:$registry_port/good/x"
  nothing_stored
  [ ! -s reg/log ]
  inside --tls-verify=false "198.51.100.1:$registry_port/good/x" >/dev/null
  rm -rf "$WB_ROOT"
  : >reg/log
  # They would answer, and nobody asks them.
  $registry_in nc -lk 169.254.169.254 80 >asked 3>&- </dev/null &
  metadata=$!
  $registry_in nc -lk 127.0.0.1 80 >>asked 3>&- </dev/null &
  loopback=$!
  # shellcheck disable=SC2016 # the inner shell's words
  eventually 5 $registry_in sh -c '[ "$(ss -Hltn | grep -c ":80 ")" = 2 ]'
  for kind in redirect-metadata redirect-loopback auth-realm-metadata; do
    must_fail 1 inside --tls-verify=false "198.51.100.1:$registry_port/$kind/x"
    [[ $stderr == *"its address belongs to this machine or link, where no registry may lead"* ]]
    nothing_stored
  done
  kill "$metadata" "$loopback"
  wait "$metadata" "$loopback" || true
  [ ! -s asked ]
}

@test "a helper keeps, gives and forgets a password" {
  hostile_registry reg
  mkdir bin docker
  cat >bin/docker-credential-keep <<'END'
#!/bin/sh
# docker's protocol, over a file.
echo "$1" >>"$HOME/verbs"
case $1 in
store) cat >"$HOME/kept" ;;
get) [ -e "$HOME/kept" ] && cat "$HOME/kept" || { echo 'credentials not found in native keychain'; exit 1; } ;;
erase) cat >/dev/null; rm "$HOME/kept" ;;
esac
END
  chmod +x bin/docker-credential-keep
  export PATH=$WB_SCRATCH/bin:$PATH
  echo '{"credsStore":"keep","x":1}' >docker/config.json
  host=127.0.0.1:$registry_port
  must_fail 1 pull "$host/basic/x"
  [[ $stderr == *"hint: wb login $host" ]]
  echo secret | wb login -u alice --password-stdin "$host"
  [ "$(jq -c . kept)" = '{"ServerURL":"'"$host"'","Username":"alice","Secret":"secret"}' ]
  # The password is the helper's alone.
  [ "$(jq -c . docker/config.json)" = '{"credsStore":"keep","x":1}' ]
  pull "$host/basic/x" >/dev/null
  rm -rf "$WB_ROOT"
  wb logout "$host"
  must_fail 1 pull "$host/basic/x"
  [ "$(uniq verbs | paste -sd' ')" = "get store get erase get" ]
  # A token in place of a password gets tokens, and is never sent as a password.
  echo '{"Username":"<token>","Secret":"1dent1ty"}' >kept
  : >reg/log
  pull "$host/auth-identity/x" >/dev/null
  grep -q "^$registry_port POST /token-auth-identity - " reg/log
  rm -rf "$WB_ROOT"
  echo '{"Username":"<token>","Secret":"another"}' >kept
  must_fail 1 pull "$host/auth-identity/x"
  [[ $stderr == *"access denied"* ]]
  # A helper that fails for a reason of its own, and one that is not there.
  printf '#!/bin/sh\necho "the keychain is locked"\nexit 1\n' >bin/docker-credential-keep
  must_fail 1 pull "$host/basic/x"
  [[ $stderr == *"docker-credential-keep: the keychain is locked" ]]
  rm bin/docker-credential-keep
  must_fail 1 pull "$host/basic/x"
  [[ $stderr == *"docker-credential-keep: No such file or directory (ENOENT)" ]]
}

@test "skopeo's passwords are read, and ours by skopeo" {
  hostile_registry reg --login
  host=127.0.0.1:$registry_port
  skopeo login --tls-verify=false --authfile theirs.json -u alice -p secret "$host" >/dev/null
  for way in authfile variable runtime; do
    : >reg/log
    case $way in
    authfile) pull --authfile theirs.json "$host/basic/x" >/dev/null ;;
    variable) REGISTRY_AUTH_FILE=theirs.json pull "$host/basic/x" >/dev/null ;;
    runtime) mkdir containers && cp theirs.json containers/auth.json && pull "$host/basic/x" >/dev/null ;;
    esac
    grep -q "GET /v2/basic/x/manifests/latest Basic_" reg/log
    rm -rf "$WB_ROOT" containers
  done
  must_fail 1 pull "$host/basic/x"
  wb login -u alice -p secret "$host" >/dev/null
  skopeo copy -q --src-tls-verify=false --src-authfile docker/config.json "docker://$host/basic/x" oci:copy:x
  must_fail 1 wb login -u alice -p wrong "$host"
  wb logout "$host"
  must_fail 1 skopeo inspect --raw --tls-verify=false --authfile docker/config.json "docker://$host/basic/x"
}
