#!/usr/bin/env bash
# Checks alerts.yaml and runs its unit tests. Needs promtool: apt-get install prometheus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v promtool >/dev/null || { echo "promtool is missing: apt-get install prometheus" >&2; exit 2; }
promtool check rules alerts.yaml
promtool test rules alerts_test.yaml
