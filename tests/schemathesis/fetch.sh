#!/usr/bin/env bash
# Fetch schemathesis and all that requirements.txt pins into the folder that is named.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../pip-install.sh" "$here" "$1"
