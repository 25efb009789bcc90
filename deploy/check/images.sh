# shellcheck shell=bash
# A Docker of one's own, without a registry or a network: images of deploy/Dockerfile on a debootstrap base. Sourced by deploy/check.sh.

: "${work:?}" "${port:?}"

# Debian's, whose client brings BuildKit, which builds the wanted stages alone; others need a plugin for that.
docker() { DOCKER_HOST="unix://$work/docker.sock" DOCKER_BUILDKIT=1 /usr/bin/docker "$@"; }

# What the Dockerfile calls debian:bookworm-slim: here of this machine's own release, so that programs built here run in it.
base() {
  local tar=$1 codename
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  /usr/sbin/debootstrap --variant=minbase "$codename" "$work/base" >"$work/base.log" 2>&1 || { tail -20 "$work/base.log" >&2; return 1; }
  cp /etc/ssl/certs/ca-certificates.crt "$work/base/usr/local/share/host-ca.pem"
  tar -C "$work/base" --exclude=./var/cache/apt/archives/*.deb --exclude=./var/lib/apt/lists/* --exclude=./dev/* -cf "$tar.new" .
  mv "$tar.new" "$tar"
  rm -rf "$work/base"
}

# start_docker [flags]: without any, it leaves the machine's network alone.
start_docker() {
  [ $# -gt 0 ] || set -- --bridge=none --iptables=false --ip-masq=false
  setsid /usr/sbin/dockerd --data-root "$work/docker" --exec-root "$work/docker-exec" --pidfile "$work/docker.pid" -H "unix://$work/docker.sock" \
    "$@" >"$work/docker.log" 2>&1 &
  docker_pid=$!
  for _ in $(seq 300); do
    docker info >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -20 "$work/docker.log" >&2
  die "dockerd did not start" "it needs root and cgroups"
}

stop_docker() {
  [ -n "${docker_pid:-}" ] || return 0
  kill "$docker_pid" 2>/dev/null || true
  wait "$docker_pid" || true
}

# What dockerd and debootstrap leave when they are ended in the middle of something.
unmount() {
  local mounted
  awk -v at="$work/" 'index($2, at) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mounted; do umount "$mounted" || true; done
}

# The image that stands for the stage `build`: the programs that cargo has built on this machine.
binaries() {
  mkdir -p "$work/binaries/out" "$work/binaries/etc/ssl/certs"
  cp /etc/ssl/certs/ca-certificates.crt "$work/binaries/etc/ssl/certs/"
  strip -o "$work/binaries/out/alpine-server" "$1"
  tar -C "$work/binaries" -c . | docker import - alpine-binaries >/dev/null
}

build() { docker build -q -f deploy/Dockerfile --target "$1" --build-arg BINARIES=alpine-binaries --network=host -t "alpine-$1" . >/dev/null; }

answer() { curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://127.0.0.1:$port$1" || true; }

expect_answer() {
  local got
  for _ in $(seq 50); do
    got=$(answer "$1")
    [ "$got" = "$2" ] && return
    sleep 0.1
  done
  docker logs api >&2 || true
  die "$1 is answered $got, not $2"
}

# As the manifests run it: an ordinary user, no capability, nothing but /tmp to write to; against a real PostgreSQL.
boot_api() {
  local run=(run --network host --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp
    -v "$work/secrets:/run/alpine:ro" -v "$work/pg:/pg" -e DATABASE_URL=postgres://alpine@%2Fpg:5432/alpine -e ALPINE_LISTEN="127.0.0.1:$port" -e ALPINE_JWT_ISSUER=check -e ALPINE_JWT_ALGORITHM=HS256
    -e ALPINE_JWT_KEY_FILE=/run/alpine/jwt.key -e ALPINE_CREDENTIAL_KEY_FILE=/run/alpine/credential.key)
  local state
  mkdir -p "$work/secrets"
  head -c 32 /dev/urandom >"$work/secrets/jwt.key"
  head -c 32 /dev/urandom >"$work/secrets/credential.key"
  chown -R 10001:10001 "$work/secrets"
  chmod -R u=rwX,go= "$work/secrets"
  docker "${run[@]}" -d --name api alpine-api >/dev/null
  expect_answer /livez 200
  # No schema yet: no request comes here before the migrations have run.
  expect_answer /readyz 503
  docker "${run[@]}" --rm alpine-api migrate
  expect_answer /readyz 200
  expect_answer /v1/sessions 401
  state=$(docker top api -eo pid,uid,args | tail -1)
  case $state in *10001*alpine-server\ serve*) ;; *) die "the server does not run as 10001: $state" ;; esac
  docker stop -t 30 api >/dev/null
  state=$(docker inspect -f '{{.State.ExitCode}}' api)
  [ "$state" = 0 ] || { docker logs api >&2; die "the server ended with $state on SIGTERM"; }
  say "api: $(($(docker image inspect -f '{{.Size}}' alpine-api) / 1000000)) MB with a debug build; as 10001, on a read-only root: /livez, /readyz, SIGTERM"
}
