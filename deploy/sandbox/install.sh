#!/bin/sh
# What sessions find in an image (Debian): git, opencode and the toolchains of the repositories that are to be installed, into folders
# that every sandbox sees. Further packages may be named. Used by deploy/sandbox/Dockerfile and the worker's image; run as root.
set -eu
# The versions of server/src/dev/tools.rs; a check compares them.
OPENCODE_X64=1.18.33
OPENCODE_ARM64=1.18.18

export DEBIAN_FRONTEND=noninteractive
apt-get update
# shellcheck disable=SC2046 # words are wanted
apt-get install -y --no-install-recommends "$@" $(sed 's/#.*//' <<'END'
  ca-certificates curl git openssh-client procps unzip util-linux xz-utils   # to fetch and to look around
  build-essential pkg-config                                                 # native modules of npm, pip and gems
  nodejs npm                                                                 # npm itself; pnpm and yarn come by it
  python3 python3-dev python3-pip python3-venv
  golang-go
  cargo rustc
  ruby ruby-dev bundler
  php-cli composer
END
)
rm -rf /var/lib/apt/lists/*

case $(uname -m) in
  x86_64) opencode=opencode-linux-x64@$OPENCODE_X64 ;;
  aarch64) opencode=opencode-linux-arm64@$OPENCODE_ARM64 ;;
  *) echo "no opencode for $(uname -m)" >&2; exit 1 ;;
esac
fetched=$(mktemp -d)
npm install --prefix "$fetched" --cache "$fetched/cache" --no-audit --no-fund --ignore-scripts "$opencode"
install -m 0755 "$fetched"/node_modules/opencode-linux-*/bin/opencode /usr/local/bin/opencode
rm -rf "$fetched"
