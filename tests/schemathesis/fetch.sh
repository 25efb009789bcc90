#!/usr/bin/env bash
# Fetch schemathesis and all that requirements.txt pins into the folder that is named, unless it is there.
# Test processes may do this at once: the first does, the others wait.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
exec 9>"$dir/.lock"
flock 9
# Written when pip is done.
if [ -x "$dir/bin/st" ] && cmp -s "$here/requirements.txt" "$dir/requirements.txt"; then
  exit 0
fi
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$here/requirements.txt" </dev/null >&2
cp "$here/requirements.txt" "$dir/requirements.txt"
