#!/usr/bin/env bash
# Fetch the generators that requirements.txt and typescript/package-lock.json pin into the folder that is named, unless they are there.
# Test processes may do this at once: the first does, the others wait.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1/python" "$1/typescript"
dir=$(cd "$1" && pwd)
exec 9>"$dir/.lock"
flock 9

# Written when pip is done.
if ! cmp -s "$here/requirements.txt" "$dir/python/requirements.txt"; then
  python3 -m venv "$dir/python"
  "$dir/python/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$here/requirements.txt" </dev/null >&2
  cp "$here/requirements.txt" "$dir/python/requirements.txt"
fi

"$here/../npm-ci.sh" "$here/typescript" "$dir/typescript"
