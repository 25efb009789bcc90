#!/usr/bin/env bash
# A backup of the ledger: deploy/backup/backup.sh FOLDER makes FOLDER/<UTC time>/ with
#   base/         the whole cluster (pg_basebackup), verified against its manifest: with the WAL archive, any moment from here on
#   ledger.dump   the database alone (pg_dump -Fc), roles.sql its roles: the ledger at one moment, for any later PostgreSQL
# Where the database is, is said as to any program of PostgreSQL: PGHOST, PGUSER, PGDATABASE (alpine), PGPASSFILE, ... The user needs
# REPLICATION, BYPASSRLS and pg_read_all_data: row-level security refuses to be dumped by the ledger's owner.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ $# = 1 ] || die "a folder is needed" "backup.sh FOLDER"
export PGDATABASE=${PGDATABASE:-alpine}
bin=$(postgres_bin || true)
[ -n "$bin" ] || die "PostgreSQL's programs are not here" "apt-get install postgresql"
# What is half made is never taken for a backup. It holds everybody's records, and sealed secrets: for its owner alone.
umask 077
mkdir -p "$1"
at=$1/$(date -u +%Y%m%dT%H%M%SZ)
part=$at.part
mkdir "$part"
trap 'rm -rf "$part"' EXIT

step "Base backup"
"$bin/pg_basebackup" --pgdata="$part/base" --format=plain --wal-method=stream --checkpoint=fast --manifest-checksums=SHA256 --no-password
"$bin/pg_verifybackup" --quiet "$part/base"

step "Dump"
"$bin/pg_dump" --format=custom --no-password --file="$part/ledger.dump"
"$bin/pg_dumpall" --roles-only --no-role-passwords --no-password --file="$part/roles.sql"
# A dump that cannot be listed cannot be restored.
"$bin/pg_restore" --list "$part/ledger.dump" >/dev/null

mv "$part" "$at"
say "$(du -sh "$at" | cut -f1) in $at"
all_done "backup"
echo "$at"
