#!/usr/bin/env bash
# The files of a release, into target/release-<version>: static programs for this machine's processor, packed with completions, manual pages
# and licence; bills of materials (CycloneDX); SHA256SUMS over all of them. The version is the workspace's, the time the commit's: the same
# commit and compiler give the same names and archives.
#   deploy/release.sh [--dirty]        --dirty: also of a tree with changes that are not committed; to try it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

case "${1:-}" in
  "") dirty= ;;
  --dirty) dirty=yes ;;
  *) die "no such option: $1" "deploy/release.sh [--dirty]" ;;
esac
[ -n "$dirty" ] || [ -z "$(git status --porcelain)" ] || die "the tree has changes that are not committed" "commit them: a release is made of a commit"

step "Tools"
ensure cc git curl
# The commands of CycloneDX's own.
cyclonedx_version=0.5.9
tools=target/ci-tools
if ! "$tools/bin/cargo-cyclonedx" cyclonedx --version 2>/dev/null | grep -qF "$cyclonedx_version"; then
  say "building cargo-cyclonedx $cyclonedx_version"
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$tools/build cargo install --quiet --debug --locked --root "$tools" "cargo-cyclonedx@$cyclonedx_version"
  rm -rf "$tools/build"
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
host=$(rustc -vV | sed -n 's/^host: //p')
name=alpine-$version-$host
out=target/release-$version
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
rm -rf "$out"
mkdir -p "$out/$name"

step "Programs"
# glibc, in the program: names are still asked for as resolv.conf and hosts say, but no further NSS module is loaded. Nobody's folders in it.
static="-C target-feature=+crt-static --remap-path-prefix=$PWD=/alpine --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
folders="-ffile-prefix-map=$PWD=/alpine -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo"
SQLX_OFFLINE=true RUSTFLAGS=$static CFLAGS="${CFLAGS:-} $folders" CARGO_TARGET_DIR=target/static \
  cargo build --release --locked --target "$host" -p alpine-server -p alpine-cli --bins
for program in alpine alpine-server; do
  built=target/static/$host/release/$program
  ldd "$built" 2>&1 | grep -q "statically linked" || die "$program is not static" "$(ldd "$built" 2>&1 | head -3)"
  "$built" --version | grep -qF "$version" || die "$program does not say that it is $version"
  install -m 755 "$built" "$out/$name/$program"
done
# What could fail in a static program alone is the system's resolver: a name that is found is refused, one that is not is not found.
for case in "localhost refused" "alpine.invalid lookup"; do
  said=$(DATABASE_URL=postgres://alpine@${case% *}:1/alpine "$out/$name/alpine-server" migrate 2>&1 || true)
  case $said in *"${case#* }"*) ;; *) die "the static program does not resolve ${case% *} as it should: $said" ;; esac
done

step "Completions, manual pages, licence"
mkdir -p "$out/$name/completions" "$out/$name/man/man1"
for shell in bash zsh fish; do "$out/$name/alpine" completion "$shell" >"$out/$name/completions/alpine.$shell"; done
"$out/$name/alpine" man --dir "$out/$name/man/man1" >/dev/null
cp -R deploy/systemd "$out/$name/systemd"
for file in LICENSE README.md CHANGELOG.md; do [ ! -f "$file" ] || cp "$file" "$out/$name/"; done

step "Bills of materials"
for crate in server cli; do
  (cd "$crate" && "../$tools/bin/cargo-cyclonedx" cyclonedx --format json --spec-version 1.5 --target "$host" --override-filename alpine-sbom)
  mv "$crate/alpine-sbom.json" "$out/alpine-$crate-$version.cdx.json"
  rm -f {openapi,server,cli,tests}/alpine-sbom.json
done
# The folder of the one who made it is nobody's business.
sed -i "s#path+file://$PWD#path+file:///alpine#g; s#file://$PWD#file:///alpine#g" "$out"/*.cdx.json

step "Archive and sums"
tar -C "$out" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=posix \
  --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime -c "$name" | gzip -n9 >"$out/$name.tar.gz"
rm -rf "${out:?}/$name"
(cd "$out" && sha256sum -- *.tar.gz *.cdx.json >SHA256SUMS && sha256sum -c --quiet SHA256SUMS)
(cd "$out" && ls -l) >&2
all_done "deploy/release.sh"
