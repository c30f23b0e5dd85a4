"""One SQLite file: what is written while a commit is being synced shares the next; reads wait for neither."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loom_core.adapters.sqlite.desk import Desk, Outcome
from loom_core.errors import InvalidError, UnavailableError

if TYPE_CHECKING:
    import sqlite3

type Work[T] = Callable[["sqlite3.Connection"], T]


class _Write(NamedTuple):
    work: Work[Any]
    undo: bool


class SqliteFile:
    """Opened when it is first needed, with a connection and a thread for writes and one each for reads.

    `steps[n]` are the statements that make format n+1 of format n. `housekeeping` is called in each
    transaction with the connection and the number of writes in it. Every method raises UnavailableError when
    the file cannot be used, InvalidError when a newer Loom wrote it.
    """

    def __init__(
        self,
        path: Path,
        steps: Sequence[Sequence[str]],
        housekeeping: Callable[["sqlite3.Connection", int], object],
    ) -> None:
        self._path = path
        self._steps = steps
        self._housekeeping = housekeeping
        self._opening = threading.Lock()
        self._connections: dict[str, sqlite3.Connection] = {}
        self._writer = Desk(f"{path.name} writer", self._commit, lambda: self._close("w"))
        self._reader = Desk(f"{path.name} reader", self._answer, lambda: self._close("r"))

    async def read[T](self, work: Work[T]) -> T:
        """Run `work` on the thread for reads. It sees all that was written before this call."""
        return await self._reader.call(work)

    async def write[T](self, work: Work[T], *, undo: bool) -> T:
        """Run `work` in a transaction, perhaps with others; return after its commit.

        What it raises concerns it alone, and unless it never raises after it has changed something, say
        `undo`, so that this is taken back.
        """
        return await self._writer.call(_Write(work, undo))

    async def aclose(self) -> None:
        await asyncio.gather(self._writer.aclose(), self._reader.aclose())

    def _answer(self, burst: Sequence[Work[Any]]) -> list[Outcome]:
        connection = self._connection("r")
        return [self._attempt(connection, work) for work in burst]

    def _attempt(self, connection: "sqlite3.Connection", work: Work[Any]) -> Outcome:
        import sqlite3  # noqa: PLC0415 - cold start: every app has a store, few requests need it

        try:
            return work(connection)
        except sqlite3.Error as error:
            return self._unusable(error)
        except Exception as error:  # noqa: BLE001 - the caller's to hear
            return error

    def _commit(self, burst: Sequence[_Write]) -> list[Outcome]:
        connection = self._connection("w")
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._apply(connection, write) for write in burst]
            self._housekeeping(connection, len(burst))
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, none of this is on the disk
            self._close("w")  # which takes it back; the next burst opens the file again
            return [self._unusable(error) for _ in burst]
        return outcomes

    @staticmethod
    def _apply(connection: "sqlite3.Connection", write: _Write) -> Outcome:
        import sqlite3  # noqa: PLC0415 - as above

        if write.undo:
            connection.execute("SAVEPOINT write")
        try:
            outcome = write.work(connection)
        except sqlite3.Error:
            raise  # the file's trouble, hence everybody's
        except Exception as error:  # noqa: BLE001 - the caller's to hear
            outcome = error
            if write.undo:
                connection.execute("ROLLBACK TO write")
        if write.undo:
            connection.execute("RELEASE write")
        return outcome

    def _unusable(self, error: Exception) -> UnavailableError:
        told = UnavailableError(f"{self._path.name} cannot be used: {error}")
        told.__cause__ = error
        return told

    def _connection(self, kind: str) -> "sqlite3.Connection":
        if kind not in self._connections:
            with self._opening:
                self._connections[kind] = _open(self._path, self._steps)
        return self._connections[kind]

    def _close(self, kind: str) -> None:
        if kind in self._connections:
            self._connections.pop(kind).close()


def _open(path: Path, steps: Sequence[Sequence[str]]) -> "sqlite3.Connection":
    import sqlite3  # noqa: PLC0415 - as above

    with ExitStack() as undo:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = undo.enter_context(closing(sqlite3.connect(path, isolation_level=None, timeout=5)))
            _refuse_newer(path, connection, len(steps))
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if _format(connection) < len(steps):  # else there is no need to wait for a writer
                _migrate(connection, steps)
        except (sqlite3.Error, OSError) as error:
            raise UnavailableError(f"{path.name} cannot be opened: {error}") from error
        undo.pop_all()
        return connection


def _migrate(connection: "sqlite3.Connection", steps: Sequence[Sequence[str]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for step in steps[_format(connection) :]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(steps)}")
    connection.execute("COMMIT")


def _format(connection: "sqlite3.Connection") -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _refuse_newer(path: Path, connection: "sqlite3.Connection", newest: int) -> None:
    if (found := _format(connection)) > newest:
        raise InvalidError(f"{path.name} is of a newer Loom (format {found}, not {newest})")
