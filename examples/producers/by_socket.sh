#!/bin/sh
# Queues a message with the command line, and waits until it is on disk.
#
#     sh by_socket.sh SOCKET ACCOUNT CHAT TEXT KEY
#
# KEY is yours: if this program is run again with the same key, the message is not queued twice. Without outboxd in the PATH,
# curl does the same: curl --unix-socket SOCKET http://outboxd/v1/messages -d '{"account_id": …}'
set -eu
outboxd enqueue --socket "$1" --account "$2" --chat "$3" --text "$4" --dedupe-key "$5"
