#!/bin/bash
# Builds the image without a registry of images, and tests it, as root: the base images come from debootstrap (the mirror that
# apt is configured with), buildah builds, and the image runs with a read-only root, its own user, and a network of its own.
#
#   packaging/docker/test.sh
#
# PROFILE=dev builds quickly. Needs debootstrap, buildah, and a Rust toolchain with its ~/.cargo, which the image for the
# build borrows. Base images stay for the next run.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
profile=${PROFILE:-release}
cargo=${CARGO_HOME:-$HOME/.cargo}
toolchain=$(rustc --print sysroot)
places=$(realpath -m "${CARGO_TARGET_DIR:-target}")/images
mkdir -p "$places"

b() { buildah --storage-driver vfs --root "$places/storage" --runroot "$places/run" "$@"; }

# Makes the image $1 from Debian with the packages $2 and the environment $3…, unless it is there.
base() {
  b inspect --type image "$1" >/dev/null 2>&1 && return 0
  echo "== debootstrap for $1"
  local mirror name=$1 packages=$2
  shift 2
  # Reads all lines: a reader that leaves early would fail the writer.
  mirror=$(apt-get indextargets --format '$(SITE)|$(CODENAME)' 'Created-By: Packages' | sed -n 's/|bookworm$//p' | sed -n 1p)
  [ -n "$mirror" ] || { echo "apt is configured with no mirror of bookworm" >&2; exit 2; }
  rm -rf "$places/root"
  debootstrap --variant=minbase --include="$packages" bookworm "$places/root" "$mirror" >"$places/debootstrap.log"
  rm -rf "$places/root"/var/cache/apt/archives/*.deb "$places/root"/var/lib/apt/lists/*
  local container
  container=$(b from scratch)
  b copy --quiet "$container" "$places/root" /
  for variable in PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; do b config --env "$variable" "$container"; done
  b commit --quiet "$container" "$name"
  b rm "$container" >/dev/null
  rm -rf "$places/root"
}

base localhost/run ca-certificates
base localhost/build gcc,libc6-dev,ca-certificates,binutils PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/usr/local/cargo

echo "== build"
# The toolchain and the crates of this machine, which the image itself does not hold.
b bud --isolation chroot --layers --format docker --file Dockerfile --tag localhost/outboxd \
  --build-arg BUILD_IMAGE=localhost/build --build-arg RUN_IMAGE=localhost/run --build-arg PROFILE="$profile" \
  --volume "$toolchain:/usr/local/rust:ro" --volume "$cargo:/usr/local/cargo" --network host .

echo "== run"
container=$(b from localhost/outboxd)
root=$(b mount "$container")
trap 'b umount "$container" >/dev/null; b rm "$container" >/dev/null' EXIT
bytes=$(stat -c %s "$root/usr/local/bin/outboxd")
echo "$((bytes / 1000000)) MB beyond the base"
[ "$profile" != release ] || [ "$bytes" -lt 40000000 ] || { echo "more than 40 MB beyond the base" >&2; exit 1; }
# Of the image $1, by the template $2: must contain $3.
shows() {
  local found
  found=$(b inspect --type image --format "$2" "$1")
  [[ $found == *"$3"* ]] || { echo "$1 has $found, without $3" >&2; exit 1; }
}
shows localhost/outboxd '{{.OCIv1.Config.User}}' 65532:65532
shows localhost/outboxd '{{.Docker.Config.Healthcheck}}' status
unshare --mount --pid --net --fork --kill-child bash packaging/docker/test-inside.sh "$root"
