#!/usr/bin/env bash
# Fetch the linters of the document and what drives a browser, as package-lock.json pins them, into the folder that is named,
# unless they are there. Test processes may do this at once: the first does, the others wait.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
exec 9>"$dir/.lock"
flock 9
# Written by npm when it is done.
done=$dir/node_modules/.package-lock.json
if [ -f "$done" ] && cmp -s "$here/package-lock.json" "$dir/package-lock.json"; then
  exit 0
fi
cp "$here/package.json" "$here/package-lock.json" "$dir/"
cd "$dir"
npm ci --ignore-scripts --no-audit --no-fund --no-progress --loglevel=error </dev/null >&2
