#!/usr/bin/env bash
# pip-install.sh FROM TO: fetch what FROM/requirements.txt pins into a Python environment in the folder TO, unless it is there.
# Test processes may do this at once: the first does, the others wait.
set -euo pipefail
mkdir -p "$2"
from=$(cd "$1" && pwd) to=$(cd "$2" && pwd)
exec 9>"$to/.lock"
flock 9
# Written when pip is done.
if cmp -s "$from/requirements.txt" "$to/requirements.txt"; then
  exit 0
fi
python3 -m venv "$to"
"$to/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$from/requirements.txt" </dev/null >&2
cp "$from/requirements.txt" "$to/requirements.txt"
