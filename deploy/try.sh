#!/usr/bin/env bash
# From nothing to a control plane on this machine with a session that is ready.
#
#   deploy/try.sh                        a session on a sample repository, made here: works offline
#   deploy/try.sh <repo-url> <branch>    a session on a public repository of yours
#   deploy/try.sh stop                   end the server; the sessions stay, and the next start finds them
#
# Everything is kept in $ALPINE_DATA_DIR (else /var/lib/alpine for root, ~/.local/share/alpine for others).
# All ALPINE_* settings of the caller reach the server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

if [ -n "${ALPINE_DATA_DIR:-}" ]; then
  data=$(realpath -m "$ALPINE_DATA_DIR")
elif [ "$(id -u)" = 0 ]; then
  data=/var/lib/alpine
else
  data=${XDG_DATA_HOME:-$HOME/.local/share}/alpine
fi
listen=${ALPINE_LISTEN:-127.0.0.1:8443}
listen=${listen/#0.0.0.0:/127.0.0.1:}
try=$data/try
log=$try/server.log
pid_file=$try/server.pid
bin=${CARGO_TARGET_DIR:-$root/target}/debug
sample_url=https://sample.alpine.test/sample.git

# Z: it has ended, and nobody has asked how.
alive() {
  [ "$(cat "/proc/$1/comm" 2>/dev/null)" = alpine-server ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# The server that this script started, or a person on the same data, if it still runs: a number alone may be
# another program's by now.
server_pid() {
  local file pid
  for file in "$pid_file" "$data/dev.lock"; do
    pid=$(cat "$file" 2>/dev/null) || continue
    if [ -n "$pid" ] && alive "$pid"; then
      echo "$pid"
      return
    fi
  done
  return 1
}

answers() { curl -fsS --max-time 2 --cacert "$data/tls/dev-ca.pem" -o /dev/null "https://$listen/readyz" 2>/dev/null; }

stop() {
  local pid
  pid=$(server_pid) || { say "no server of $data runs"; rm -f "$pid_file"; return; }
  kill -TERM "$pid"
  for _ in $(seq 600); do
    alive "$pid" || { rm -f "$pid_file"; say "stopped"; return; }
    sleep 0.1
  done
  die "the server (process $pid) did not stop within a minute" "read $log"
}

make_sample() {
  local repo=$try/sample/sample.git work
  [ ! -d "$repo" ] || return 0
  work=$(mktemp -d)
  cp -R deploy/sample-repo/. "$work"
  # The caller's own git settings (signing, hooks, default branch) have no say here.
  (
    cd "$work"
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
    git init -q -b main .
    git add -A
    git -c user.name=Alpine -c user.email=sample@alpine.test commit -q -m "A sample project"
    mkdir -p "$try/sample"
    git clone -q --bare . "$repo.new"
  )
  mv "$repo.new" "$repo"
  rm -rf "$work"
}

start() {
  local rewrite="https://sample.alpine.test/=file://$try/sample/"
  NO_COLOR=1 ALPINE_DATA_DIR=$data ALPINE_GIT_REWRITE="${ALPINE_GIT_REWRITE:+$ALPINE_GIT_REWRITE,}$rewrite" \
    setsid nohup "$bin/alpine-server" dev </dev/null >>"$log" 2>&1 &
  echo $! >"$pid_file"
}

# The first start may fetch opencode, and PostgreSQL where the machine has none: that takes what it takes.
wait_until_ready() {
  local shown=0 lines
  for _ in $(seq 6000); do
    ! answers || return 0
    server_pid >/dev/null || { tail -n 20 "$log" >&2; die "the server ended; its last lines are above" "mend that, then start again (whole log: $log)"; }
    lines=$(grep -c 'fetching with npm' "$log") || true
    if [ "$lines" -gt "$shown" ]; then
      grep 'fetching with npm' "$log" | tail -n $((lines - shown)) >&2
      shown=$lines
    fi
    sleep 0.1
  done
  die "the server was not ready within ten minutes" "read $log"
}

# Where the caller chose the folder, every command of this script needs to be told again.
chosen=
[ -z "${ALPINE_DATA_DIR:-}" ] || printf -v chosen 'ALPINE_DATA_DIR=%q ' "$data"

how_to_go_on() {
  # shellcheck disable=SC2016
  printf 'Go on     export PATH=%q:"$PATH" ALPINE_PROFILE=dev ALPINE_PRINCIPAL_ID=%q' "$bin" "$ALPINE_PRINCIPAL_ID"
  [ -z "${ALPINE_CONFIG_DIR:-}" ] || printf ' ALPINE_CONFIG_DIR=%q' "$ALPINE_CONFIG_DIR"
  printf '\n          alpine list\n'
  [ $# -eq 0 ] || printf '          %s\n' "$@"
  echo "Stop      ${chosen}deploy/try.sh stop     (the sessions stay, and the next start finds them)"
}

field() { printf '%s' "$1" | grep -o "\"$2\": *\"[^\"]*\"" | head -n 1 | sed 's/^[^:]*: *"\(.*\)"$/\1/'; }

case ${1:-} in
  stop) stop; exit ;;
  -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit ;;
  -*) die "no such option: $1" "deploy/try.sh --help" ;;
esac
case $# in
  0) repo=$sample_url branch=main ;;
  2) repo=$1 branch=$2 ;;
  *) die "give a repository and a branch, or neither" "deploy/try.sh --help" ;;
esac

step "What this machine lacks"
ensure git cc make npm postgres bwrap setsid ca curl
say "all there"

step "Building the server and the CLI"
# Queries are checked against the committed .sqlx/, whatever database the caller's shell names.
env -u DATABASE_URL SQLX_OFFLINE=true cargo build --locked -p alpine-server -p alpine-cli --bins

step "Starting the server"
mkdir -p "$try" 2>/dev/null || die "$try cannot be made" "choose a directory of yours: ALPINE_DATA_DIR=... deploy/try.sh"
make_sample
if server_pid >/dev/null && answers; then
  say "it runs already (process $(server_pid)); to have it read new settings: ${chosen}deploy/try.sh stop, then this again"
else
  : >"$log"
  start
  wait_until_ready
  say "ready on https://$listen, data in $data, log in $log"
fi

step "alpine up $repo --branch $branch --public"
export ALPINE_PRINCIPAL_ID=${ALPINE_PRINCIPAL_ID:-$(id -un)}
export ALPINE_PROFILE=dev
result=$("$bin/alpine" up "$repo" --branch "$branch" --public --no-browser --json) || {
  printf '%s\n\n' "$result" >&2
  how_to_go_on >&2
  die "$(field "$result" cause)" "$(field "$result" next_step)"
}
session=$(field "$result" session_id)
url=$(field "$result" opencode_url)
say "session $session is $(field "$result" state) at commit $(field "$result" target_commit_sha)"

step "Does it answer?"
code=$(curl -sS --max-time 20 --cacert "$data/tls/dev-ca.pem" -o /dev/null -w '%{http_code}' "$url") || die "$url does not answer" "read $log"
case $code in
  [23]??) say "$url answers $code" ;;
  *) die "$url answers $code" "read $log" ;;
esac
all_done "From nothing to a ready session"

cat <<END

Session   $session
Open      $url

END
how_to_go_on "alpine status $session" "alpine down $session"
