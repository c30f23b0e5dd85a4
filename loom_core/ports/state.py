"""StateStore: JSON documents in partitions; the documents of one partition change together or not at all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import JsonObject, dump

MAX_OPERATIONS = 100
MAX_BATCH_BYTES = 2 * 1024 * 1024
MAX_QUERIED = 1_000

# ASCII only, so that every store sorts ids alike; without what Cosmos DB refuses in an id.
_ID = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?\Z")
_FORBIDDEN = frozenset("/\\?#")


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    body: JsonObject
    etag: str


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document whole: only if there is none (`if_absent`), only over `if_match`, or anyway."""

    id: str
    body: JsonObject
    if_absent: bool = False
    if_match: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a document; one that is missing, or has another etag than `if_match`, is a conflict."""

    id: str
    if_match: str | None = None


type Operation = Put | Delete


class StateStore(Protocol):
    """Every method raises InvalidError for a bad address, UnavailableError if the store cannot be reached."""

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - as Document has it
        ...

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        """Apply the operations in order, all or none, durably; the result is their new etags (None: deleted).

        Raises ConflictError naming the first operation whose condition fails, and InvalidError above
        MAX_OPERATIONS operations or MAX_BATCH_BYTES of JSON, or for a body that is not a JSON object.
        """
        ...

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        """The first `limit` documents (at most MAX_QUERIED) whose id begins with `prefix`, after `after`."""
        ...


def check_address(partition: str, *ids: str) -> None:
    """Refuse a partition that is not 1 to 512 printable characters, and ids not 1 to 255 of plain ASCII."""
    problems = [Problem("$", f"{id_[:255]!r} is not a document id") for id_ in ids if not _is_id(id_)]
    if not (0 < len(partition) <= 512 and partition.isprintable()):
        problems.append(Problem("$", f"{partition[:512]!r} is not a partition"))
    if problems:
        raise InvalidError(problems)


def check_batch(partition: str, operations: Sequence[Operation]) -> list[str]:
    """Check a batch against the port's limits; the result is the JSON of each body (`""` for a Delete)."""
    check_address(partition, *(operation.id for operation in operations))
    puts = [operation for operation in operations if isinstance(operation, Put)]
    if any(put.if_absent and put.if_match is not None for put in puts):
        raise InvalidError("a Put is conditional on absence or on an etag, not on both")
    if not 0 < len(operations) <= MAX_OPERATIONS:
        raise InvalidError(f"a batch has 1 to {MAX_OPERATIONS} operations, this one has {len(operations)}")
    try:
        bodies = [dump(operation.body) if isinstance(operation, Put) else "" for operation in operations]
        size = sum(len(body.encode()) for body in bodies)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"a document is not plain JSON: {error}") from None
    if size > MAX_BATCH_BYTES:
        raise InvalidError(f"a batch has at most {MAX_BATCH_BYTES} bytes of JSON, this one has {size}")
    return bodies


def _is_id(id_: str) -> bool:
    return bool(_ID.match(id_)) and _FORBIDDEN.isdisjoint(id_)
