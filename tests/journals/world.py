"""An actor's entity and a store that fails as told, for the tests of journals."""

import hashlib
from functools import partial

from loom_core.adapters.memory import MemoryBlobStore
from loom_core.errors import UnavailableError
from loom_core.journals.documents import Batch
from loom_core.journals.store import Journals
from loom_core.patches import diff
from loom_core.payloads import resolve, spill
from loom_core.ports.state import MAX_BATCH_BYTES, MAX_OPERATIONS
from loom_core.wire.json import dump

ACTOR = "Counter/one"


class Faulty:
    """A store whose next writes fail as told: "before" it is done, or "after", when the answer is lost.

    What can be called is called first, and the write is then done.
    """

    def __init__(self, store, writes="write"):
        self._store = store
        self._writes = writes
        self.faults = []
        self.calls = []

    def __getattr__(self, name):
        method = getattr(self._store, name)
        return partial(self._write, method) if name == self._writes else partial(self._read, name, method)

    async def _read(self, name, method, *arguments, **named):
        self.calls.append(name)
        return await method(*arguments, **named)

    async def _write(self, method, *arguments, **named):
        self.calls.append(self._writes)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "before":
            raise UnavailableError("the store is away")
        if callable(fault):
            await fault()
        answer = await method(*arguments, **named)
        if fault == "after":
            raise UnavailableError("the answer is lost")
        if self._writes == "write":
            self.check(arguments[1])
        return answer

    def check(self, operations):
        assert 0 < len(operations) <= MAX_OPERATIONS
        assert sum(len(dump(o.body).encode()) for o in operations if hasattr(o, "body")) <= MAX_BATCH_BYTES


class Entity:
    """What an actor's entity would keep: its commits, its seq, its tail and how its state is kept."""

    def __init__(self, name=ACTOR):
        self.name = name
        self.commits = 0
        self.stored = 0
        self.tail = []
        self.kept = None
        self.states = [None]  # by seq
        self.entries = []

    @property
    def seq(self):
        return self.stored + len(self.tail)

    def batch(self, *states, **more):
        """A batch in which the state becomes each of these in turn."""
        seq, state, entries = self.seq, self.states[self.seq], []
        for new in states:
            seq += 1
            entries.append({"seq": seq, "type": "state_patches", "at": "now", "patches": diff(state, new)})
            state = new
        return Batch(
            base=self.commits,
            seq_before=self.stored,
            kept=self.kept,
            entries=[*self.tail, *entries],
            head={"status": "idle"},
            state=state,
            **more,
        )

    def committed(self, batch, kept, states):
        self.commits += 1
        self.states[self.seq + 1 :] = states
        self.entries[self.stored :] = batch.entries
        self.stored, self.kept, self.tail = batch.seq, kept, []

    def kept_as_tail(self, batch, states):
        self.states[self.seq + 1 :] = states
        self.commits += 1
        self.tail = list(batch.entries)


class House:
    """A store, and as many processes that use it as a test needs."""

    def __init__(self, store):
        self.state = Faulty(store)
        self.blobs = Faulty(MemoryBlobStore(), "put")

    def process(self):
        return Journals(self.state, self.blobs, partial(spill, self.blobs), partial(resolve, self.blobs))

    async def commit(self, journals, entity, *states, **more):
        batch = entity.batch(*states, **more)
        kept = await journals.commit(entity.name, batch)
        entity.committed(batch, kept, states)
        return kept

    async def documents(self, prefix="", entity=None):
        return {
            held.id: held.body
            for held in await self.state.query(f"actors/{entity.name if entity else ACTOR}", prefix)
        }

    async def check(self, entity, seqs=None):
        """Everything that can be read is what the entity has been."""
        journals = self.process()
        upto = entity.stored
        listed, after = [], 0
        while after is not None:
            page, after = await journals.entries(entity.name, after, 7, upto)
            listed += page
        assert listed == entity.entries[:upto]
        for seq in range(upto + 1) if seqs is None else seqs:
            assert await journals.state_at(entity.name, seq, upto) == entity.states[seq]
        lines = b"".join([part async for part in journals.export(entity.name, upto)])
        assert lines == "".join(f"{dump(entry)}\n" for entry in listed).encode()
        loaded = await journals.load(entity.name, entity.kept, entity.seq, entity.tail)
        assert loaded == entity.states[entity.seq]


def large(n, length=2_000):
    """A text that is different for every number and compresses to nothing by reference."""
    return (hashlib.sha256(str(n).encode()).hexdigest() * (length // 64 + 1))[:length]
