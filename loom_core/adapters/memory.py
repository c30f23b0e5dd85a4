"""Both stores in memory, for tests and throwaway hosts: nothing survives the process."""

import hashlib
import json
from collections.abc import Callable, Sequence
from uuid import uuid4

from loom_core.errors import ConflictError, NotFoundError
from loom_core.ports.blobs import MAX_LISTED, Blob, check_blob, check_name
from loom_core.ports.state import (
    MAX_QUERIED,
    Delete,
    Document,
    Operation,
    Put,
    check_address,
    check_batch,
)


class MemoryBlobStore:
    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}

    async def put(
        self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        check_blob(name, data)
        held = self._blobs.get(name)
        if if_absent and held:
            raise ConflictError(f"blob {name} exists")
        if if_match is not None and (held is None or held.etag != if_match):
            raise ConflictError(f"blob {name} has changed")
        blob = self._blobs[name] = Blob(bytes(data), hashlib.sha256(data).hexdigest())
        return blob.etag

    async def get(self, name: str) -> Blob:
        check_name(name)
        if name not in self._blobs:
            raise NotFoundError(f"there is no blob {name}")
        return self._blobs[name]

    async def head(self, name: str) -> str | None:
        check_name(name)
        held = self._blobs.get(name)
        return held.etag if held else None

    async def delete(self, name: str) -> None:
        check_name(name)
        self._blobs.pop(name, None)

    async def list(self, prefix: str = "", *, limit: int = MAX_LISTED, after: str = "") -> Sequence[str]:
        names = sorted(name for name in self._blobs if name.startswith(prefix) and name > after)
        return names[: max(0, min(limit, MAX_LISTED))]


class MemoryStateStore:
    """Bodies are held as JSON text, so that no caller shares an object with the store."""

    def __init__(self, new_etag: Callable[[], str] = lambda: uuid4().hex) -> None:
        self._partitions: dict[str, dict[str, tuple[str, str]]] = {}
        self._new_etag = new_etag

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - the port's name
        check_address(partition, id)
        held = self._partitions.get(partition, {}).get(id)
        return Document(id, json.loads(held[0]), held[1]) if held else None

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        bodies = check_batch(partition, operations)
        after = dict(self._partitions.get(partition, {}))
        etags: list[str | None] = []
        for operation, body in zip(operations, bodies, strict=True):
            etag = after[operation.id][1] if operation.id in after else None
            _check_condition(operation, etag)
            if isinstance(operation, Delete):
                del after[operation.id]
                etags.append(None)
            else:
                etags.append(new := self._new_etag())
                after[operation.id] = (body, new)
        self._partitions[partition] = after
        return tuple(etags)

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        check_address(partition)
        held = self._partitions.get(partition, {})
        ids = sorted(id_ for id_ in held if id_.startswith(prefix) and id_ > after)
        ids = ids[: max(0, min(limit, MAX_QUERIED))]
        return [Document(id_, json.loads(held[id_][0]), held[id_][1]) for id_ in ids]


def _check_condition(operation: Operation, etag: str | None) -> None:
    if isinstance(operation, Put) and operation.if_absent and etag is not None:
        raise ConflictError(f"document {operation.id} exists")
    if etag is None and isinstance(operation, Delete):
        raise ConflictError(f"document {operation.id} is not there to delete")
    if operation.if_match is not None and operation.if_match != etag:
        raise ConflictError(f"document {operation.id} has changed")
