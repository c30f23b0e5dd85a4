"""Documents in dictionaries."""

import heapq
import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import uuid4

from loom_core.adapters.limits import check_address, check_batch
from loom_core.errors import ConflictError, InvalidError
from loom_core.ports.state import MAX_QUERIED, Delete, Document, Fence, Operation, Put

_PURGED = 100
"""Expired documents that a write deletes besides as many as it has operations."""


class _Held(NamedTuple):
    """JSON text, so that no caller shares an object with the store."""

    body: str
    etag: str
    expires: float
    change: int


class MemoryStateStore:
    """`clock` gives seconds since the epoch, by which documents expire."""

    def __init__(
        self, new_etag: Callable[[], str] = lambda: uuid4().hex, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._partitions: dict[str, dict[str, _Held]] = {}
        self._expiring: list[tuple[float, str, str]] = []
        self._changes = 0
        self._new_etag = new_etag
        self._clock = clock

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - the port's name
        check_address(partition, id)
        held = self._held(partition, id, self._clock())
        return _document(id, held) if held else None

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        bodies = check_batch(partition, operations)
        now = self._clock()
        changed: dict[str, _Held | None] = {}
        etags: list[str | None] = []
        for operation, body in zip(operations, bodies, strict=True):
            id_ = operation.id
            held = changed[id_] if id_ in changed else self._held(partition, id_, now)
            _check_condition(operation, held)
            if isinstance(operation, Delete):
                changed[id_] = None
            else:
                ttl = operation.ttl if isinstance(operation, Put) else None
                expires = now + ttl if ttl else float("inf")
                self._changes += 1
                changed[id_] = _Held(body, self._new_etag(), expires, self._changes)
            etags.append(None if (new := changed[id_]) is None else new.etag)
        self._apply(partition, changed)
        self._purge(now, _PURGED + len(operations))
        return tuple(etags)

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        check_address(partition)
        now = self._clock()
        live = {id_: held for id_, held in self._partitions.get(partition, {}).items() if held.expires > now}
        ids = sorted(id_ for id_ in live if id_.startswith(prefix) and id_ > after)
        return [_document(id_, live[id_]) for id_ in ids[: max(0, min(limit, MAX_QUERIED))]]

    async def changes(
        self, prefix: str, cursor: str | None, limit: int = 100
    ) -> tuple[list[tuple[str, Document]], str]:
        """As ChangeFeed.changes."""
        since, now = self._changes if cursor is None else _read_cursor(cursor), self._clock()
        later = sorted(
            (held.change, partition, id_, held)
            for partition, documents in self._partitions.items()
            for id_, held in documents.items()
            if held.change > since and held.expires > now and id_.startswith(prefix)
        )[: max(1, min(limit, MAX_QUERIED))]
        found = [(partition, _document(id_, held)) for _, partition, id_, held in later]
        return found, str(later[-1][0] if later else self._changes)

    def _held(self, partition: str, id_: str, now: float) -> _Held | None:
        held = self._partitions.get(partition, {}).get(id_)
        return held if held and held.expires > now else None

    def _apply(self, partition: str, changed: dict[str, _Held | None]) -> None:
        documents = self._partitions.setdefault(partition, {})
        for id_, held in changed.items():
            if held is None:
                documents.pop(id_, None)
                continue
            documents[id_] = held
            if held.expires < float("inf"):
                heapq.heappush(self._expiring, (held.expires, partition, id_))
        if not documents:
            del self._partitions[partition]

    def _purge(self, now: float, limit: int) -> None:
        for _ in range(limit):
            if not self._expiring or self._expiring[0][0] > now:
                return
            _, partition, id_ = heapq.heappop(self._expiring)
            held = self._partitions.get(partition, {}).get(id_)
            if held and held.expires <= now:
                self._apply(partition, {id_: None})


def _read_cursor(cursor: str) -> int:
    try:
        return int(cursor)
    except ValueError:
        raise InvalidError("this is no cursor of this store's change feed") from None


def _document(id_: str, held: _Held) -> Document:
    return Document(id_, json.loads(held.body), held.etag)


def _check_condition(operation: Operation, held: _Held | None) -> None:
    if isinstance(operation, Fence):
        if held and json.loads(held.body)["token"] > operation.token:
            raise ConflictError(f"document {operation.id} has a greater token than {operation.token}")
        return
    etag = held.etag if held else None
    if isinstance(operation, Put) and operation.if_absent and etag is not None:
        raise ConflictError(f"document {operation.id} exists")
    if etag is None and isinstance(operation, Delete):
        raise ConflictError(f"document {operation.id} is not there to delete")
    if operation.if_match is not None and operation.if_match != etag:
        raise ConflictError(f"document {operation.id} has changed")
