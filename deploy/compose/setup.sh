#!/usr/bin/env bash
# What docker-compose.yml needs and nobody should have to make by hand, in /state (deploy/compose/state on the host): passwords, keys and
# a certificate. Makes what is missing and keeps the rest, so that it may run at every start.
#
#   setup                                          make what is missing
#   setup token <who> [--tenant T] [--admin]       print a token for the API, good for eight hours
set -euo pipefail
umask 077
state=${STATE:-/state}
# Further names and addresses for the certificate, comma-separated.
wanted=${NAMES:-}
# Who reads what: the servers' user (deploy/Dockerfile), postgres' and Grafana's in their images.
server=10001 postgres=999 grafana=472

# A file that is there when it is whole; the content comes on standard input.
make() {
  local file=$1 owner=$2 mode=$3
  [ -s "$file" ] && { cat >/dev/null; return; }
  cat >"$file.new"
  chown "$owner:$owner" "$file.new"
  chmod "$mode" "$file.new"
  mv "$file.new" "$file"
}

folder() { mkdir -p "$1"; chmod 755 "$1"; }

password() { openssl rand -hex 24; }

certificate() {
  local at=$state/proxy name names="DNS:localhost,IP:127.0.0.1,IP:::1"
  for name in ${wanted//,/ }; do
    case $name in *[!0-9.]*) names+=",DNS:$name" ;; *) names+=",IP:$name" ;; esac
  done
  if [ ! -s "$state/ca.crt" ]; then
    openssl ecparam -name prime256v1 -genkey -noout | make "$state/ca.key" 0 600
    openssl req -x509 -new -key "$state/ca.key" -days 3650 -subj "/CN=Alpine's own CA of this machine" \
      -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign | make "$state/ca.crt" 0 644
  fi
  # Anew when other names are wanted, and in its last month.
  if [ -s "$at/tls.crt" ] && [ "$(cat "$at/names" 2>/dev/null)" = "$names" ] && openssl x509 -checkend 2592000 -noout -in "$at/tls.crt" >/dev/null; then
    return
  fi
  rm -f "$at/tls.crt" "$at/tls.key"
  openssl ecparam -name prime256v1 -genkey -noout | make "$at/tls.key" 0 600
  openssl req -new -key "$at/tls.key" -subj "/CN=Alpine" |
    openssl x509 -req -CA "$state/ca.crt" -CAkey "$state/ca.key" -set_serial "0x$(openssl rand -hex 16)" -days 397 \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "$names") 2>/dev/null |
    make "$at/tls.crt" 0 644
  echo "$names" >"$at/names"
}

all() {
  local at
  for at in "$state" "$state"/{server,proxy,postgres,grafana,issuer}; do folder "$at"; done
  password | make "$state/postgres/password" "$postgres" 400
  # libpq's format: host:port:database:user:password. Read by sqlx where PGPASSFILE names it, and only if nobody else may.
  printf '*:*:alpine:alpine:%s\n' "$(cat "$state/postgres/password")" | make "$state/server/pgpass" "$server" 400
  head -c 32 /dev/urandom | make "$state/server/credential.key" "$server" 400
  password | make "$state/grafana/password" "$grafana" 400
  openssl genrsa 2048 2>/dev/null | make "$state/issuer/jwt.key" 0 600
  openssl rsa -in "$state/issuer/jwt.key" -pubout 2>/dev/null | make "$state/server/jwt.pem" "$server" 444
  certificate
}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

token() {
  local who=${1:-} tenant=team roles=''
  [[ $who =~ ^[A-Za-z0-9._@-]+$ ]] || { echo "usage: token <who> [--tenant T] [--admin]" >&2; exit 1; }
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --tenant) tenant=${2:?--tenant wants a name}; shift 2 ;;
      --admin) roles='"alpine.admin"'; shift ;;
      *) echo "no such option: $1" >&2; exit 1 ;;
    esac
  done
  [[ $tenant =~ ^[A-Za-z0-9._-]+$ ]] || { echo "not a tenant's name: $tenant" >&2; exit 1; }
  local now claims signed
  now=$(date +%s)
  claims=$(printf '{"iss":"alpine-compose","aud":"alpine","sub":"%s","tenant":"%s","roles":[%s],"nbf":%d,"exp":%d}' \
    "$who" "$tenant" "$roles" "$now" $((now + 8 * 3600)))
  signed=$(printf '{"alg":"RS256","typ":"JWT"}' | base64url).$(printf '%s' "$claims" | base64url)
  printf '%s.%s\n' "$signed" "$(printf '%s' "$signed" | openssl dgst -sha256 -sign "$state/issuer/jwt.key" | base64url)"
}

case ${1:-} in
  "") all ;;
  token) shift; token "$@" ;;
  *) echo "no such thing to do: $1" >&2; exit 1 ;;
esac
