# shellcheck shell=bash
# docker-compose.yml brought up as it stands, but for what no registry here has: Grafana and Jaeger are left out, PostgreSQL, Caddy and
# Prometheus are Debian's (stand-ins.Dockerfile). Sourced by deploy/check.sh.

: "${work:?}" "${port:?}" "${server:=}"

# In a copy: it makes deploy/compose/state.
compose() { (cd "$work/tree" && DOCKER_HOST="unix://$work/docker.sock" PATH="/usr/bin:$PATH" docker-compose -p alpine-check "$@"); }

compose_up() {
  local image failures=0 code
  for image in postgres:17-bookworm caddy:2.10.0; do
    grep -q "image: $image$" docker-compose.yml || die "docker-compose.yml does not use $image any more"
    docker build -q --network=host -f deploy/check/stand-ins.Dockerfile --target "${image%%:*}" -t "$image" deploy/check >/dev/null
  done
  mkdir "$work/tree"
  git ls-files -z docker-compose.yml deploy | xargs -0 cp --parents -t "$work/tree"
  export ALPINE_PORT=$((port + 1))
  compose up -d --no-build setup postgres migrate server-1 server-2 worker proxy >"$work/up.log" 2>&1 ||
    { tail -30 "$work/up.log" >&2; die "docker-compose up failed"; }
  local state=$work/tree/deploy/compose/state alpine=${server%-server} token
  token=$(compose run --rm token me 2>/dev/null)
  cli() { ALPINE_SERVER=https://localhost:$ALPINE_PORT ALPINE_CA_FILE=$state/ca.crt ALPINE_TOKEN=$token "$alpine" "$@"; }
  for _ in $(seq 100); do cli whoami >/dev/null 2>&1 && break; sleep 0.1; done
  cli whoami >&2
  [ "$(curl -s -o /dev/null -w '%{http_code}' --cacert "$state/ca.crt" "https://localhost:$ALPINE_PORT/metrics")" = 404 ] || die "the proxy shows /metrics"
  curl -fsS http://172.31.250.1:8444/readyz >/dev/null || die "the worker is not ready"
  # A server goes and comes again behind the proxy: nobody notices.
  (compose restart server-1 && compose restart server-2) >/dev/null 2>&1 &
  local restarts=$! requests=0
  while kill -0 "$restarts" 2>/dev/null; do
    code=$(curl -s -o /dev/null -w '%{http_code}' --cacert "$state/ca.crt" -H "Authorization: Bearer $token" "https://localhost:$ALPINE_PORT/v1/sessions")
    requests=$((requests + 1))
    [ "$code" = 200 ] || { failures=$((failures + 1)); say "answered $code"; }
  done
  [ "$failures" = 0 ] || die "$failures of $requests requests failed while the servers were restarted one by one"
  say "both servers restarted one by one: $requests requests, none failed"
}

compose_down() { [ ! -d "$work/tree" ] || compose down -v >/dev/null 2>&1 || true; }
