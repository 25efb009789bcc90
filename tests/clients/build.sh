#!/usr/bin/env bash
# Make one language's client of the document and build the program that uses it:
#   tests/clients/build.sh <language> <document> <folder of fetch.sh> <folder to build in>
# What was built of the same inputs is left as it is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
language=$1
mkdir -p "$4"
document=$(realpath "$2") tools=$(realpath "$3") work=$(realpath "$4")
exec 9>"$work/.lock"
flock 9
inputs=$(cd "$here" && sha256sum "$document" requirements.txt build.sh "$language"/*)
if [ "$(cat "$work/.built" 2>/dev/null)" = "$inputs" ]; then
  exit 0
fi
cd "$work"
rm -rf .built alpine alpine.ts alpine_client
cp -R "$here/$language/." .
cp "$document" alpine.v1.json
export PATH="$tools/python/bin:$PATH"
case $language in
  typescript) ln -sfn "$tools/typescript/node_modules" node_modules ;;
  # What `cargo test` says of the test would make ring be built again.
  rust) unset "${!CARGO_MANIFEST@}" "${!CARGO_PKG@}" && export CARGO_TARGET_DIR=$work/target ;;
  # Nothing but Go's own library is used.
  go) export GOCACHE=$work/cache GOPATH=$work/path GOPROXY=off GOFLAGS=-mod=mod ;;
esac
# shellcheck source=/dev/null
. ./generate.sh
echo "$inputs" >.built
