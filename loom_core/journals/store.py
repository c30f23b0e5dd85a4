"""Journals: what an actor's entity writes to the store before it commits itself, and reads again."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import batched
from typing import Any

from loom_core.errors import ConflictError, NotFoundError
from loom_core.journals.archive import compact
from loom_core.journals.documents import (
    BUCKET,
    DOCUMENT_BYTES,
    REFER_BYTES,
    Batch,
    Written,
    check,
    id_key,
    key,
    partition,
    parts,
    represent,
    size,
    write,
)
from loom_core.journals.reading import Entry, Reader, Replace
from loom_core.journals.states import RecentStates, replay
from loom_core.payloads import fetch, store
from loom_core.ports.blobs import BlobStore
from loom_core.ports.state import Delete, Document, Operation, Put, StateStore
from loom_core.wire.json import Json, JsonObject, dump

RECENT_HEADS = 10_000
RECENT_BYTES = 64 * 1024 * 1024
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _Head:
    etag: str
    batch: str


class Journals:
    """One process's way to the journals of all actors.

    A state that goes in or comes out is frozen from then on: neither side changes it, and patches share it.
    """

    def __init__(self, state: StateStore, blobs: BlobStore, refer: Replace, resolve: Replace) -> None:
        """`refer` puts long strings of a value elsewhere, `resolve` puts them back."""
        self._state = state
        self._blobs = blobs
        self._refer = refer
        self._resolve = resolve
        self._reader = Reader(state, blobs, resolve)
        self._heads: OrderedDict[str, _Head] = OrderedDict()
        self._recent = RecentStates(RECENT_BYTES)

    async def commit(self, actor: str, batch: Batch) -> JsonObject:
        """Write the batch, durably; the result is what the entity keeps instead of its state.

        What an earlier batch left that its entity never committed is overwritten. The same batch twice is
        harmless. Raises ConflictError when a later commit of the entity has written already: then this
        process is not the entity's any more. Raises UnavailableError when it may or may not be written: give
        the entries again, with more if there are, at the same `seq_before`. Raises InvalidError for what can
        never be written.
        """
        check(batch)
        batch = await self._shortened(batch)
        kept, snapshot = represent(batch)
        if snapshot:
            await store(self._blobs, snapshot.name, snapshot.data)
        written = write(batch, kept)
        head = await self._write(actor, batch, written)
        self._heads[actor] = head
        self._heads.move_to_end(actor)
        if len(self._heads) > RECENT_HEADS:
            self._heads.popitem(last=False)
        if "ref" in kept:
            self._recent.put(actor, str(written.kept["batch"]), batch.state, kept["bytes"] + kept["since"])
        return written.kept

    async def load(
        self, actor: str, kept: Mapping[str, Any] | None, seq: int, tail: Sequence[Mapping[str, Any]] = ()
    ) -> Json:
        """The state after entry `seq`: `kept` as `commit` returned it, and the entries not stored yet."""
        return replay(await self._load(actor, kept or {"inline": None}, seq - len(tail)), tail)

    async def _load(self, actor: str, kept: Mapping[str, Any], seq: int) -> Json:
        if "inline" in kept:
            return kept["inline"]
        if recent := self._recent.get(actor, kept["batch"]):
            return recent[0]
        snapshot = json.loads(await fetch(self._blobs, kept["ref"]))
        state = await self._reader.replayed(actor, snapshot, kept["seq"], seq)
        self._recent.put(actor, kept["batch"], state, kept["bytes"] + kept["since"])
        return state

    async def entries(self, actor: str, after: int, limit: int, upto: int) -> tuple[list[Entry], int | None]:
        """As Reader.entries; `upto` counts what the entity knows to be stored, without its tail."""
        return await self._reader.entries(actor, after, limit, upto)

    async def state_at(self, actor: str, seq: int, upto: int) -> Json:
        """As Reader.state_at."""
        return await self._reader.state_at(actor, seq, upto)

    def export(self, actor: str, upto: int) -> AsyncIterator[bytes]:
        """As Reader.export."""
        return self._reader.export(actor, upto)

    async def compact(self, actor: str, upto: int) -> int:
        """Archive old entries, and say how many: see archive.compact."""
        return await compact(self._state, self._blobs, self._reader, actor, upto)

    async def seen(self, actor: str, ids: Sequence[str]) -> set[str]:
        """Which of these message ids were stored in the last 24 hours.

        Some may be of a batch that is still to be done again: then their messages are sure to be.
        """
        found: set[str] = set()
        for group in batched(ids, _AT_ONCE, strict=False):
            held = await asyncio.gather(*(self._state.read(partition(actor), id_key(id_)) for id_ in group))
            found.update(id_ for id_, document in zip(group, held, strict=True) if document)
        return found

    async def chunk(self, actor: str, number: int) -> list[Json]:
        """A part of the mailbox that did not fit the entity. Raises NotFoundError."""
        held = await self._state.read(partition(actor), key("m", number))
        if held is None:
            raise NotFoundError(f"there is no chunk {number} of the mailbox of {actor}")
        body: Any = await self._resolve(held.body)
        return body["messages"]

    async def outbox(self, actor: str, after: int, limit: int, upto: int) -> list[tuple[int, JsonObject]]:
        """Messages on their way to queues, by the seq of their entry, after one and up to another."""
        held = await self._state.query(partition(actor), "o:", after=key("o", max(0, after)), limit=limit)
        due = [document for document in held if document.id <= key("o", upto)]
        bodies: Any = await self._resolve([document.body for document in due])
        return [(int(document.id[2:]), body) for document, body in zip(due, bodies, strict=True)]

    async def _shortened(self, batch: Batch) -> Batch:
        content: Any = [batch.entries, batch.outbox, list(batch.chunks_put.values())]
        if size(content) <= REFER_BYTES:
            return batch
        return replace(
            batch,
            entries=[await self._entry(entry) for entry in batch.entries],
            outbox=[(seq, await self._short(message)) for seq, message in batch.outbox],
            chunks_put={number: await self._short(chunk) for number, chunk in batch.chunks_put.items()},
        )

    async def _entry(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """An entry that no document can hold is a string that is referred to, as far as reading goes."""
        if size(entry) <= REFER_BYTES:
            return entry
        short: Any = await self._refer(entry)
        if size(short) <= DOCUMENT_BYTES // 2:
            return short
        whole = await self._refer(dump(entry))
        return {"seq": entry["seq"], "type": entry["type"], "at": entry.get("at"), "$entry": whole}

    async def _short(self, value: Any) -> Any:
        return value if size(value) <= REFER_BYTES else await self._refer(value)

    async def _write(self, actor: str, batch: Batch, written: Written) -> _Head:
        """Write at once over the head of the commit before, if nobody wrote since; else look first."""
        known = self._heads.pop(actor, None)
        operations: list[Operation] = [*written.puts, *map(Delete, written.deleted)]
        groups = list(parts(operations, size(written.head)))
        if known and known.batch == batch.stored and len(groups) == 1:
            head = Put("head", written.head, if_match=known.etag)
            with suppress(ConflictError):
                return await self._put_head(actor, head, operations)
            held = await self._state.read(partition(actor), "head")
            if held is None or held.etag != known.etag:
                # Another process serves this batch, or has gone on; if it is dead, it loses the next time.
                raise ConflictError(f"{actor} was written by another process")
        return await self._overwrite(actor, batch, written)

    async def _overwrite(self, actor: str, batch: Batch, written: Written) -> _Head:
        held = await self._state.read(partition(actor), "head")
        body: Any = held.body if held else {"base": -1, "batch": None}
        if held and body["batch"] == written.head["batch"] and "writing" not in body:
            return _Head(held.etag, body["batch"])
        if (base := max(body["base"], body.get("writing", -1))) > batch.base:
            raise ConflictError(f"{actor} has gone on elsewhere, to commit {base}")
        puts = {put.id for put in written.puts}
        clean = body["batch"] == batch.stored and "writing" not in body
        stale = [] if clean else await self._stale(actor, batch)
        gone = [id_ for id_ in {*stale, *await self._existing(actor, written.deleted)} if id_ not in puts]
        return await self._in_parts(actor, batch, written, [*map(Delete, sorted(gone)), *written.puts], held)

    async def _in_parts(
        self, actor: str, batch: Batch, written: Written, operations: list[Operation], held: Document | None
    ) -> _Head:
        """Write the head last; the parts before it say whose they are in the old head, and hold its etag."""
        body = {"base": -1, "seq": 0, "batch": None, **(held.body if held else {}), "writing": batch.base}
        etag = held.etag if held else None
        *before, last = parts(operations, max(size(body), size(written.head)))
        for part in before:
            mark = Put("head", body, if_absent=etag is None, if_match=etag)
            etag = (await self._state.write(partition(actor), [*part, mark]))[-1]
        head = Put("head", written.head, if_absent=etag is None, if_match=etag)
        return await self._put_head(actor, head, last)

    async def _put_head(self, actor: str, head: Put, operations: list[Operation]) -> _Head:
        etag = (await self._state.write(partition(actor), [*operations, head]))[-1]
        return _Head(str(etag), str(head.body["batch"]))

    async def _stale(self, actor: str, batch: Batch) -> list[str]:
        """What batches have written that the entity never committed."""
        seq = batch.seq_before
        stale = [held.id for kind in "jo" for held in await self._after(actor, kind, seq)]
        snapshots: list[Any] = await self._after(actor, "s", seq // BUCKET - 1)
        return stale + [held.id for held in snapshots if held.body["seq"] > seq]

    async def _after(self, actor: str, kind: str, number: int) -> list[Document]:
        found: list[Document] = []
        after = key(kind, number) if number >= 0 else ""
        while page := await self._state.query(partition(actor), f"{kind}:", after=after):
            found += page
            after = page[-1].id
        return found

    async def _existing(self, actor: str, ids: Sequence[str]) -> list[str]:
        found: list[str] = []
        for group in batched(ids, _AT_ONCE, strict=False):
            held = await asyncio.gather(*(self._state.read(partition(actor), id_) for id_ in group))
            found += [document.id for document in held if document]
        return found
