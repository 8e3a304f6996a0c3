#!/bin/sh
# Builds the Debian package with cargo-deb 3.8 or newer: packaging/debian/build.sh [options of cargo deb]
# The last line of the output is its path. PROFILE (release) is the profile of the build; `dev` is quick, for tests. With
# BUILT=1 it packs the program that is built already.
set -eu
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-target}
folder=$profile
[ "$profile" != dev ] || folder=debug

[ -n "${BUILT:-}" ] || cargo build --locked --profile "$profile" --bin outboxd
# What the package takes from the program itself.
rm -rf target/package
mkdir -p target/package
"$target/$folder/outboxd" generate man target/package/man
"$target/$folder/outboxd" generate completions target/package/completions
# Policy asks for a changelog of the package; ours is CHANGELOG.md.
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
cat >target/package/changelog <<EOT
outboxd (${DEB_VERSION:-$version-1}) unstable; urgency=medium

  * See changelog.gz in the same folder.

 -- The outboxd authors <outboxd@outboxd.invalid>  $(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}")
EOT
gzip -9 --no-name --stdout CHANGELOG.md >target/package/changelog.gz
cargo deb --no-build --profile "$profile" --deb-version "${DEB_VERSION:-$version-1}" "$@"
