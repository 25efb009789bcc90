#!/usr/bin/env bash
# Write .sqlx/, from which the queries are checked where there is no database; --check: only compare.
# Needs PostgreSQL's programs; starts a private one for the purpose.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
ensure cc postgres setsid
bin=$(postgres_bin)
command -v psql >/dev/null || die "psql is not installed" "apt-get install postgresql-client"

work=$(mktemp -d /tmp/alpine-sqlx-XXXXXX)
chmod 711 "$work"
mkdir "$work/pg" "$work/sqlx"
unprivileged=()
if [ "$(id -u)" = 0 ]; then
  user=postgres
  id -u postgres >/dev/null 2>&1 || user=nobody
  chown "$user" "$work/pg"
  unprivileged=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups)
fi
# From where its user may be; that may not be the caller's directory.
pg() { (cd "$work/pg" && ${unprivileged[@]+"${unprivileged[@]}"} "$@"); }
finish() {
  pg "$bin/pg_ctl" -s -D "$work/pg/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

pg "$bin/initdb" -D "$work/pg/data" -U alpine -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$work/initdb.log" 2>&1 ||
  { cat "$work/initdb.log" >&2; die "initdb failed"; }
pg "$bin/pg_ctl" -s -w -D "$work/pg/data" -l "$work/pg/log" -o "-c listen_addresses= -c fsync=off -k $work/pg -p 5432" start ||
  { cat "$work/pg/log" >&2; die "PostgreSQL did not start"; }
psql -qX -h "$work/pg" -U alpine -d postgres -c "CREATE DATABASE alpine" >/dev/null
for migration in migrations/*.sql; do
  psql -qX1 -v ON_ERROR_STOP=1 -h "$work/pg" -U alpine -d alpine -f "$migration" >/dev/null || die "$migration failed"
done

# sqlx's macros write what they learn when they run online, with a folder to write to; cargo runs them again
# only for files that changed.
mapfile -t files < <(grep -rlE 'query(_as|_scalar)?(_unchecked)?!' --include=*.rs server tests/src tests/tests 2>/dev/null)
packages=(-p alpine-server)
for file in "${files[@]}"; do
  touch "$file"
  case $file in tests/*) packages=(-p alpine-server -p alpine-tests) ;; esac
done
DATABASE_URL="postgres://alpine@${work//\//%2F}%2Fpg:5432/alpine" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$work/sqlx" \
  cargo check --locked "${packages[@]}" --all-targets

if [ "${1:-}" = --check ]; then
  diff -r "$work/sqlx" .sqlx >&2 || die ".sqlx/ is not what the queries and migrations say" "run deploy/sqlx-prepare.sh and commit the result"
  say ".sqlx/ is up to date"
else
  mkdir -p .sqlx
  find .sqlx -name 'query-*.json' -delete
  cp -R "$work/sqlx/." .sqlx/
  say "$(find .sqlx -name 'query-*.json' | wc -l) queries in .sqlx/"
fi
