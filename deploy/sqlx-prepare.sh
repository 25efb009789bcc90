#!/usr/bin/env bash
# Write .sqlx/, from which the queries are checked where there is no database; --check: only compare.
# Needs PostgreSQL's programs; starts a private one for the purpose.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
ensure cc postgres setsid
command -v psql >/dev/null || die "psql is not installed" "apt-get install postgresql-client"

work=$(mktemp -d /tmp/alpine-sqlx-XXXXXX)
mkdir "$work/sqlx"
finish() {
  end_private_postgres "$work"
  rm -rf "$work"
}
trap finish EXIT

private_postgres "$work"
for migration in migrations/*.sql; do
  # One that says so runs outside of a transaction, as sqlx has it.
  single=(-1)
  if [[ $(head -n 1 "$migration") == "-- no-transaction" ]]; then single=(); fi
  psql -qX "${single[@]}" -v ON_ERROR_STOP=1 -h "$work/pg" -U alpine -d alpine -f "$migration" >/dev/null || die "$migration failed"
done

# sqlx's macros write what they learn when they run online, with a folder to write to; cargo runs them again
# only for files that changed.
mapfile -t files < <(grep -rlE 'query(_as|_scalar)?(_unchecked)?!' --include=*.rs server tests/src tests/tests 2>/dev/null)
for file in "${files[@]}"; do touch "$file"; done
# The whole workspace, as the lints look at it: for a part of it cargo would choose other features, and build what it stands on anew.
DATABASE_URL="postgres://alpine@${work//\//%2F}%2Fpg:5432/alpine" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$work/sqlx" \
  cargo check --locked --workspace --all-targets --features alpine-server/faults

if [ "${1:-}" = --check ]; then
  diff -r "$work/sqlx" .sqlx >&2 || die ".sqlx/ is not what the queries and migrations say" "run deploy/sqlx-prepare.sh and commit the result"
  say ".sqlx/ is up to date"
else
  mkdir -p .sqlx
  find .sqlx -name 'query-*.json' -delete
  cp -R "$work/sqlx/." .sqlx/
  say "$(find .sqlx -name 'query-*.json' | wc -l) queries in .sqlx/"
fi
