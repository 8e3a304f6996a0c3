#!/bin/bash
# What packaging/docker/test.sh does with the root $1 of the image, in namespaces of its own.
set -euo pipefail
root=$1
ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
# The volumes; everything else is read-only.
for folder in /var/lib/outboxd /run/outboxd; do
  mount -t tmpfs -o uid=65532,gid=65532,mode=0755 tmpfs "$root$folder"
done
mount -o remount,bind,ro "$root"

program=(chroot --userspec=65532:65532 "$root" /usr/bin/env -i OUTBOXD_STORE_PATH=/var/lib/outboxd/outboxd.db
  OUTBOXD_API_SOCKET=/run/outboxd/outboxd.sock OUTBOXD_UNIPILE_BASE_URL=http://127.0.0.1:8750
  OUTBOXD_UNIPILE_API_KEY=sandbox-key /usr/local/bin/outboxd)
run() { "${program[@]}" "$@"; }

fail() {
  echo "FAILED: $*" >&2
  cat /tmp/outboxd-image.log >&2
  exit 1
}

until_true() {
  for _ in $(seq 600); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  fail "this did not become true: $*"
}

is_sent() { run list --state sent --json | grep -q '"chat_id"'; }

# As root: the user of the image may not write there in any case.
if chroot "$root" /usr/bin/touch /usr/local/bin/x 2>/dev/null; then fail "the root is not read-only"; fi
run sandbox >/dev/null 2>/tmp/outboxd-image.log &
"${program[@]}" serve 2>>/tmp/outboxd-image.log &
daemon=$!
until_true run status
run enqueue --account acc_1 --chat chat_1 --text 'Hello from the image' >/dev/null
until_true is_sent
run audit
run backup
kill -TERM $daemon
wait $daemon || fail "it did not stop in good order"
echo "== all is well"
