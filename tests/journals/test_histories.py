"""Any history of changes, crashes and compactions: what was committed is there once, and nothing else is."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.adapters.memory import MemoryStateStore
from loom_core.errors import ConflictError, UnavailableError
from loom_core.journals import archive, documents, reading, store
from tests.journals.world import ACTOR, Entity, House

LIMITS = [
    (documents, {"INLINE_BYTES": 60, "SNAPSHOT_BYTES": 200, "SNAPSHOT_ENTRIES": 7, "DOCUMENT_ENTRIES": 3}),
    (documents, {"BUCKET": 4, "MAX_OPERATIONS": 5}),
    (reading, {"BUCKET": 4, "DOCUMENT_ENTRIES": 3, "SEGMENT_ENTRIES": 4, "PAGE_DOCUMENTS": 2}),
    (store, {"BUCKET": 4}),
    (archive, {"LIVE_ENTRIES": 5, "SEGMENT_ENTRIES": 4, "MAX_OPERATIONS": 2, "_PAGE": 2}),
]

VALUES = st.recursive(
    st.sampled_from([0, 1, True, None, "x", "y" * 30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab/~"), inner, max_size=3),
    max_leaves=8,
)
FAULTS = st.sampled_from([None, None, None, "before", "after"])
STEPS = st.fixed_dictionaries(
    {
        "states": st.lists(VALUES, max_size=6),
        "faults": st.lists(FAULTS, max_size=3),
        "process": st.integers(0, 2),
        "ending": st.sampled_from(["committed", "committed", "crashed", "zombie", "compacted"]),
        "sent": st.booleans(),
        "ids": st.integers(0, 7),
        "published": st.integers(0, 40),
    }
)


@dataclass
class World:
    house: House
    entity: Entity = field(default_factory=Entity)
    outbox: dict = field(default_factory=dict)
    waiting: dict = field(default_factory=dict)  # the outbox of the tail
    published: set = field(default_factory=set)  # in fact, whatever becomes of the commit that says so
    tried: set = field(default_factory=set)
    ids: set = field(default_factory=set)
    waiting_ids: set = field(default_factory=set)
    zombies: list = field(default_factory=list)
    last_written: int = -1

    async def step(self, journals, step):
        if step["ending"] == "compacted":
            return await self.compact(journals, step)
        if step["ending"] == "zombie":
            return await self.zombie(journals)
        entity = self.entity
        sent = {entity.seq + 1: {"to": f"{entity.commits}"}} if step["sent"] and step["states"] else {}
        sent = self.waiting | sent
        ids = self.waiting_ids | {f"{entity.commits}-{n}" for n in range(step["ids"])}
        self.tried |= ids
        published = [seq for seq in self.outbox if seq <= step["published"]]
        self.published.update(published)
        batch = entity.batch(
            *step["states"], outbox=sorted(sent.items()), ids=sorted(ids), published=published
        )
        self.house.state.faults = list(step["faults"])
        try:
            try:
                kept = await journals.commit(ACTOR, batch)
            except ConflictError:  # with another process's batch, and the runtime has this one run again
                kept = await journals.commit(ACTOR, batch)
        except UnavailableError:
            if step["ending"] == "committed":
                entity.kept_as_tail(batch, step["states"])
                self.waiting, self.waiting_ids = sent, ids
            return None
        if step["ending"] == "committed":
            self.zombies.append(batch)
            self.last_written = batch.base
            entity.committed(batch, kept, step["states"])
            self.outbox |= sent
            self.ids |= ids
            self.waiting, self.waiting_ids = {}, set()
        return None

    async def zombie(self, journals):
        for batch in self.zombies:
            if batch.base < self.last_written:
                with pytest.raises(ConflictError):
                    await journals.commit(ACTOR, batch)

    async def compact(self, journals, step):
        self.house.state.faults = list(step["faults"])
        try:
            await journals.compact(ACTOR, self.entity.stored)
        except UnavailableError:
            return

    async def check(self):
        self.house.state.faults = []
        await self.house.check(self.entity)
        journals = self.house.process()
        found = dict(await journals.outbox(ACTOR, 0, 1_000, self.entity.stored))
        assert {seq: m for seq, m in found.items() if seq not in self.published} == {
            seq: m for seq, m in self.outbox.items() if seq not in self.published
        }
        assert self.ids <= await journals.seen(ACTOR, sorted(self.tried)) <= set(self.tried)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_what_was_committed_is_there_once_in_order_at_every_point(steps):
    async def live():
        world = World(House(MemoryStateStore()))
        processes = [world.house.process() for _ in range(2)]
        for step in steps:
            await world.step([*processes, world.house.process()][step["process"]], step)
            await world.check()
        await world.step(processes[0], {"states": [{"the": "end"}], "faults": [], "ending": "committed",
                                    "sent": True, "ids": 1, "published": 0})  # fmt: skip
        await world.check()
        assert world.entity.tail == []

    with pytest.MonkeyPatch.context() as patch:
        for module, limits in LIMITS:
            for name, limit in limits.items():
                patch.setattr(module, name, limit)
        asyncio.run(live())
