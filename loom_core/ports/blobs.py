"""BlobStore: immutable-looking bytes under a name, replaced whole, guarded by an etag."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_BLOB_BYTES = 64 * 1024 * 1024
MAX_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class Blob:
    data: bytes
    etag: str


class BlobStore(Protocol):
    """Every method raises InvalidError for a bad name, UnavailableError when the store cannot be reached.

    A name is `/`-joined segments of `A-Za-z0-9._-`, none beginning with a dot or a dash, 200 characters.
    """

    async def put(
        self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Write the whole blob, durably, and return its etag.

        Raises ConflictError when `if_absent` and it exists, or when its etag is not `if_match` (a missing
        blob matches nothing), and InvalidError above MAX_BLOB_BYTES.
        After UnavailableError it may have been written: only reading tells.
        """
        ...

    async def get(self, name: str) -> Blob:
        """Raises NotFoundError."""
        ...

    async def head(self, name: str) -> str | None:
        """The etag, or None when there is no such blob."""
        ...

    async def delete(self, name: str) -> None:
        """Delete it if it is there."""
        ...

    async def list(self, prefix: str = "", *, limit: int = MAX_LISTED, after: str = "") -> Sequence[str]:
        """The first `limit` names (at most MAX_LISTED) beginning with `prefix`, after `after`, in order."""
        ...
