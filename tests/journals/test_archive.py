"""Compaction: old entries move to blobs, and nobody who reads can tell."""

import asyncio
from zlib import crc32

import pytest

from loom_core.errors import UnavailableError
from loom_core.journals import archive, reading
from tests.journals.world import ACTOR, Entity


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Segments of a few entries, so that a history of many fits a test."""
    monkeypatch.setattr(archive, "LIVE_ENTRIES", 20)
    monkeypatch.setattr(archive, "SEGMENT_ENTRIES", 10)
    monkeypatch.setattr(reading, "SEGMENT_ENTRIES", 10)
    monkeypatch.setattr(archive, "_PAGE", 4)


async def history(house, entries=75):
    entity, journals = Entity(), house.process()
    while entity.seq < entries:
        states = [{"n": entity.seq + more} for more in range(1 + entity.seq % 3)]
        await house.commit(journals, entity, *states)
    return entity


async def test_old_entries_are_archived_and_read_as_before(house):
    entity, journals = await history(house), house.process()

    moved = await journals.compact(ACTOR, entity.stored)

    live = await house.documents("j:")
    assert moved == min(body["first"] for body in live.values()) - 1
    assert 20 <= entity.stored - moved < 20 + 10 + 3
    assert sum(body["last"] - body["first"] + 1 for body in (await house.documents("a:")).values()) == moved
    await house.check(entity)
    for n in range(entity.stored):
        assert await journals.entries(ACTOR, n, 1, n + 1) == ([entity.entries[n]], None)
    assert await journals.compact(ACTOR, entity.stored) == 0


async def test_a_short_history_stays_where_it_is(house):
    entity, journals = await history(house, 25), house.process()

    assert await journals.compact(ACTOR, entity.stored) == 0
    assert await house.documents("a:") == {}


async def test_commits_and_compactions_take_turns(house):
    entity, journals = Entity(), house.process()
    moved = 0
    for n in range(120):
        await house.commit(journals, entity, {"n": n}, {"m": n})
        moved += await journals.compact(ACTOR, entity.stored)

    assert moved > 200
    await house.check(entity)


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("where", ["state", "blobs"])
async def test_a_compaction_that_ends_anywhere_loses_nothing_and_can_be_done_again(house, where, step, fault):
    entity = await history(house)
    getattr(house, where).faults = [*[None] * step, fault]
    with pytest.raises(UnavailableError):
        await house.process().compact(ACTOR, entity.stored)
    await house.check(entity)

    await house.process().compact(ACTOR, entity.stored)

    await house.check(entity)
    assert len(await house.documents("j:")) < 20


async def test_a_compaction_that_ended_amid_its_deletes_is_finished(house, monkeypatch):
    entity = await history(house)
    monkeypatch.setattr(archive, "MAX_OPERATIONS", 2)
    house.state.faults = [None, None, None, "before"]
    with pytest.raises(UnavailableError):
        await house.process().compact(ACTOR, entity.stored)
    await house.check(entity)

    await house.process().compact(ACTOR, entity.stored)

    await house.check(entity)
    assert min(await house.documents("j:")) > "j:00000000000000000040"


async def test_many_compactions_at_once_do_what_one_does(house, monkeypatch):
    entity = await history(house, 150)
    monkeypatch.setattr(archive, "MAX_OPERATIONS", 2)

    class Slow:
        """Lets the others go first at every step."""

        def __init__(self, store):
            self._store = store

        def __getattr__(self, name):
            method = getattr(self._store, name)

            async def call(*arguments, **named):
                for _ in range(crc32(repr(arguments).encode()) % 5):
                    await asyncio.sleep(0)
                return await method(*arguments, **named)

            return call

    house.state = Slow(house.state)
    await asyncio.gather(*(house.process().compact(ACTOR, entity.stored) for _ in range(5)))

    await house.check(entity)
    segments = sorted((a["first"], a["last"]) for a in (await house.documents("a:")).values())
    assert [first for first, _ in segments] == [1, *(last + 1 for _, last in segments[:-1])]


async def test_documents_that_another_compaction_takes_away_meanwhile_leave_no_gap(house):
    entity = await history(house, 150)
    other = house.process()

    class Overtaken:
        def __init__(self, store):
            self._store, self._done = store, False

        def __getattr__(self, name):
            return getattr(self._store, name)

        async def query(self, partition, prefix="", **named):
            if prefix == "j:" and named["after"] and not self._done:
                self._done = True
                await other.compact(ACTOR, entity.stored)
            return await self._store.query(partition, prefix, **named)

    house.state = Overtaken(house.state)
    await house.process().compact(ACTOR, entity.stored)

    await house.check(entity)


async def test_who_reads_while_entries_move_finds_them_all(house):
    entity, journals = await history(house, 150), house.process()

    async def read():
        page, _ = await journals.entries(ACTOR, 0, 150, entity.stored)
        return page

    pages = await asyncio.gather(read(), journals.compact(ACTOR, entity.stored), read(), read())

    assert pages[0] == pages[2] == pages[3] == entity.entries[:150]
