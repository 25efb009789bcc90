# shellcheck shell=bash
# A Docker of the tests' own, with an image of this machine's release. Sourced: docker_up FOLDER, docker_down.
# FOLDER keeps the image from one run to the next; everything else goes with docker_down.

: "${docker_work:=}" "${docker_pid:=}"

test_docker() { /usr/bin/docker --host "unix://$docker_work/docker.sock" "$@"; }

# What the tests' sessions need, and no more.
docker_base() {
  local tar=$1 codename
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  say "making an image of $codename with git, Python and nginx (a minute)"
  /usr/sbin/debootstrap --variant=minbase --include=ca-certificates,git,python3,nginx-light "$codename" "$docker_work/base" >"$docker_work/base.log" 2>&1 ||
    { tail -20 "$docker_work/base.log" >&2; die "debootstrap failed" "it needs root and a Debian mirror"; }
  # A served.log is mounted there, and the root is read-only.
  mkdir -p "$docker_work/base/run/alpine" "$docker_work/base/workspace" "$docker_work/base/home/dev"
  tar -C "$docker_work/base" --exclude=./var/cache/apt/archives/*.deb --exclude=./var/lib/apt/lists/* --exclude=./dev/* -cf "$tar.new" .
  mv "$tar.new" "$tar"
  rm -rf --one-file-system "$docker_work/base"
}

docker_up() {
  local kept=$1
  mkdir -p "$kept"
  docker_work=$(mktemp -d /tmp/alpine-docker-XXXXXX)
  chmod 711 "$docker_work"
  [ -e "$kept/base-2.tar" ] || docker_base "$kept/base-2.tar"
  setsid /usr/sbin/dockerd --data-root "$docker_work/data" --exec-root "$docker_work/exec" --pidfile "$docker_work/docker.pid" \
    -H "unix://$docker_work/docker.sock" --bridge=none >"$docker_work/docker.log" 2>&1 &
  docker_pid=$!
  for _ in $(seq 300); do
    test_docker info >/dev/null 2>&1 && break
    sleep 0.1
  done
  test_docker info >/dev/null 2>&1 || { tail -20 "$docker_work/docker.log" >&2; die "dockerd did not start" "it needs root, control groups and iptables"; }
  test_docker import "$kept/base-2.tar" alpine-test >/dev/null
  export ALPINE_TEST_DOCKER=$docker_work/docker.sock
}

docker_down() {
  local mounted
  [ -n "$docker_work" ] || return 0
  # What failed leaves containers; their networks and rules are this machine's.
  test_docker ps -aq 2>/dev/null | xargs -r /usr/bin/docker --host "unix://$docker_work/docker.sock" rm -f >/dev/null 2>&1 || true
  test_docker network prune -f >/dev/null 2>&1 || true
  [ -z "$docker_pid" ] || { kill "$docker_pid" 2>/dev/null; wait "$docker_pid" || true; }
  awk -v at="$docker_work/" 'index($2, at) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mounted; do umount "$mounted" || true; done
  rm -rf --one-file-system "$docker_work" || true
  docker_work="" docker_pid=""
}
