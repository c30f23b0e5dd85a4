"""What the broker accepted, in SQLite: one transaction per turn, committed before any answer goes out."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.emulators.servicebus.messages import Message

if TYPE_CHECKING:
    from tests.emulators.servicebus.queue import Queue

# The process may die at any time; the machine may not, so nothing waits for the disk.
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS clock (one INTEGER PRIMARY KEY, offset REAL NOT NULL);
CREATE TABLE IF NOT EXISTS entities (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, last INTEGER NOT NULL, sessions INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    entity TEXT, number INTEGER, state INTEGER, deliveries INTEGER, size INTEGER,
    enqueued REAL, due REAL, expires REAL, payload BLOB, PRIMARY KEY (entity, number)
);
CREATE TABLE IF NOT EXISTS ids (entity TEXT, id TEXT, until REAL, PRIMARY KEY (entity, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (entity TEXT, id TEXT, state BLOB, PRIMARY KEY (entity, id));
"""
_PUT = "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM messages WHERE entity = ? AND number = ?"


class Journal:
    """Without a file it keeps nothing."""

    def __init__(self, file: Path | None = None) -> None:
        self._database: sqlite3.Connection | None = None
        if file is not None:
            self._database = sqlite3.connect(file, isolation_level=None)
            self._database.executescript(_SCHEMA)
        self._messages: dict[tuple[str, int], Message | None] = {}
        self._ids: dict[tuple[str, str], float | None] = {}
        self._states: dict[tuple[str, str], bytes | None] = {}
        self._entities: dict[str, Queue] = {}
        self._offset: float | None = None

    # ---- noted, until the commit

    def put(self, queue: "Queue", message: Message) -> None:
        if self._database is not None:
            self._messages[queue.key, message.number] = message

    def remove(self, queue: "Queue", number: int) -> None:
        if self._database is not None:
            self._messages[queue.key, number] = None

    def seen(self, entity: str, id_: str, until: float | None) -> None:
        if self._database is not None:
            self._ids[entity, id_] = until

    def numbered(self, queue: "Queue") -> None:
        if self._database is not None:
            self._entities[queue.key] = queue

    def session_state(self, entity: str, id_: str, state: bytes | None) -> None:
        if self._database is not None:
            self._states[entity, id_] = state

    def put_forward(self, offset: float) -> None:
        self._offset = offset

    def commit(self) -> None:
        """Raises sqlite3.Error; then nothing noted since the last commit may be told to anyone."""
        if self._database is None:
            return
        if not (self._messages or self._ids or self._states or self._entities or self._offset is not None):
            return
        execute, many = self._database.execute, self._database.executemany
        execute("BEGIN")
        if self._messages:
            gone = [key for key, message in self._messages.items() if message is None]
            many(_REMOVE, gone)
            kept = ((*key, message) for key, message in self._messages.items() if message is not None)
            many(_PUT, (_row(*entry) for entry in kept))
        if self._ids:
            many(
                "DELETE FROM ids WHERE entity = ? AND id = ?",
                [key for key, u in self._ids.items() if u is None],
            )
            known = [(*key, until) for key, until in self._ids.items() if until is not None]
            many("INSERT OR REPLACE INTO ids VALUES (?, ?, ?)", known)
        if self._states:
            many("DELETE FROM sessions WHERE entity = ? AND id = ?", list(self._states))
            states = [(*key, state) for key, state in self._states.items() if state is not None]
            many("INSERT INTO sessions VALUES (?, ?, ?)", states)
        if self._entities:
            rows = [(q.key, q.name, q.last, q.sessions_required) for q in self._entities.values()]
            many("INSERT OR REPLACE INTO entities VALUES (?, ?, ?, ?)", rows)
        if self._offset is not None:
            execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (self._offset,))
        execute("COMMIT")
        for noted in (self._messages, self._ids, self._states, self._entities):
            noted.clear()
        self._offset = None

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    # ---- read at the start

    def _all(self, statement: str, *values: object) -> list[tuple]:
        return [] if self._database is None else self._database.execute(statement, values).fetchall()

    def offset(self) -> float:
        rows = self._all("SELECT offset FROM clock")
        return rows[0][0] if rows else 0.0

    def entities(self) -> list[tuple[str, str, int, int | None]]:
        return self._all("SELECT key, name, last, sessions FROM entities")

    def ids(self, entity: str) -> list[tuple[str, float]]:
        return self._all("SELECT id, until FROM ids WHERE entity = ?", entity)

    def session_states(self, entity: str) -> list[tuple[str, bytes]]:
        return self._all("SELECT id, state FROM sessions WHERE entity = ?", entity)

    def messages(self, entity: str) -> Iterable[Message]:
        statement = (
            "SELECT number, state, deliveries, size, enqueued, due, expires, payload FROM messages"
            " WHERE entity = ? ORDER BY number"
        )
        for number, state, deliveries, size, enqueued, due, expires, payload in self._all(statement, entity):
            message = Message.decode(payload, stored=True)
            message.number, message.state, message.deliveries = number, state, deliveries
            message.size, message.enqueued, message.due, message.expires = size, enqueued, due, expires
            yield message


def _row(entity: str, number: int, message: Message) -> tuple[object, ...]:
    return (
        entity, number, message.state, message.deliveries, message.size, message.enqueued, message.due,
        message.expires, message.stored(),
    )  # fmt: skip
