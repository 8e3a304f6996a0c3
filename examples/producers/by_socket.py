#!/usr/bin/env python3
"""Queues a message over the socket, with Python's standard library alone, and waits until it is on disk.

    python3 by_socket.py SOCKET ACCOUNT CHAT TEXT KEY

KEY is yours: if this program is run again with the same key, the message is not queued twice.
"""
import http.client
import json
import socket
import sys


class Outboxd(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path):
        super().__init__("outboxd", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def main(path, account, chat, text, key):
    message = {"account_id": account, "chat_id": chat, "text": text, "dedupe_key": key}
    connection = Outboxd(path)
    connection.request("POST", "/v1/messages", json.dumps(message), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.load(response)
    # 201: queued; 200: it was queued before under this key. Anything else says what is wrong and what to do.
    if response.status not in (200, 201):
        error = answer["error"]
        sys.exit(f"{error['field']} {error['problem']}; {error['fix']}")
    print(answer["id"])


if __name__ == "__main__":
    main(*sys.argv[1:])
