"""LockManager on one SQLite file: locks and their tokens outlive the process."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loom_core.adapters.limits import check_lock
from loom_core.adapters.sqlite.file import SqliteFile
from loom_core.errors import ConflictError
from loom_core.ports.locks import Lock

if TYPE_CHECKING:
    import sqlite3

# AUTOINCREMENT never gives a token twice, though the rows of locks that are over are deleted.
_STEPS: Final = (
    (
        """
        CREATE TABLE locks (
            token INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, until REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX locks_by_end ON locks (until)",
    ),
)
_PURGED = 100
_PURGE = "DELETE FROM locks WHERE token IN (SELECT token FROM locks WHERE until <= ? LIMIT ?)"
_END = "DELETE FROM locks WHERE name = ? AND until <= ?"
_ACQUIRE = "INSERT INTO locks (name, until) VALUES (?, ?) ON CONFLICT (name) DO NOTHING RETURNING token"
_EXTEND = "UPDATE locks SET until = ? WHERE token = ? AND name = ? AND until > ?"
_RELEASE = "DELETE FROM locks WHERE token = ? AND name = ?"


class SqliteLockManager:
    """`clock` gives seconds since the epoch, to all who share the file. Call `aclose` when done."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Keep the locks in this file, which need not exist.

        Every method also raises InvalidError for a file of a newer Loom.
        """
        self._clock = clock
        self._file = SqliteFile(path, _STEPS, self._purge)

    async def acquire(self, name: str, ttl: int) -> Lock | None:
        check_lock(name, ttl)
        now = self._clock()

        def work(connection: "sqlite3.Connection") -> int | None:
            connection.execute(_END, (name, now))
            row = connection.execute(_ACQUIRE, (name, now + ttl)).fetchone()
            return row[0] if row else None

        token = await self._file.write(work, undo=False)
        return None if token is None else Lock(name, token, ttl, now + ttl)

    async def extend(self, lock: Lock) -> Lock:
        check_lock(lock.name, lock.ttl)
        now = self._clock()
        values = (now + lock.ttl, lock.token, lock.name, now)
        if not await self._file.write(lambda file: file.execute(_EXTEND, values).rowcount, undo=False):
            raise ConflictError(f"the lock on {lock.name} is lost")
        return replace(lock, until=now + lock.ttl)

    async def release(self, lock: Lock) -> None:
        check_lock(lock.name, lock.ttl)
        await self._file.write(lambda file: file.execute(_RELEASE, (lock.token, lock.name)), undo=False)

    async def aclose(self) -> None:
        await self._file.aclose()

    def _purge(self, connection: "sqlite3.Connection", writes: int) -> None:
        connection.execute(_PURGE, (self._clock(), _PURGED + writes))
