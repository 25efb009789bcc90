# Runs beside a test process and cleans up after it, even when it is killed.
# $1 is the process's directory. Standard input is a pipe that only the test process holds open.
base=$1
cat >/dev/null

find "$base" -maxdepth 5 -name postmaster.pid 2>/dev/null | while read -r file; do
    # The number may be another's by now: only a PostgreSQL of this very directory.
  read -r pid <"$file" && grep -aqsF "$base/" "/proc/$pid/cmdline" && kill -QUIT "$pid" 2>/dev/null
done

# Servers name the directory in their arguments or environment.
for proc in /proc/[0-9]*; do
    pid=${proc#/proc/}
    [ "$pid" = "$$" ] && continue
    grep -aqsF "$base/" "$proc/cmdline" "$proc/environ" && kill -KILL "$pid" 2>/dev/null
done

# Sandboxed programs know only their session.
for dir in "$base"/*/data/sandboxes/* "$base"/*/data*/sandboxes/*; do
    [ -d "$dir" ] || continue
    for proc in /proc/[0-9]*; do
        grep -aqsF "ALPINE_SESSION_ID=${dir##*/}" "$proc/environ" && kill -KILL "${proc#/proc/}" 2>/dev/null
    done
    echo "${dir##*/}" >>"$base/groups"
done

# Their control groups are empty once they are gone.
sleep 0.2
while read -r session; do
    rmdir /sys/fs/cgroup/alpine/"$session" /sys/fs/cgroup/*/alpine/"$session" 2>/dev/null
done <"$base/groups" 2>/dev/null

[ -n "$ALPINE_TEST_KEEP" ] || { sleep 0.2; rm -rf "$base"; }
