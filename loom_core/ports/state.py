"""StateStore: JSON documents in partitions; the documents of one partition change together or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loom_core.wire.json import JsonObject

MAX_OPERATIONS = 100
# Cosmos DB takes requests of 2 MB; the rest is for ids, etags and what the wire adds.
MAX_BATCH_BYTES = 2 * 1024 * 1024 - 64 * 1024
MAX_QUERIED = 1_000


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    body: JsonObject
    etag: str


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document whole: only if there is none (`if_absent`), only over `if_match`, or anyway.

    After `ttl` seconds (1 and more) it is gone as if deleted, unless a later Put says otherwise; None: never.
    """

    id: str
    body: JsonObject
    if_absent: bool = False
    if_match: str | None = None
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a document; one that is missing, or has another etag than `if_match`, is a conflict."""

    id: str
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """Let the batch through only if no greater token was ever here: see `Lock.token`.

    The document `id` keeps the greatest as `{"token": n}`; leave it to fences alone.
    """

    id: str
    token: int


type Operation = Put | Delete | Fence


class StateStore(Protocol):
    r"""Every method raises InvalidError for a bad address, UnavailableError if the store cannot be reached.

    A partition is 1 to 512 printable characters. An id is 1 to 255 of plain ASCII without `/\?#`, and so
    sorts alike everywhere. What was written is read by whoever reads after the write returned.
    """

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - as Document has it
        ...

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        """Apply the operations in order, all or none, durably; the result is their new etags (None: deleted).

        Raises ConflictError naming the first operation whose condition fails: the document exists (Cosmos
        DB's 409), has another etag or a greater token (412), or is not there to match or delete (404). Raises
        InvalidError above
        MAX_OPERATIONS operations or MAX_BATCH_BYTES of JSON, or for a body that is not a JSON object.
        After UnavailableError the batch is applied whole or not at all, and only reading tells which.
        """
        ...

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        """The first `limit` documents (at most MAX_QUERIED) whose id begins with `prefix`, after `after`."""
        ...
