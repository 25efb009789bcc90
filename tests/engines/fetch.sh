#!/usr/bin/env bash
# Fetch the job engines and their Node, as package-lock.json pins them, into the folder that is named.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../npm-ci.sh" "$here" "$1"
