#!/usr/bin/env bash
# Something that needs a Docker of the tests' own: tests/docker/run.sh target/debug/chaos --provider docker --minutes 15
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/docker/engine.sh
. tests/docker/engine.sh
[ "$(id -u)" = 0 ] || die "this needs root, for Docker" "run it as root"
ensure docker debootstrap iptables
trap docker_down EXIT
docker_up "${ALPINE_TEST_DOCKER_KEPT:-target/tools/docker}"
"$@"
