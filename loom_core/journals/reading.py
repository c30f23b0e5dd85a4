"""Reading a journal: what happened, in order, wherever it is kept; and what the state was at any point."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from loom_core.errors import IntegrityError, InvalidError
from loom_core.journals.documents import BUCKET, DOCUMENT_ENTRIES, key, partition
from loom_core.journals.states import replay
from loom_core.payloads import fetch
from loom_core.ports.blobs import BlobStore
from loom_core.ports.state import StateStore
from loom_core.wire.json import Json, dump

type Entry = dict[str, Any]
type Replace = Callable[[Json], Awaitable[Json]]

SEGMENT_ENTRIES = 1_000
MAX_ENTRIES = 1_000
PAGE_DOCUMENTS = 32
_BUCKETS_AT_ONCE = 10


class Reader:
    """Reads up to the `upto` it is given: the store may be ahead of the entity, whose count is the truth."""

    def __init__(self, state: StateStore, blobs: BlobStore, resolve: Replace) -> None:
        self._state = state
        self._blobs = blobs
        self._resolve = resolve

    async def entries(self, actor: str, after: int, limit: int, upto: int) -> tuple[list[Entry], int | None]:
        """Up to `limit` entries (at most MAX_ENTRIES) after a seq, and the `after` of the next page, if any.

        Raises IntegrityError for an entry that is not there.
        """
        found: list[Entry] = []
        after = max(0, after)
        wanted = min(upto, after + max(1, min(limit, MAX_ENTRIES)))
        async for stored in self._stored(actor, after + 1, wanted):
            found += await self._whole(stored)
        return found, wanted if after < wanted < upto else None

    async def state_at(self, actor: str, seq: int, upto: int) -> Json:
        """The state when entry `seq` had been written: null at 0, where every journal begins.

        Raises InvalidError for a seq outside of 0 to `upto`.
        """
        if not 0 <= seq <= upto:
            raise InvalidError(f"the journal has entries 1 to {upto}, not {seq}")
        start, state = await self._snapshot(actor, seq)
        return await self.replayed(actor, state, start, seq)

    async def replayed(self, actor: str, state: Json, start: int, end: int) -> Json:
        """The state that the entries after `start`, up to `end`, make of this one."""
        async for stored in self._stored(actor, start + 1, end):
            state = replay(state, await self._whole(stored))
        return state

    async def export(self, actor: str, upto: int) -> AsyncIterator[bytes]:
        """The whole history as JSON Lines, a few hundred entries at a time."""
        async for stored in self._stored(actor, 1, upto):
            yield "".join(f"{dump(entry)}\n" for entry in await self._whole(stored)).encode()

    async def segments(self, actor: str, seq: int) -> list[tuple[int, int, str]]:
        """First, last and blob of the archived segments around this seq, in order."""
        before = key("a", max(0, seq - SEGMENT_ENTRIES - DOCUMENT_ENTRIES))
        found = await self._state.query(partition(actor), "a:", after=before, limit=DOCUMENT_ENTRIES)
        return [(held.body["first"], held.body["last"], held.body["blob"]) for held in found]  # type: ignore[misc]

    async def _whole(self, stored: list[Entry]) -> list[Entry]:
        """Put long strings back, and entries that were too long for a document."""
        resolved: Any = await self._resolve(stored)
        return [json.loads(entry["$entry"]) if "$entry" in entry else entry for entry in resolved]

    async def _stored(self, actor: str, first: int, last: int) -> AsyncIterator[list[Entry]]:
        """The entries from first to last, none missing and none twice, as they are stored, in chunks."""
        while first <= last:
            chunk = await self._live(actor, first) or await self._archived(actor, first)
            chunk = [entry for entry in chunk if first <= entry["seq"] <= last]
            if [entry["seq"] for entry in chunk] != list(range(first, first + len(chunk))) or not chunk:
                raise IntegrityError(f"entry {first} of the journal of {actor} is missing")
            yield chunk
            first += len(chunk)

    async def _live(self, actor: str, first: int) -> list[Entry]:
        """What the documents hold from this entry on: it mostly begins one, since reading goes on from there.

        They are asked before the archive: compaction lets go of a document when the segment is known.
        """
        found: list[Entry] = []
        for before, limit in ((1, PAGE_DOCUMENTS), (DOCUMENT_ENTRIES, DOCUMENT_ENTRIES)):
            after = key("j", max(0, first - before))
            for held in await self._state.query(partition(actor), "j:", after=after, limit=limit):
                body: Any = held.body
                if body["first"] <= first + len(found) <= body["last"]:
                    found += [entry for entry in body["entries"] if entry["seq"] >= first]
            if found:
                break
        return found

    async def _archived(self, actor: str, first: int) -> list[Entry]:
        for start, end, blob in await self.segments(actor, first):
            if start <= first <= end:
                lines = (await self._blobs.get(blob)).data.splitlines()
                return [json.loads(line) for line in lines[first - start :]]
        return []

    async def _snapshot(self, actor: str, seq: int) -> tuple[int, Json]:
        """The last snapshot at or before this seq: its own seq and the state; null at 0 if there is none."""
        end = seq // BUCKET
        while end >= 0:
            start = max(0, end - _BUCKETS_AT_ONCE + 1)
            after = key("s", start - 1) if start else ""
            found = await self._state.query(partition(actor), "s:", after=after, limit=end - start + 1)
            for held in reversed(found):
                body: Any = held.body
                if body["seq"] <= seq:
                    if "state" in body:
                        return body["seq"], body["state"]
                    return body["seq"], json.loads(await fetch(self._blobs, body["ref"]))
            end = start - 1
        return 0, None
