#!/usr/bin/env bash
# npm-ci.sh FROM TO: fetch what FROM/package-lock.json pins into the folder TO, unless it is there.
# Test processes may do this at once: the first does, the others wait.
set -euo pipefail
mkdir -p "$2"
from=$(cd "$1" && pwd) to=$(cd "$2" && pwd)
exec 9>"$to/.lock"
flock 9
# Written by npm when it is done.
if [ -f "$to/node_modules/.package-lock.json" ] && cmp -s "$from/package-lock.json" "$to/package-lock.json"; then
  exit 0
fi
cp "$from/package.json" "$from/package-lock.json" "$to/"
# Below a folder with a package.json a newer npm takes no `--prefix`.
cd "$to"
npm ci --ignore-scripts --no-audit --no-fund --no-progress --loglevel=error </dev/null >&2
