#!/usr/bin/env bash
# What deploy/ promises, as far as it can be seen on one machine: the compose file, the manifests, the units, the API's image.
#   deploy/check.sh          what CI runs
#   deploy/check.sh --all    the other images too, and docker-compose up of what is ours: minutes, and packages from the network
# Needs root for Docker. Starts a dockerd of its own and ends it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
[ "$(id -u)" = 0 ] || die "this needs root, for Docker and debootstrap" "run it as root"

step "Tools"
ensure cc ca curl postgres setsid docker compose debootstrap systemd caddy openssl venv
work=$(mktemp -d /tmp/alpine-deploy-XXXXXX)
chmod 711 "$work"
port=$((20000 + RANDOM % 10000))
# shellcheck source=deploy/check/images.sh
. deploy/check/images.sh
# shellcheck source=deploy/check/compose.sh
. deploy/check/compose.sh
kept=${CARGO_TARGET_DIR:-target}/deploy-check
mkdir -p "$kept"
based=
finish() {
  # debootstrap too: its group.
  [ -z "$based" ] || { kill -- "-$based" 2>/dev/null; wait "$based"; } || true
  compose_down
  stop_docker
  end_private_postgres "$work"
  unmount
  rm -rf --one-file-system "$work" || true
}
trap finish EXIT
# The longest of all: begins first.
if [ ! -e "$kept/base.tar" ]; then
  set -m
  base "$kept/base.tar" &
  based=$!
  set +m
fi
tests/pip-install.sh deploy/check "$kept/python"
# As the tests build it: other packages alone would mean other features, and all built again.
SQLX_OFFLINE=true cargo build -q --locked -p alpine-server -p alpine-cli --bins
server=${CARGO_TARGET_DIR:-target}/debug/alpine-server

step "The compose file, and the door"
docker-compose config >"$work/compose.yml"
deploy/compose/setup.sh token 2>/dev/null && die "a token for nobody"
NAMES=alpine.example.com STATE=$work/state deploy/compose/setup.sh
openssl verify -CAfile "$work/state/ca.crt" "$work/state/proxy/tls.crt" >/dev/null
sed "s#/run/alpine#$work/state/proxy#g" deploy/compose/Caddyfile >"$work/Caddyfile"
caddy validate --adapter caddyfile --config "$work/Caddyfile" >"$work/caddy.log" 2>&1 || { cat "$work/caddy.log" >&2; die "Caddy does not take its file"; }

step "Manifests, settings, times"
"$kept/python/bin/python" deploy/check/manifests.py "$server" "$kept/python/bin/kubectl" "$work/compose.yml" || die "deploy/ and the server differ"

step "systemd's units"
mkdir "$work/units"
for unit in deploy/systemd/*.service; do
  sed "s#/usr/local/bin/alpine-server#$(realpath "$server")#" "$unit" >"$work/units/${unit##*/}"
done
# It ends with 0 even if it ignores a line.
systemd-analyze verify --man=no "$work"/units/*.service >"$work/units.log" 2>&1 || true
[ ! -s "$work/units.log" ] || { cat "$work/units.log" >&2; die "systemd does not take the units"; }
systemd-analyze security --offline=true --threshold=20 --no-pager deploy/systemd/alpine-api.service | tail -1 >&2

step "The API's image, on a debootstrap base"
if [ "${1:-}" = --all ]; then start_docker --iptables=true; else start_docker; fi
[ -z "$based" ] || wait "$based" || die "debootstrap failed"
based=
# Where a CA of one's own stands before the registries, npm has to know it too; --all alone asks them.
docker import -c "ENV NODE_EXTRA_CA_CERTS=/usr/local/share/host-ca.pem" "$kept/base.tar" debian:bookworm-slim >/dev/null
binaries "$server"
build api
private_postgres "$work"
boot_api

if [ "${1:-}" = --all ]; then
  step "The other images"
  build setup
  build worker
  docker build -q --network=host -f deploy/sandbox/Dockerfile -t alpine-sandbox . >/dev/null
  docker run --rm --network=none alpine-sandbox sh -ec 'test "$(id -u)" = 1000; git --version; node --version; opencode --version; python3 --version; go version; touch a' >&2
  step "docker-compose up"
  compose_up
fi

all_done "deploy/check.sh"
