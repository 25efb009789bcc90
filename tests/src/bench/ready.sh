#!/bin/sh
# A session by hand: clone, install, start and probe. Says `ready` when the program answers, and ends with it at SIGTERM.
# $1: where; $2: the repository; $3: the port; $4: `confined` or `bare`; $5: what serves. $CONFINED_UID, if root.
set -eu
place=$1 url=$2 port=$3 how=$4 serve=$5

# In the place of this shell: a command as in a sandbox of Alpine's, but for its limits and filters of system calls.
confined() {
    if [ "$how" = bare ]; then
        cd "$place/workspace"
        HOME=$place/home exec "$@"
    fi
    # Sandboxes have what the others leave of the processor (cgroup v1).
    if [ -w /sys/fs/cgroup/cpu/alpine/cgroup.procs ]; then echo 0 >/sys/fs/cgroup/cpu/alpine/cgroup.procs; fi
    if [ -n "$CONFINED_UID" ]; then
        set -- setpriv "--reuid=$CONFINED_UID" "--regid=$CONFINED_UID" --clear-groups --bounding-set=-all --inh-caps=-all --ambient-caps=-all \
            --no-new-privs -- "$@"
    fi
    HOME=/home/dev exec nice -n 19 setsid bwrap --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try --new-session --die-with-parent \
        --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
        --ro-bind /etc/ssl /etc/ssl --ro-bind /etc/hosts /etc/hosts --ro-bind-try /etc/nsswitch.conf /etc/nsswitch.conf \
        --ro-bind-try /etc/resolv.conf /etc/resolv.conf --ro-bind /etc/passwd /etc/passwd --ro-bind /etc/group /etc/group \
        --ro-bind-try /etc/alternatives /etc/alternatives --ro-bind /etc/ld.so.cache /etc/ld.so.cache \
        --proc /proc --dev /dev --perms 1777 --tmpfs /tmp --dir /home --bind "$place/home" /home/dev --bind "$place/workspace" /workspace \
        --ro-bind "$GIT_SSL_CAINFO" /ca.pem --setenv GIT_SSL_CAINFO /ca.pem --remount-ro / --chdir /workspace -- \
        sh -c '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec "$@"' sh prlimit --nofile=1024 --core=0 -- "$@"
}

commit=$(git ls-remote --quiet -- "$url" refs/heads/main | cut -f 1)
mkdir -p "$place/workspace" "$place/home"
[ -z "$CONFINED_UID" ] || chown "$CONFINED_UID:$CONFINED_UID" "$place/workspace" "$place/home"

# shellcheck disable=SC2016 # Its own arguments.
(confined sh -c 'set -e
git init --quiet .
git config remote.origin.url "$1"
git config remote.origin.fetch "+refs/heads/*:refs/remotes/origin/*"
git fetch --quiet --no-tags --depth=1 -- "$1" "$2"
git checkout --quiet -B main "$2" --
test "$(git rev-parse HEAD)" = "$2"' clone "$url" "$commit")

# The install command stands in the repository's .alpine.toml.
install=$(sed -n 's/^install = "\(.*\)"$/\1/p' "$place/workspace/.alpine.toml")
(confined sh -c "$install")

HOST=127.0.0.1 PORT=$port confined sh -c "$serve" >"$place/log" 2>&1 &
served=$!
trap 'kill "$served"; wait; exit 0' TERM
until curl --silent --fail --max-time 0.5 --output /dev/null "http://127.0.0.1:$port/"; do sleep 0.01; done
echo ready
wait
