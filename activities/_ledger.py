"""The ledger of customer-onboarding: one SQLite file in the app's data folder.

What it was told is on the disk before an activity returns, under the key of that call: told again after a
crash, it knows the key and changes nothing.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loom_core.activities import current_call
from loom_core.settings import Settings
from loom_core.wire.json import JsonObject, dump

if TYPE_CHECKING:
    import sqlite3

_TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    user_id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE,
    email TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS one_account ON accounts (email) WHERE status <> 'deleted';
CREATE TABLE IF NOT EXISTS events (
    key TEXT PRIMARY KEY, at TEXT NOT NULL, run TEXT NOT NULL, event TEXT NOT NULL, subject TEXT NOT NULL
) STRICT;
"""


def folder() -> Path:
    """Where the example keeps its files; it need not exist."""
    return Settings.read(os.environ, Path(__file__).parents[1]).data / "onboarding"


@contextmanager
def ledger() -> Iterator["sqlite3.Connection"]:
    """One transaction on the ledger, written at the end unless it raises. Waits 5 seconds for another one."""
    import sqlite3  # noqa: PLC0415 - cold start

    folder().mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder() / "ledger.db", isolation_level=None, timeout=5)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            for table in _TABLES.split(";"):
                connection.execute(table)
            yield connection


def note(connection: "sqlite3.Connection", event: str, subject: JsonObject) -> None:
    """Note that something happened, once for this call."""
    call = current_call.get()
    row = (call.key, datetime.now(UTC).isoformat(timespec="milliseconds"), call.run, event, dump(subject))
    connection.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)", row)
