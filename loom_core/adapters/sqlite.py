"""StateStore on one SQLite file: a write returns when its transaction is on the disk."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from loom_core.errors import ConflictError, InvalidError, UnavailableError
from loom_core.ports.state import MAX_QUERIED, Delete, Document, Operation, Put, check_address, check_batch

if TYPE_CHECKING:
    import sqlite3

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    partition TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, etag TEXT NOT NULL,
    PRIMARY KEY (partition, id)
) STRICT
"""
_PAST_EVERY_ID = "\x7f"


class SqliteStateStore:
    """One connection on one thread of its own, opened when it is first needed; call `aclose` when done."""

    def __init__(self, path: Path, new_etag: Callable[[], str] = lambda: uuid4().hex) -> None:
        """Keep the documents in this file, which need not exist.

        Every method also raises InvalidError for a file of a newer Loom.
        """
        self._path = path
        self._new_etag = new_etag
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loom-state")

    @cached_property
    def _connection(self) -> "sqlite3.Connection":
        return _open(self._path)

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - the port's name
        check_address(partition, id)
        sql = "SELECT id, body, etag FROM documents WHERE partition = ? AND id = ?"
        return next(iter(await self._on_thread(self._select, sql, (partition, id))), None)

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        bodies = check_batch(partition, operations)
        return await self._on_thread(self._write, partition, operations, bodies)

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        check_address(partition)
        sql = (
            "SELECT id, body, etag FROM documents"
            " WHERE partition = ? AND id >= ? AND id < ? AND id > ? ORDER BY id LIMIT ?"
        )
        bounds = (partition, prefix, prefix + _PAST_EVERY_ID, after, max(0, min(limit, MAX_QUERIED)))
        return await self._on_thread(self._select, sql, bounds)

    async def aclose(self) -> None:
        await self._on_thread(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if "_connection" in self.__dict__:
            self._connection.close()

    async def _on_thread[T](self, work: Callable[..., T], *arguments: Any) -> T:
        import sqlite3  # noqa: PLC0415 - cold start: every app has a store, few requests need it

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.DatabaseError as error:
            raise UnavailableError(f"the state file cannot be used: {error}") from error

    def _select(self, sql: str, bounds: tuple[str | int, ...]) -> list[Document]:
        rows = self._connection.execute(sql, bounds)
        return [Document(id_, json.loads(body), etag) for id_, body, etag in rows]

    def _write(
        self, partition: str, operations: Sequence[Operation], bodies: list[str]
    ) -> tuple[str | None, ...]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            pairs = zip(operations, bodies, strict=True)
            etags = tuple(self._apply(partition, operation, body) for operation, body in pairs)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return etags

    def _apply(self, partition: str, operation: Operation, body: str) -> str | None:
        """Let the condition be part of the statement: a row count of 0 is the conflict."""
        etag = None if isinstance(operation, Delete) else self._new_etag()
        sql = _statement(operation)
        values = {
            "partition": partition,
            "id": operation.id,
            "body": body,
            "etag": etag,
            "old": operation.if_match,
        }
        if self._connection.execute(sql, values).rowcount == 0:
            raise ConflictError(f"document {operation.id} is not as the operation expects it")
        return etag


def _statement(operation: Operation) -> str:
    match operation:
        case Delete():
            return (
                "DELETE FROM documents"
                " WHERE partition = :partition AND id = :id AND etag = coalesce(:old, etag)"
            )
        case Put(if_absent=True):
            return "INSERT OR IGNORE INTO documents VALUES (:partition, :id, :body, :etag)"
        case Put(if_match=None):
            return "INSERT OR REPLACE INTO documents VALUES (:partition, :id, :body, :etag)"
        case Put():
            return (
                "UPDATE documents SET body = :body, etag = :etag"
                " WHERE partition = :partition AND id = :id AND etag = :old"
            )


def _open(path: Path) -> "sqlite3.Connection":
    import sqlite3  # noqa: PLC0415 - as above

    with ExitStack() as undo:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = undo.enter_context(closing(sqlite3.connect(path, isolation_level=None, timeout=5)))
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise InvalidError(f"{path.name} is of a newer Loom (format {version}, not {_VERSION})")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        except (sqlite3.DatabaseError, OSError) as error:
            raise UnavailableError(f"{path.name} cannot be opened: {error}") from error
        undo.pop_all()
        return connection
