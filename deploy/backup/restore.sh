#!/usr/bin/env bash
# Bring the ledger back as it was at a moment: deploy/backup/restore.sh BACKUP ARCHIVE DATA [TIME]
#   BACKUP   a folder that backup.sh made, from before that moment
#   ARCHIVE  the folder of archived WAL
#   DATA     where the cluster's data directory is to be: must not exist
#   TIME     as in '2026-11-26 10:15:00+00'; default: as far as the archive goes
# Nobody else reaches the cluster while this runs: it listens on a private socket until the ledger's fences are raised. Then it is stopped,
# and is to be started as usual. PGDATABASE (alpine) and PGUSER (postgres, a superuser of the cluster) are looked at; ALPINE_SERVER_PROGRAM
# is alpine-server. Before: stop every alpine-server of this ledger (docs/operations.md).
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ $# = 3 ] || [ $# = 4 ] || die "a backup, an archive and a new data directory are needed" "restore.sh BACKUP ARCHIVE DATA [TIME]"
backup=$(realpath "$1") archive=$(realpath "$2") data=$(realpath -m "$3") to=${4:-}
database=${PGDATABASE:-alpine} superuser=${PGUSER:-postgres} server=${ALPINE_SERVER_PROGRAM:-alpine-server}
bin=$(postgres_bin || true)
[ -n "$bin" ] || die "PostgreSQL's programs are not here" "apt-get install postgresql"
command -v "$server" >/dev/null || die "$server is not to be found" "set ALPINE_SERVER_PROGRAM"
[[ $to =~ ^[0-9TZ:+.\ -]*$ ]] || die "$to is not a time" "write it as in '2026-11-26 10:15:00+00'"
[ ! -e "$data" ] || die "$data is there already" "name a directory that is not, or move it away"
[ -d "$backup/base" ] || die "$backup has no base/" "name a folder that backup.sh made"

work=$(mktemp -d /tmp/alpine-restore-XXXXXX)
chmod 711 "$work"
mkdir -m 700 "$work/pg"
[ "$(id -u)" != 0 ] || chown "$(_postgres_user)" "$work/pg"
finish() {
  [ ! -e "$data/postmaster.pid" ] || _as_postgres "$work" "$bin/pg_ctl" -s -D "$data" -m immediate stop || true
  rm -rf "$work"
}
trap finish EXIT

step "The backup is what was backed up"
"$bin/pg_verifybackup" --quiet "$backup/base"

step "Copy"
cp -R --preserve=mode,timestamps "$backup/base" "$data"
# Its own settings may name files and addresses of the machine that it was; the archive command there must not run here either.
touch "$data/recovery.signal"
printf '%s\n' "restore_command = 'cp \"$archive/%f\" \"%p\"'" "listen_addresses = ''" "unix_socket_directories = '$work/pg'" \
  "hba_file = '$work/pg/hba.conf'" "archive_mode = off" "hot_standby = off" "recovery_target_action = promote" \
  ${to:+"recovery_target_time = '$to'"} >"$work/pg/restore.conf"
echo "local all all trust" >"$work/pg/hba.conf"
mv "$data/postgresql.auto.conf" "$work/pg/auto.conf"
: >"$data/postgresql.auto.conf"
[ "$(id -u)" != 0 ] || chown -R "$(_postgres_user):$(id -gn "$(_postgres_user)")" "$data" "$work/pg"
chmod 700 "$data"

step "Recover up to ${to:-the end of the archive}"
sql() { "$bin/psql" -qXAt -v ON_ERROR_STOP=1 -h "$work/pg" -U "$superuser" -d "$database" -c "$1"; }
_as_postgres "$work" "$bin/pg_ctl" -s -W -D "$data" -l "$work/pg/log" -o "-c config_file=$work/pg/restore.conf" start
# Before it has come to that moment it takes no connection; if it cannot, it ends.
until sql "SELECT" >/dev/null 2>&1; do
  sleep 0.2
  if grep -q 'database system is ready to accept connections' "$work/pg/log"; then
    sql "SELECT" || die "there is no database $database, or no user $superuser" "set PGDATABASE and PGUSER"
  elif [ ! -e "$data/postmaster.pid" ] && grep -q FATAL "$work/pg/log"; then
    tail -n 20 "$work/pg/log" >&2
    die "PostgreSQL did not come to that moment" "is the backup from before it, and does the archive go so far?"
  fi
done
grep -E 'recovery stopping|last completed transaction' "$work/pg/log" >&2 || true
step "Schema, fences, leases"
owner=$(sql "SELECT tableowner FROM pg_tables WHERE schemaname = 'public' AND tablename = 'sessions'")
[ -n "$owner" ] || die "there is no ledger in the database $database" "set PGDATABASE"
export DATABASE_URL="postgres://$owner@localhost/$database?host=$work/pg"
"$server" migrate
"$server" verify-ledger
"$server" after-restore

step "Stop"
_as_postgres "$work" "$bin/pg_ctl" -s -w -D "$data" -m fast stop
mv "$work/pg/auto.conf" "$data/postgresql.auto.conf"
all_done "restore"
say "$data is ready. Before it is started: name a new archive folder in archive_command. After: deploy/backup/backup.sh"
