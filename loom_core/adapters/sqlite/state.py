"""StateStore on one SQLite file: a write returns when its transaction is on the disk."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from loom_core.adapters.limits import check_address, check_batch
from loom_core.adapters.sqlite.file import SqliteFile
from loom_core.errors import ConflictError
from loom_core.ports.state import MAX_QUERIED, Delete, Document, Fence, Operation, Put

if TYPE_CHECKING:
    import sqlite3

_STEPS: Final = (
    (
        """
        CREATE TABLE documents (
            partition TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, etag TEXT NOT NULL,
            PRIMARY KEY (partition, id)
        ) STRICT
        """,
    ),
    (
        "ALTER TABLE documents ADD COLUMN expires_at REAL NOT NULL DEFAULT 9e999",
        "CREATE INDEX documents_expiring ON documents (expires_at) WHERE expires_at < 9e999",
    ),
)
_PURGE = """
DELETE FROM documents WHERE rowid IN (
    SELECT rowid FROM documents WHERE expires_at <= ? AND expires_at < 9e999 LIMIT ?
)
"""
_PURGED = 100
"""Expired documents that a transaction deletes, besides as many as could come with its writes."""
_READ = "SELECT id, body, etag FROM documents WHERE partition = ? AND id = ? AND expires_at > ?"
_QUERY = """
SELECT id, body, etag FROM documents
WHERE partition = ? AND id >= ? AND id < ? AND id > ? AND expires_at > ? ORDER BY id LIMIT ?
"""
_PUT = """
INSERT INTO documents VALUES (:partition, :id, :body, :etag, :expires) ON CONFLICT (partition, id)
DO UPDATE SET body = excluded.body, etag = excluded.etag, expires_at = excluded.expires_at
"""
_PUT_IF_ABSENT = f"{_PUT} WHERE documents.expires_at <= :now"
_PUT_IF_MATCH = """
UPDATE documents SET body = :body, etag = :etag, expires_at = :expires
WHERE partition = :partition AND id = :id AND etag = :old AND expires_at > :now
"""
_FENCE = f"""{_PUT}
WHERE documents.expires_at <= :now OR json_extract(documents.body, '$.token') <= :token
"""
_DELETE = """
DELETE FROM documents
WHERE partition = :partition AND id = :id AND etag = coalesce(:old, etag) AND expires_at > :now
"""
_PAST_EVERY_ID = "\x7f"


class SqliteStateStore:
    """`clock` gives seconds since the epoch, by which documents expire. Call `aclose` when done."""

    def __init__(
        self,
        path: Path,
        new_etag: Callable[[], str] = lambda: uuid4().hex,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the documents in this file, which need not exist.

        Every method also raises InvalidError for a file of a newer Loom.
        """
        self._new_etag = new_etag
        self._clock = clock
        self._file = SqliteFile(path, _STEPS, self._purge)

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - the port's name
        check_address(partition, id)
        values = (partition, id, self._clock())
        rows = await self._file.read(lambda connection: connection.execute(_READ, values).fetchall())
        return next(map(_document, rows), None)

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        bodies = check_batch(partition, operations)
        pairs = [*zip(operations, bodies, strict=True)]
        now = self._clock()

        def apply(connection: "sqlite3.Connection") -> tuple[str | None, ...]:
            return tuple([self._apply(connection, partition, op, body, now) for op, body in pairs])

        return await self._file.write(apply, undo=any(map(_is_conditional, operations[1:])))

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        check_address(partition)
        bounds = (partition, prefix, prefix + _PAST_EVERY_ID, after)
        values = (*bounds, self._clock(), max(0, min(limit, MAX_QUERIED)))
        rows = await self._file.read(lambda connection: connection.execute(_QUERY, values).fetchall())
        return [*map(_document, rows)]

    async def aclose(self) -> None:
        await self._file.aclose()

    def _apply(
        self, connection: "sqlite3.Connection", partition: str, operation: Operation, body: str, now: float
    ) -> str | None:
        """Let the condition be part of the statement: a row count of 0 is the conflict."""
        etag = None if isinstance(operation, Delete) else self._new_etag()
        values = {"partition": partition, "id": operation.id, "now": now, "body": body, "etag": etag}
        match operation:
            case Fence():
                values |= {"token": operation.token, "expires": float("inf")}
            case Put():
                expires = now + operation.ttl if operation.ttl else float("inf")
                values |= {"old": operation.if_match, "expires": expires}
            case Delete():
                values |= {"old": operation.if_match}
        if connection.execute(_statement(operation), values).rowcount == 0:
            raise ConflictError(f"document {operation.id} is not as the operation expects it")
        return etag

    def _purge(self, connection: "sqlite3.Connection", writes: int) -> None:
        connection.execute(_PURGE, (self._clock(), _PURGED + writes))


def _document(row: tuple[str, str, str]) -> Document:
    id_, body, etag = row
    return Document(id_, json.loads(body), etag)


def _is_conditional(operation: Operation) -> bool:
    return not isinstance(operation, Put) or operation.if_absent or operation.if_match is not None


def _statement(operation: Operation) -> str:
    match operation:
        case Delete():
            return _DELETE
        case Fence():
            return _FENCE
        case Put(if_absent=True):
            return _PUT_IF_ABSENT
        case Put(if_match=None):
            return _PUT
        case Put():
            return _PUT_IF_MATCH
