#!/usr/bin/env bash
# Ask a live server for everything that the document promises, for as long as is said: tests/schemathesis/run.sh --minutes 5
# (at most 9: the token is good for ten). The short run is a test, `conformance`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

minutes=5
case "${1:-}" in
  "") ;;
  --minutes) minutes=${2:?--minutes wants a number} ;;
  *) die "no such option: $1" "tests/schemathesis/run.sh --minutes 5" ;;
esac
unset DATABASE_URL
export SQLX_OFFLINE=true ALPINE_TEST_MINUTES=$minutes
tests/run.sh -p alpine-tests --test conformance -- --ignored --nocapture
