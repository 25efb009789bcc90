#!/usr/bin/env bash
# Bring the ledger back from a dump: deploy/backup/load.sh BACKUP makes the database PGDATABASE (alpine), which must not exist, in a running
# cluster, as a superuser (PGHOST, PGUSER, PGPASSFILE, ...). Roles that are not there are made, without passwords. Point no server at
# it before this has ended.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ -f "${1:-}/ledger.dump" ] || die "a folder that backup.sh made is needed" "load.sh BACKUP"
database=${PGDATABASE:-alpine} server=${ALPINE_SERVER_PROGRAM:-alpine-server}
bin=$(postgres_bin || true)
[ -n "$bin" ] || die "PostgreSQL's programs are not here" "apt-get install postgresql"
command -v "$server" >/dev/null || die "$server is not to be found" "set ALPINE_SERVER_PROGRAM"

step "Roles"
# Of those that are there it is complained, and their attributes become what they were.
"$bin/psql" -qX -d postgres -f "$1/roles.sql" >/dev/null 2>&1

step "Load"
"$bin/createdb" --no-password --maintenance-db=postgres --template=template0 "$database"
"$bin/pg_restore" --no-password --exit-on-error --dbname="$database" "$1/ledger.dump"

step "Schema, fences, leases"
owner=$("$bin/psql" -qXAt -d "$database" -c "SELECT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = 'sessions'")
# Where, and with what password, the server finds in the same PG* variables.
export DATABASE_URL=postgres:///$database
"$server" verify-ledger
"$server" after-restore
# In the owner's name, who may have to be given a password first: not here.
say "next, as $owner: alpine-server migrate"
all_done "load"
