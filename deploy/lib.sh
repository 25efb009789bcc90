# shellcheck shell=bash
# What the scripts here share: lines with times, and what has to be installed. Sourced, not run.

export PATH="$PATH:$HOME/.cargo/bin"
umask 022

_started=$EPOCHREALTIME
_step=""
_step_started=$_started

# Seconds between two $EPOCHREALTIMEs, with one decimal (the locale may write a comma).
_elapsed() {
  local from=${1/[.,]/} to=${2/[.,]/}
  local tenths=$(((to - from) / 100000))
  printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

# Begin a step; the one before it is over.
step() {
  step_done
  _step=$1
  _step_started=$EPOCHREALTIME
  printf '\n==> %s\n' "$_step" >&2
}

step_done() {
  [ -z "$_step" ] || printf '    (%s: %s)\n' "$_step" "$(_elapsed "$_step_started" "$EPOCHREALTIME")" >&2
  _step=""
}

all_done() {
  step_done
  printf '\n%s: %s in all\n' "$1" "$(_elapsed "$_started" "$EPOCHREALTIME")" >&2
}

say() { printf '    %s\n' "$*" >&2; }

die() {
  printf '\nerror: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'next: %s\n' "$2" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo: $*" "run it as root, then start again"
  fi
}

# The folder with PostgreSQL's server programs, if the machine has one that is new enough.
postgres_bin() {
  local dir
  if [ -n "${ALPINE_POSTGRES_BIN:-}" ]; then
    echo "$ALPINE_POSTGRES_BIN"
    return
  fi
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -rn); do
    if [ -x "$dir/postgres" ] && [ "$(echo "$dir" | cut -d/ -f5)" -ge 15 ]; then
      echo "$dir"
      return
    fi
  done
  dir=$(command -v postgres) && dirname "$(readlink -f "$dir")"
}

# A PostgreSQL of one's own with an empty database `alpine`, in a new folder, that its user `alpine` reaches at the socket <folder>/pg only.
private_postgres() {
  local at=$1 bin
  bin=$(postgres_bin)
  mkdir "$at/pg"
  chmod 711 "$at"
  [ "$(id -u)" != 0 ] || chown "$(_postgres_user)" "$at/pg"
  _as_postgres "$at" "$bin/initdb" -D "$at/pg/data" -U alpine -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$at/initdb.log" 2>&1 ||
    { cat "$at/initdb.log" >&2; die "initdb failed"; }
  _as_postgres "$at" "$bin/pg_ctl" -s -w -D "$at/pg/data" -l "$at/pg/log" -o "-c listen_addresses= -c fsync=off -k $at/pg -p 5432" start ||
    { cat "$at/pg/log" >&2; die "PostgreSQL did not start"; }
  "$bin/psql" -qX -h "$at/pg" -U alpine -d postgres -c "CREATE DATABASE alpine" >/dev/null
}

end_private_postgres() { _as_postgres "$1" "$(postgres_bin)/pg_ctl" -s -D "$1/pg/data" -m immediate stop >/dev/null 2>&1 || true; }

# Root may not run it.
_postgres_user() { if id -u postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi; }

# From where its user may be; that may not be the caller's directory.
_as_postgres() {
  local at=$1 user
  shift
  if [ "$(id -u)" = 0 ]; then
    user=$(_postgres_user)
    (cd "$at/pg" && setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups "$@")
  else
    (cd "$at/pg" && "$@")
  fi
}

