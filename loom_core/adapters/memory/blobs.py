"""Blobs in a dictionary."""

import hashlib
from collections.abc import Sequence

from loom_core.adapters.limits import check_blob, check_name
from loom_core.errors import ConflictError, NotFoundError
from loom_core.ports.blobs import MAX_LISTED, Blob


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
