"""The archive: old entries leave the StateStore for blobs, a segment at a time, losing none on the way."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import batched
from typing import Any

from loom_core.errors import ConflictError
from loom_core.journals.documents import key, partition
from loom_core.journals.reading import SEGMENT_ENTRIES, Reader
from loom_core.ports.blobs import BlobStore
from loom_core.ports.state import MAX_OPERATIONS, Delete, Document, Put, StateStore
from loom_core.wire.json import dump

LIVE_ENTRIES = 1_000
SEGMENT_BYTES = 4 * 1024 * 1024
_PAGE = 32


async def compact(state: StateStore, blobs: BlobStore, reader: Reader, actor: str, upto: int) -> int:
    """Move whole segments of entries older than the newest LIVE_ENTRIES of `upto`; the result is how many.

    A segment is written, then pointed to, then its documents are deleted: wherever that ends, the next call
    goes on from there, and two at once do the same twice.
    """
    moved = 0
    while segment := await _segment(state, actor, upto - LIVE_ENTRIES):
        first, last = _of(segment[0])[0], _of(segment[-1])[1]
        archived = [end for _, end, _ in await reader.segments(actor, first) if end >= first]
        if archived:  # the last call ended before it could delete
            segment = [held for held in segment if _of(held)[1] <= max(archived)]
        else:
            await _archive(state, blobs, actor, segment)
            moved += last - first + 1
        await _delete(state, actor, segment)
    return moved


def _of(held: Document) -> tuple[int, int]:
    body: Any = held.body
    return body["first"], body["last"]


async def _segment(state: StateStore, actor: str, horizon: int) -> list[Document]:
    """The oldest documents that make a whole segment, none past the horizon; none if they are too few."""
    segment: list[Document] = []
    entries = size = 0
    after = ""
    while page := await state.query(partition(actor), "j:", limit=_PAGE, after=after):
        for held in page:
            first, last = _of(held)
            if last > horizon or (segment and first != _of(segment[-1])[1] + 1):
                return []  # across a gap, which is another call's or damage, no segment reaches
            segment.append(held)
            entries += last - first + 1
            size += len(dump(held.body))
            if entries >= SEGMENT_ENTRIES or size >= SEGMENT_BYTES:
                return segment
        after = page[-1].id
    return []


async def _archive(state: StateStore, blobs: BlobStore, actor: str, segment: Sequence[Document]) -> None:
    first, last = _of(segment[0])[0], _of(segment[-1])[1]
    bodies: list[Any] = [held.body for held in segment]
    lines = "".join(f"{dump(entry)}\n" for body in bodies for entry in body["entries"])
    blob = f"journals/{hashlib.sha256(actor.encode()).hexdigest()}/{first}-{last}.jsonl"
    with suppress(ConflictError):  # the same entries are there already
        await blobs.put(blob, lines.encode(), if_absent=True)
    await state.write(partition(actor), [Put(key("a", first), {"first": first, "last": last, "blob": blob})])


async def _delete(state: StateStore, actor: str, segment: Sequence[Document]) -> None:
    for group in batched(segment, MAX_OPERATIONS, strict=False):
        try:
            await state.write(partition(actor), [Delete(held.id) for held in group])
        except ConflictError:  # some are gone already
            await asyncio.gather(*(_delete_one(state, actor, held) for held in group))


async def _delete_one(state: StateStore, actor: str, held: Document) -> None:
    with suppress(ConflictError):
        await state.write(partition(actor), [Delete(held.id)])