# What a sandbox finds: it sees the system's folders, not a version manager's in a home directory.
_system() { PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# Install, of the named needs, those that the machine lacks: ensure git cc npm ...
ensure() {
  local need missing=()
  for need in "$@"; do
    case $need in
      cc) { command -v cc && [ -e /usr/include/stdlib.h ]; } >/dev/null || missing+=(gcc libc6-dev) ;;
      make | git | curl | shellcheck | zsh | fish) command -v "$need" >/dev/null || missing+=("$need") ;;
      npm) { _system command -v node && _system command -v npm; } >/dev/null || missing+=(nodejs npm) ;;
      postgres) postgres_bin >/dev/null || missing+=(postgresql) ;;
      bwrap) command -v bwrap >/dev/null || missing+=(bubblewrap) ;;
      setsid) { command -v setsid && command -v setpriv; } >/dev/null || missing+=(util-linux) ;;
      ca) [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates) ;;
      keyring) { command -v dbus-daemon && command -v dbus-send && command -v gnome-keyring-daemon; } >/dev/null || missing+=(dbus gnome-keyring) ;;
      sshd) [ -x /usr/sbin/sshd ] || missing+=(openssh-server) ;;
      ssh) { command -v ssh && command -v ssh-agent; } >/dev/null || missing+=(openssh-client) ;;
      strace) command -v strace >/dev/null || missing+=(strace) ;;
      ip) { command -v ip && command -v unshare; } >/dev/null || missing+=(iproute2 util-linux) ;;
      chromium) command -v chromium >/dev/null || missing+=(chromium) ;;
      groff) command -v groff >/dev/null || missing+=(groff-base) ;;
      chattr) command -v chattr >/dev/null || missing+=(e2fsprogs) ;;
      java) { command -v java && java -version; } >/dev/null 2>&1 || missing+=(default-jre-headless) ;;
      go) command -v go >/dev/null || missing+=(golang-go) ;;
      promtool) { command -v promtool && command -v prometheus; } >/dev/null || missing+=(prometheus) ;;
      docker) { [ -x /usr/sbin/dockerd ] && [ -x /usr/bin/docker ]; } || missing+=(docker.io) ;;
      iptables) { command -v iptables-restore || [ -x /usr/sbin/iptables-restore ]; } >/dev/null || missing+=(iptables) ;;
      compose) command -v docker-compose >/dev/null || missing+=(docker-compose) ;;
      debootstrap) [ -x /usr/sbin/debootstrap ] || missing+=(debootstrap) ;;
      systemd) command -v systemd-analyze >/dev/null || missing+=(systemd) ;;
      pgbouncer) { command -v pgbouncer || [ -x /usr/sbin/pgbouncer ]; } >/dev/null || missing+=(pgbouncer) ;;
      caddy) command -v caddy >/dev/null || missing+=(caddy) ;;
      nginx) { command -v nginx || [ -x /usr/sbin/nginx ]; } >/dev/null || missing+=(nginx-light) ;;
      openssl) command -v openssl >/dev/null || missing+=(openssl) ;;
      venv) _system python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv) ;;
      *) die "no such need: $need" ;;
    esac
  done
  if [ ${#missing[@]} -gt 0 ]; then
    _apt_install "${missing[@]}"
  fi
  command -v cargo >/dev/null || die "Rust is not installed" "install it with rustup (https://rustup.rs), then start again"
}

_apt_install() {
  command -v apt-get >/dev/null || die "these are missing: $*" "install what they are called on this system, then start again"
  say "installing with apt-get: $*"
  local conf=/etc/postgresql-common/createcluster.d/alpine-install.conf
  as_root apt-get -qq update
  case " $* " in
    *" postgresql "*)
      # Its programs are wanted, not a database of the machine's own on port 5432.
      as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends postgresql-common </dev/null >/dev/null
      as_root mkdir -p "${conf%/*}"
      echo "create_main_cluster = false" | as_root tee "$conf" >/dev/null
      ;;
  esac
  # A server's programs are wanted, not a server on this machine.
  local policy=/usr/sbin/policy-rc.d guarded=
  case " $* " in
    *" openssh-server "* | *" prometheus "* | *" docker.io "* | *" caddy "* | *" nginx-light "* | *" pgbouncer "*)
      if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        guarded=yes
      fi
      ;;
  esac
  local status=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$@" </dev/null >/dev/null || status=$?
  as_root rm -f "$conf"
  [ -z "$guarded" ] || as_root rm -f "$policy"
  [ "$status" = 0 ] || die "apt-get could not install: $*" "run it by hand to see why"
}
