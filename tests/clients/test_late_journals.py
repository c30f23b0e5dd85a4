"""What an actor could not write to its journal yet is read as if it had."""

import json

import pytest

from loom_core.actors.actor import Actor
from loom_core.adapters.memory import MemoryBlobStore, MemoryStateStore
from loom_core.clients.actors import Actors
from loom_core.errors import InvalidError
from loom_core.journals.dead_letters import DeadLetters
from loom_core.journals.documents import Batch
from loom_core.journals.store import Journals

ACTOR = "Counter/a"


class Counter(Actor):
    name = "Counter"


class Hub:
    def __init__(self, held):
        self.held = held

    async def entity(self, entity):
        assert entity == ACTOR
        return self.held


def entry(seq):
    patches = [{"op": "replace", "path": "", "value": {"total": seq}}]
    return {"seq": seq, "type": "state_patches", "at": "2026-11-21T00:00:00Z", "patches": patches}


async def same(value):
    return value


@pytest.fixture(params=[3, 0], ids=["some", "none"])
async def actors(request):
    """Five entries, of which this many are in the store."""
    stored, state = request.param, MemoryStateStore()
    journals, kept = Journals(state, MemoryBlobStore(), same, same), None
    if stored:
        entries = [entry(seq) for seq in range(1, stored + 1)]
        batch = Batch(base=0, seq_before=0, kept=None, entries=entries, head={}, state={"total": stored})
        kept = await journals.commit(ACTOR, batch)
    document = {"seq": 5, "base": 1, "created": 0.0, "mailbox": [], "chunks": []}
    late = {"entries": [entry(seq) for seq in range(stored + 1, 6)]}
    hub = Hub({"document": document, "state": kept, "late": late})
    return Actors(hub, {"counter": Counter}, journals, DeadLetters(state))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
async def test_the_journal_has_every_entry_once_whatever_the_pages(actors, limit):
    seqs, after = [], 0
    while after is not None:
        page, after = await actors.journal(ACTOR, after, limit)
        assert len(page) <= limit
        seqs += [one["seq"] for one in page]

    assert seqs == [1, 2, 3, 4, 5]


async def test_the_state_is_known_after_every_entry_and_none_beyond(actors):
    states = [await actors.state_at(ACTOR, seq) for seq in range(1, 6)]

    assert states == [{"total": seq} for seq in range(1, 6)]
    assert (await actors.get(ACTOR))["state"] == {"total": 5}
    with pytest.raises(InvalidError):
        await actors.state_at(ACTOR, 6)


async def test_the_export_is_whole(actors):
    lines = b"".join([part async for part in await actors.export(ACTOR)]).splitlines()

    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5]
