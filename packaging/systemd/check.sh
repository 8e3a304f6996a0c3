#!/bin/sh
# Checks the units, without a running systemd: `systemd-analyze verify` has nothing to say, and `systemd-analyze security`
# gives each service of outboxd 2.0 or better.
set -eu
cd "$(dirname "$0")"
units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT

# The units name the program alone; it need not be installed here. Nor need a program for failures.
for unit in *.service *.socket *.timer; do
  sed -e 's|^\(Exec[A-Za-z]*=\)outboxd |\1/bin/true |' -e 's|=/etc/outboxd/on-failure |=/bin/true |' "$unit" >"$units/$unit"
done
mv "$units/outboxd-failed@.service" "$units/outboxd-failed@outboxd.service"

said=$(systemd-analyze verify --recursive-errors=no "$units"/* 2>&1) || true
if [ -n "$said" ]; then
  echo "$said"
  echo "systemd-analyze verify: mend what it names" >&2
  exit 1
fi
for unit in outboxd outboxd-backup; do
  # Exits with an error above the threshold, in tenths.
  systemd-analyze security --offline=yes --threshold=20 --no-pager "$units/$unit.service" | tail -n 1
done
