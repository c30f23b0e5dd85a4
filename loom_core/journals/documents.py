"""What one batch of an actor's operations is in the StateStore: its documents, without any I/O.

An actor's partition holds `head`, `j:<first seq>` (entries of a batch), `s:<bucket>` (a snapshot), `o:<seq>`
(a message on its way to a queue), `i:<hash>` (a message id from outside), `m:<number>` (mailbox that did not
fit the entity) and `a:<first seq>` (an archived segment of the journal).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loom_core.errors import InvalidError
from loom_core.ports.state import MAX_BATCH_BYTES, MAX_OPERATIONS, Operation, Put
from loom_core.schema import encode
from loom_core.wire.json import Json, JsonObject

INLINE_BYTES = 16 * 1024
REFER_BYTES = 64 * 1024
DOCUMENT_BYTES = 256 * 1024
DOCUMENT_ENTRIES = 100
BUCKET = 100
SNAPSHOT_ENTRIES = 200
SNAPSHOT_BYTES = 64 * 1024
REMEMBERED_SECONDS = 24 * 3600
_ACTORS = "actors/"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit of an entity adds to the store.

    `base` counts the commits of the entity before this one, `seq_before` the entries stored before it, and
    `kept` is what the last `commit` returned (None at first). `entries` go on from `seq_before + 1`; those of
    type `state_patches` have the `patches` that make, of the state before (null at first), the `state` after
    all of them. `head` is shown to who looks, without the state. `outbox` are messages by the seq of their
    entry; `published` are seqs of the outbox to forget. They are forgotten, and `chunks_deleted` deleted,
    even if the entity's commit fails after this: they must have been published, and given up, before.
    """

    base: int
    seq_before: int
    kept: JsonObject | None
    entries: Sequence[Mapping[str, Any]]
    head: JsonObject
    state: Json
    outbox: Sequence[tuple[int, JsonObject]] = ()
    published: Sequence[int] = ()
    ids: Sequence[str] = ()
    chunks_put: Mapping[int, Sequence[Json]] = field(default_factory=dict[int, Sequence[Json]])
    chunks_deleted: Sequence[int] = ()

    @property
    def stored(self) -> str | None:
        """The last batch that is both in the store and committed by the entity."""
        return str(self.kept["batch"]) if self.kept else None

    @property
    def seq(self) -> int:
        return self.seq_before + len(self.entries)


@dataclass(frozen=True, slots=True)
class Written:
    """A batch as documents: what is put beside the head, what is deleted, and what the entity keeps."""

    puts: tuple[Put, ...]
    deleted: tuple[str, ...]
    head: JsonObject
    kept: JsonObject


@dataclass(frozen=True, slots=True)
class Snapshot:
    name: str
    data: bytes


def partition(actor: str) -> str:
    return f"{_ACTORS}{actor}"


def actor_of(partition: str) -> str | None:
    """Whose partition it is; None if it is no actor's."""
    return partition.removeprefix(_ACTORS) if partition.startswith(_ACTORS) else None


def key(kind: str, number: int) -> str:
    return f"{kind}:{number:020}"


def id_key(message_id: str) -> str:
    return f"i:{hashlib.sha256(message_id.encode()).hexdigest()[:32]}"


def size(value: Json) -> int:
    return len(encode(value))


def check(batch: Batch) -> None:
    """Raise InvalidError for entries that do not go on from `seq_before`."""
    if [entry.get("seq") for entry in batch.entries] != list(range(batch.seq_before + 1, batch.seq + 1)):
        raise InvalidError(f"the entries are not numbered from {batch.seq_before + 1} on")


def represent(batch: Batch) -> tuple[dict[str, Any], Snapshot | None]:
    """How the entity keeps the state: whole, or as a snapshot and the entries since; and a new snapshot.

    The state is encoded when a snapshot is due, and while it is small: a large one costs a commit nothing.
    """
    kept: dict[str, Any] = dict(batch.kept or {})
    if "ref" in kept:
        since = kept["since"] + sum(size(e) for e in batch.entries if e["type"] == "state_patches")
        if since <= max(SNAPSHOT_BYTES, kept["bytes"] // 4) and batch.seq - kept["seq"] <= SNAPSHOT_ENTRIES:
            return {**kept, "since": since}, None
    data = encode(batch.state)
    if len(data) <= INLINE_BYTES:
        return {"inline": batch.state}, None
    name = f"snapshots/{hashlib.sha256(data).hexdigest()}"
    return {"ref": name, "seq": batch.seq, "bytes": len(data), "since": 0}, Snapshot(name, data)


def write(batch: Batch, kept: dict[str, Any]) -> Written:
    """The documents of a batch whose long strings are referred to already."""
    puts = [*_journal(batch.entries), *_snapshot(batch, kept)]
    puts += [Put(key("o", seq), message) for seq, message in batch.outbox]
    puts += [Put(id_key(id_), {"id": id_[:1024]}, ttl=REMEMBERED_SECONDS) for id_ in batch.ids]
    puts += [Put(key("m", number), {"messages": chunk}) for number, chunk in batch.chunks_put.items()]
    gone = {key("o", seq) for seq in batch.published} | {key("m", number) for number in batch.chunks_deleted}
    deleted = sorted(gone - {put.id for put in puts})
    head = {**batch.head, "seq": batch.seq, "base": batch.base}
    head |= {"state": kept["inline"]} if "inline" in kept else {"snapshot": [kept["ref"], kept["seq"]]}
    content: Json = [batch.stored, head, deleted, [[put.id, put.body] for put in puts]]
    head["batch"] = hashlib.sha256(encode(content)).hexdigest()
    return Written(tuple(puts), tuple(deleted), head, {**kept, "base": batch.base, "batch": head["batch"]})


def parts(operations: Sequence[Operation], reserved: int) -> Iterator[list[Operation]]:
    """Cut operations so that each part, with a head of `reserved` bytes, fits one transactional batch."""
    part: list[Operation] = []
    room = MAX_BATCH_BYTES - reserved
    for operation in operations:
        needed = size(operation.body) if isinstance(operation, Put) else 0
        if part and (needed > room or len(part) == MAX_OPERATIONS - 1):
            yield part
            part, room = [], MAX_BATCH_BYTES - reserved
        part.append(operation)
        room -= needed
    yield part


def _journal(entries: Iterable[Mapping[str, Any]]) -> Iterator[Put]:
    group: list[Mapping[str, Any]] = []
    held = 0
    for entry in entries:
        needed = size(entry)
        if group and (held + needed > DOCUMENT_BYTES - 1024 or len(group) == DOCUMENT_ENTRIES):
            yield _entries(group)
            group, held = [], 0
        group.append(entry)
        held += needed
    if group:
        yield _entries(group)


def _entries(group: list[Mapping[str, Any]]) -> Put:
    first, last = group[0]["seq"], group[-1]["seq"]
    return Put(key("j", first), {"first": first, "last": last, "entries": group})


def _snapshot(batch: Batch, kept: Mapping[str, Any]) -> Iterator[Put]:
    """Where time travel starts: a new snapshot, or a small state at the first batch's end in a bucket."""
    bucket = batch.seq // BUCKET
    if kept.get("seq") == batch.seq and batch.entries:
        yield Put(key("s", bucket), {"seq": batch.seq, "ref": kept["ref"]})
    elif "inline" in kept and bucket > batch.seq_before // BUCKET:
        yield Put(key("s", bucket), {"seq": batch.seq, "state": kept["inline"]})
