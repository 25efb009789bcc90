#!/usr/bin/env bash
# Whether the backups are any good: deploy/backup/drill.sh BACKUPS ARCHIVE [TIME] brings the newest backup in BACKUPS back in a folder of its
# own, as far as the archive goes (or to TIME), loads its dump into the same cluster, verifies both ledgers, says how long it took, and
# removes it all. It touches nothing that is in use: for a timer. No alpine-server serves or works on the copy, so no sandbox is
# taken for an orphan. Exit code 0: what is backed up can be had back.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
[ $# = 2 ] || [ $# = 3 ] || die "the backups and the archive are needed" "drill.sh BACKUPS ARCHIVE [TIME]"
bin=$(postgres_bin || true)
[ -n "$bin" ] || die "PostgreSQL's programs are not here" "apt-get install postgresql"
backup=$(find "$1" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*Z' | sort | tail -n 1)
[ -n "$backup" ] || die "there is no backup in $1"
export PGUSER=${PGUSER:-postgres}

# Twice the ledger has to fit there; /tmp may be memory.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/alpine-drill-XXXXXX")
chmod 711 "$work"
mkdir -m 700 "$work/pg"
[ "$(id -u)" != 0 ] || chown "$(_postgres_user)" "$work/pg"
finish() {
  [ ! -e "$work/pg/data/postmaster.pid" ] || end_private_postgres "$work"
  rm -rf "$work"
}
trap finish EXIT

say "$backup"
"$here/restore.sh" "$backup" "$2" "$work/pg/data" ${3:+"$3"}

step "The dump"
echo "local all all trust" >"$work/pg/data/pg_hba.conf"
_as_postgres "$work" "$bin/pg_ctl" -s -w -D "$work/pg/data" -l "$work/pg/log" \
  -o "-c config_file=/dev/null -c hba_file=$work/pg/data/pg_hba.conf -c listen_addresses= -c fsync=off -k $work/pg" start ||
  { cat "$work/pg/log" >&2; die "the restored cluster does not start"; }
export PGHOST=$work/pg
PGDATABASE=drill_of_the_dump "$here/load.sh" "$backup"
all_done "drill"
