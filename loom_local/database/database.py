"""The file and its single writer.

Whatever is submitted while one transaction is being synced to disk becomes the next transaction, so full
durability costs one fsync a burst, not one a message. Nothing is acknowledged before its commit, and a
commit that fails ends the process: memory that ran ahead of the disk must not go on.
"""

import asyncio
import os
import queue
import sqlite3
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from loom_local.database.migrate import DatabaseTooNewError, migrate

__all__ = ["Database", "DatabaseLockedError", "DatabaseTooNewError", "DatabaseUnusableError", "Statement"]

type Value = int | float | str | bytes | None
type Statement = tuple[str, tuple[Value, ...] | list[tuple[Value, ...]]]
"""SQL and its parameters; a list of tuples runs it once per tuple."""


class _Submission(NamedTuple):
    statements: Sequence[Statement]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[tuple[int, ...]]
    patient: bool


LARGEST_TRANSACTION = 2_000
PATIENCE = 0.003
"""Seconds for which a patient submission waits for company."""
EXIT_CODE = 74  # EX_IOERR


class _Commit(asyncio.Future[tuple[int, ...]]):
    """A commit that many may await. It cannot be cancelled: whoever gives up is told so after it."""

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - the name is asyncio's
        return False


class DatabaseLockedError(Exception):
    """Another host has the file open."""


class DatabaseUnusableError(Exception):
    """The file cannot be opened or written, or is no database."""


def stop_process(path: Path, error: Exception) -> NoReturn:
    """Say why and end the process at once: what was acknowledged is on disk, the rest never happened."""
    sys.stderr.write(
        f"loom: stopping: {path} could not be written ({error}). Nothing that was acknowledged is lost; "
        "mend the cause (a full disk?) and start again.\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Database:
    """One open file. Make it with `Database.open`."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        release: Callable[[], None],
        on_failure: Callable[[Path, Exception], NoReturn],
    ) -> None:
        self.path = path
        self.commits = 0
        """Transactions synced so far; a figure for benchmarks."""
        self._connection = connection
        self._release = release
        self._on_failure = on_failure
        self._submissions: queue.SimpleQueue[_Submission | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._closed = False
        self._writer = threading.Thread(target=self._write, name="loom-writer", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        durable: bool = True,
        on_failure: Callable[[Path, Exception], NoReturn] = stop_process,
    ) -> "Database":
        """Open or create the file, take its lock, and bring its schema up to date.

        `durable=False` leaves syncing to the operating system; only for tests. Raises DatabaseLockedError
        when another host has it open, DatabaseTooNewError when a newer Loom wrote it, DatabaseUnusableError
        when it cannot be opened or is no database.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415 - only a host opens files

        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise DatabaseLockedError(
                f"{path} is in use by another Loom host. Stop that one, or choose another folder with --data."
            ) from None
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            migrate(connection, path)
        except BaseException as error:
            connection.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise DatabaseUnusableError(
                    f"{path} cannot be used ({error}). Mend the cause, or choose another folder with --data."
                ) from error
            raise
        return cls(path, connection, lock.release, on_failure)

    def submit(
        self, statements: Sequence[Statement], *, patient: bool = False
    ) -> asyncio.Future[tuple[int, ...]]:
        """Queue the statements as one atomic unit, in order of submission.

        With `patient` they wait a moment for the next submission, to be synced with it: for what is soon
        followed by another that says more.

        The future belongs to the calling loop and ends after the commit, with each statement's row count.
        Cancelling who awaits it takes effect then. Raises RuntimeError once the file is closed.
        """
        if self._closed:
            raise RuntimeError(f"{self.path} is closed")
        loop = asyncio.get_running_loop()
        future = _Commit(loop=loop)
        self._submissions.put(_Submission(statements, loop, future, patient))
        return future

    def reader(self) -> sqlite3.Connection:
        """The calling thread's own read-only connection; it sees what is committed."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA query_only = 1")
            self._local.connection = connection
            self._readers.append(connection)
        return connection

    def close(self) -> None:
        """Commit what is queued, then close the file and give up the lock."""
        self._closed = True
        self._submissions.put(None)
        self._writer.join()
        for connection in (*self._readers, self._connection):
            connection.close()
        self._release()

    def _write(self) -> None:
        while True:
            batch = self._next_batch()
            submissions = [s for s in batch if s is not None]
            if submissions:
                try:
                    counts = self._commit(submissions)
                except Exception as error:  # noqa: BLE001 - whatever it is, going on would acknowledge a lie
                    self._on_failure(self.path, error)
                self._acknowledge(submissions, counts)
            if len(submissions) < len(batch):
                return

    def _next_batch(self) -> list[_Submission | None]:
        batch = [self._submissions.get()]
        hurry = False
        while (last := batch[-1]) is not None and len(batch) < LARGEST_TRANSACTION:
            hurry = hurry or not last.patient
            try:
                batch.append(self._submissions.get(not hurry, PATIENCE))
            except queue.Empty:
                break
        return batch

    def _commit(self, submissions: Sequence[_Submission]) -> list[tuple[int, ...]]:
        execute, executemany = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        counts = [
            tuple(
                (executemany(sql, values) if isinstance(values, list) else execute(sql, values)).rowcount
                for sql, values in statements
            )
            for statements, *_ in submissions
        ]
        execute("COMMIT")
        self.commits += 1
        return counts

    @staticmethod
    def _acknowledge(submissions: Sequence[_Submission], counts: Sequence[tuple[int, ...]]) -> None:
        by_loop: dict[
            asyncio.AbstractEventLoop, list[tuple[asyncio.Future[tuple[int, ...]], tuple[int, ...]]]
        ]
        by_loop = defaultdict(list)
        for submission, rows in zip(submissions, counts, strict=True):
            by_loop[submission.loop].append((submission.future, rows))
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, settled)
            except RuntimeError:  # that loop is closed: nobody is left to be told
                continue


def _settle(settled: Sequence[tuple[asyncio.Future[tuple[int, ...]], tuple[int, ...]]]) -> None:
    for future, rows in settled:
        if not future.done():
            future.set_result(rows)
