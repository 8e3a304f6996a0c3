#!/usr/bin/env bash
# Sends random requests to a daemon and compares its answers with its OpenAPI document: tests/schemathesis.sh [OPTION...]
#
# It starts the sandbox and a daemon in a temporary folder and runs Schemathesis (PyPI), which it installs below target/.
# Schemathesis speaks TCP only, so a few lines of Python forward a loopback port to the daemon's socket. Options go to
# `schemathesis run`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=target/schemathesis
if [ ! -x "$venv/bin/schemathesis" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet 'schemathesis>=4.32,<5'
fi
[ -n "${OUTBOXD:-}" ] || cargo build --quiet --locked
outboxd=$(realpath "${OUTBOXD:-target/debug/outboxd}")

folder=$(mktemp -d)
started=()
stop() {
  kill "${started[@]}" 2>/dev/null || true
  wait "${started[@]}" 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT

# Prints a line with its port, then forwards each connection.
forward() {
  python3 -u - "$1" <<'PYTHON'
import asyncio, sys

async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.close()

async def connected(reader, writer):
    to_daemon, from_daemon = (pair := await asyncio.open_unix_connection(sys.argv[1]))[1], pair[0]
    await asyncio.gather(copy(reader, to_daemon), copy(from_daemon, writer))
    to_daemon.close()
    writer.close()

async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1])
    await server.serve_forever()

asyncio.run(main())
PYTHON
}

# Waits for up to 20 s until the command succeeds.
until_done() {
  for _ in $(seq 100); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  cat "$folder"/*.log >&2
  return 1
}

sandbox_port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$outboxd" sandbox --listen "127.0.0.1:$sandbox_port" >"$folder/sandbox.log" 2>&1 &
started+=($!)
export OUTBOXD_STORE_PATH=$folder/queue.db OUTBOXD_API_SOCKET=$folder/queue.sock OUTBOXD_UNIPILE_API_KEY=sandbox-key
export OUTBOXD_UNIPILE_BASE_URL=http://127.0.0.1:$sandbox_port
(cd "$folder" && exec "$outboxd" serve) >"$folder/daemon.log" 2>&1 &
started+=($!)
until_done test -S "$folder/queue.sock"
forward "$folder/queue.sock" >"$folder/port" 2>"$folder/forward.log" &
started+=($!)
until_done test -s "$folder/port"

# A message and an account for the routes with an id.
message=$("$outboxd" enqueue --account acc_sandbox --user ACoAone --text Hello --not-before 2099-01-01T00:00:00Z)

# Valid fields may be refused for what they mean, such as a time that has passed, so the check that each valid request is
# accepted is off. The answer to a batch has a verdict for each bad row instead of refusing the request.
cat >"$folder/schemathesis.toml" <<TOML
[checks]
positive_data_acceptance.enabled = false

[[operations]]
include-path-regex = "^/v1/accounts/.id"
parameters = { "path.id" = "acc_sandbox" }

[[operations]]
include-path-regex = "^/v1/messages/.id"
parameters = { "path.id" = "$message" }

[[operations]]
include-operation-id-regex = "^(enqueue|forecast_with|stop)$"
checks = { negative_data_rejection = { enabled = false } }
TOML
# It runs in the folder, which also takes its cache.
schemathesis=$(realpath "$venv/bin/schemathesis")
cd "$folder"
"$schemathesis" --config-file schemathesis.toml run --seed 1 --no-color --wait-for-schema 20 "$@" \
  "http://127.0.0.1:$(cat port)/openapi.json"
