#!/bin/bash
# Tests the package in a Debian of its own, as root: installs it, starts the daemon against the sandbox, sends, upgrades with
# 1,000 messages queued, removes and purges.
#
#   packaging/debian/test.sh [NEW.deb [OLD.deb]]
#
# Without NEW it builds this commit, without OLD the commit before; PROFILE=dev builds quickly. Needs debootstrap, and
# lintian if it is installed. The base of the system stays in target/debootstrap for the next run; it comes from the mirror
# that apt is configured with.
set -euo pipefail
# A step that fails inside $(…) ends the script as well.
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$here/target}")
export CARGO_TARGET_DIR
places=$CARGO_TARGET_DIR/debootstrap
commits=$(git rev-list --count HEAD)

# Builds what lies in folder $1 as build number $2; prints the path of the package.
build() {
  local version
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$1/Cargo.toml" | sed -n 1p)
  DEB_VERSION=$version+git$2-1 "$1/packaging/debian/build.sh" --output "$places/outboxd-$2.deb" >&2
  echo "$places/outboxd-$2.deb"
}

before() {
  git rev-parse --quiet --verify HEAD^ >/dev/null || { echo "the repository has no earlier commit; give OLD.deb" >&2; return 1; }
  rm -rf "$places/before"
  git worktree prune
  git worktree add --force --detach "$places/before" HEAD^ >&2
  trap 'git worktree remove --force "$places/before"' RETURN
  # The paths of the package begin at the folder of its commit.
  ln -s "$CARGO_TARGET_DIR" "$places/before/target"
  build "$places/before" $((commits - 1))
}

mkdir -p "$places"
old=${2:-$(before)}
new=${1:-$(build "$here" "$commits")}
old=$(realpath "$old") new=$(realpath "$new")

if command -v lintian >/dev/null; then
  echo "== lintian"
  lintian --fail-on error --allow-root "$new"
fi

base=$places/base
if [ ! -e "$base/.whole" ]; then
  echo "== debootstrap"
  rm -rf "$base"
  # Reads all lines: a reader that leaves early would fail the writer.
  mirror=$(apt-get indextargets --format '$(SITE)|$(CODENAME)' 'Created-By: Packages' | sed -n 's/|bookworm$//p' | sed -n 1p)
  [ -n "$mirror" ] || { echo "apt is configured with no mirror of bookworm" >&2; exit 2; }
  debootstrap --variant=minbase --include=systemd-standalone-sysusers,man-db,ca-certificates bookworm "$base" "$mirror" >"$places/debootstrap.log"
  touch "$base/.whole"
fi

root=$(mktemp -d "$places/root.XXXX")
trap 'rm -rf "$root"' EXIT
cp -a "$base/." "$root"
cp "$old" "$root/old.deb"
cp "$new" "$root/new.deb"
cp packaging/debian/test-inside.sh "$root/test-inside.sh"
# Its own processes, mounts and network: nothing is left, and nothing leaves.
unshare --mount --pid --net --fork --kill-child --mount-proc="$root/proc" \
  sh -c 'ip link set lo up && exec chroot "$0" /test-inside.sh' "$root"
