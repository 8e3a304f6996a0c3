#!/bin/bash
# What packaging/debian/test.sh does inside the Debian of its own. There is no systemd: `serve` does what the unit says.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unit=/usr/lib/systemd/system/outboxd.service

fail() {
  echo "FAILED: $*" >&2
  cat /tmp/daemon.log >&2 || true
  exit 1
}

# Waits for at most 60 s until the command succeeds.
until_true() {
  for _ in $(seq 600); do
    "$@" && return 0
    sleep 0.1
  done
  fail "this did not become true: $*"
}

serve() {
  install -d -o outboxd -g outboxd -m 2770 /var/lib/outboxd
  install -d -o outboxd -g outboxd -m 0750 /run/outboxd
  install -d -o outboxd -g outboxd -m 0500 /run/credentials
  install -o outboxd -g outboxd -m 0400 /etc/outboxd/unipile_api_key /run/credentials/unipile_api_key
  local variables
  mapfile -t variables < <(sed -n 's/^Environment=//p' $unit)
  (cd / && umask 0007 && exec setpriv --reuid=outboxd --regid=outboxd --init-groups \
    env -i "${variables[@]}" CREDENTIALS_DIRECTORY=/run/credentials "$(command -v outboxd)" serve 2>>/tmp/daemon.log) &
  daemon=$!
  until_true reachable
}

# 3: no daemon answers; 8: it can send nothing, which is so while it is paused.
reachable() { local code=0; outboxd status >/dev/null 2>&1 || code=$?; [ $code -eq 0 ] || [ $code -eq 8 ]; }

# The number of messages in a state.
count() { outboxd status --json | tr -d ' \n' | sed -n "s/.*\"counts\":{[^}]*\"$1\":\([0-9]*\).*/\1/p"; }

has() { [ "$(count "$1")" = "$2" ]; }
has_at_least() { [ "$(count "$1")" -ge "$2" ]; }

echo "== install"
dpkg -i /old.deb
getent passwd outboxd >/dev/null || fail "there is no user"
[ "$(stat -c '%U %a' /etc/outboxd/unipile_api_key)" = "root 600" ] || fail "the key is not root's alone"
dpkg-query --show --showformat='${Conffiles}' outboxd | grep -q /etc/outboxd/outboxd.toml || fail "not a conffile"
for file in $unit /usr/lib/systemd/system/outboxd-backup.timer /usr/share/zsh/vendor-completions/_outboxd \
  /usr/share/bash-completion/completions/outboxd /usr/share/fish/vendor_completions.d/outboxd.fish \
  /usr/share/doc/outboxd/examples/campaign/people.csv; do
  [ -e $file ] || fail "$file is missing"
done
man -w outboxd outboxd-enqueue >/dev/null || fail "man pages are missing"

echo "== send"
echo sandbox-key >/etc/outboxd/unipile_api_key
# What an operator changed must survive the upgrade.
cat >>/etc/outboxd/outboxd.toml <<EOT
[unipile]
base_url = "http://127.0.0.1:8750"
requests_per_second = 1000
account_requests_per_second = 1000
[policy]
allow_gap_below_10s = true
allow_high_caps = true
[policy.default]
gap = { min = "0s", max = "0s" }
caps = { all = "", new_chat = "" }
typing.enabled = false
EOT
outboxd sandbox 2>/tmp/sandbox.log >&2 &
serve
outboxd enqueue --account acc_1 --chat chat_1 --text 'From the package' >/dev/null
until_true has sent 1

echo "== upgrade with 1,000 messages queued"
outboxd pause --all >/dev/null
for number in $(seq 1000); do
  echo "{\"account_id\": \"acc_$((number % 5))\", \"chat_id\": \"chat_$number\", \"text\": \"message $number\"}"
done >/tmp/messages.ndjson
outboxd enqueue /tmp/messages.ndjson >/dev/null
has queued 1000 || fail "1,000 are not queued"
dpkg -i /new.deb
[ "$(dpkg-query --show --showformat='${Version}' outboxd)" = "$(dpkg-deb --field /new.deb Version)" ] || fail "not upgraded"
grep -q 127.0.0.1:8750 /etc/outboxd/outboxd.toml || fail "the configuration is gone"
[ "$(cat /etc/outboxd/unipile_api_key)" = sandbox-key ] || fail "the key is gone"
kill -TERM "$daemon"
wait "$daemon" || fail "the old daemon did not stop in good order"
serve
has queued 1000 || fail "messages are gone"
outboxd resume --all >/dev/null
until_true has_at_least sent 1001
outboxd audit
su outboxd -s /bin/sh -c 'OUTBOXD_SOCKET=/run/outboxd/outboxd.sock outboxd backup --keep 2' || fail "no backup"

echo "== remove"
kill -TERM "$daemon"
wait "$daemon" || fail "the daemon did not stop in good order"
dpkg -r outboxd
[ ! -e /usr/bin/outboxd ] || fail "the program is still there"
[ -e /etc/outboxd/outboxd.toml ] && [ -e /var/lib/outboxd/outboxd.db ] || fail "removing took what it must not"
dpkg -P outboxd
[ ! -e /etc/outboxd ] || fail "purging left /etc/outboxd"
[ -e /var/lib/outboxd/outboxd.db ] || fail "purging took the queue"
echo "== all is well"
