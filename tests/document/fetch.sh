#!/usr/bin/env bash
# Fetch the linters of the document and what drives a browser, as package-lock.json pins it, into the folder that is named.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../npm-ci.sh" "$here" "$1"
