#!/usr/bin/env python3
"""Queues a message with a plain INSERT, with Python's standard library alone.

    python3 by_sql.py DATABASE ACCOUNT CHAT TEXT KEY

The message is part of your transaction: commit it together with what caused it, if that is in the same database.
"""
import sqlite3
import sys


def main(database, account, chat, text, key):
    # mode=rw: a mistyped path is an error, not a new database. The timeout is the time to wait for another writer.
    connection = sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=5)
    # The daemon checkpoints; a checkpoint of an old SQLite library could damage the file (docs/sql.md).
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    try:
        with connection:
            rows = connection.execute(
                "INSERT INTO messages (account_id, chat_id, text, dedupe_key) VALUES (?, ?, ?, ?) RETURNING id",
                (account, chat, text, key),
            ).fetchall()
    except sqlite3.IntegrityError as error:
        sys.exit(f"refused: {error}")
    finally:
        connection.close()
    print(rows[0][0])


if __name__ == "__main__":
    main(*sys.argv[1:])
