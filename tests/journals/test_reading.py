"""Reading: the past in order and whole, and the state at any point of it."""

import pytest

from loom_core.errors import IntegrityError, InvalidError
from loom_core.journals import documents
from loom_core.ports.state import Delete
from tests.journals.world import ACTOR, Entity, large


async def conversation(house, turns, journals=None):
    entity, journals = Entity(), journals or house.process()
    messages = []
    for n in range(turns):
        messages = [*messages, {"role": "user", "text": large(n)}]
        await house.commit(journals, entity, {"messages": messages})
    return entity


async def test_a_large_state_is_kept_as_a_snapshot_and_the_entries_since(house):
    entity = await conversation(house, 60)

    assert entity.kept["ref"].startswith("snapshots/")
    assert entity.kept["seq"] < 60
    assert "state" not in (await house.documents("head"))["head"]
    await house.check(entity)


async def test_snapshots_become_rare_as_the_state_grows(house):
    await conversation(house, 300)

    snapshots = await house.blobs.list("snapshots/")
    assert 5 <= len(snapshots) <= 10


async def test_a_warm_process_loads_a_large_state_without_asking_anybody(house):
    journals = house.process()
    entity = await conversation(house, 60, journals)
    house.state.calls.clear()
    house.blobs.calls.clear()

    state = await journals.load(ACTOR, entity.kept, 60)

    assert state is entity.states[60]
    assert house.state.calls == house.blobs.calls == []


async def test_another_process_loads_it_from_the_store_once(house):
    entity, journals = await conversation(house, 60), house.process()

    assert await journals.load(ACTOR, entity.kept, 60) == entity.states[60]
    house.state.calls.clear()
    assert await journals.load(ACTOR, entity.kept, 60) == entity.states[60]
    assert house.state.calls == []


async def test_a_state_of_a_batch_that_never_was_is_not_taken_for_the_entitys(house):
    journals = house.process()
    entity = await conversation(house, 60, journals)
    await journals.commit(ACTOR, entity.batch({"messages": ["dead"] * 9_000}))

    assert await journals.load(ACTOR, entity.kept, 60) == entity.states[60]

    await house.commit(house.process(), entity, {"messages": ["alive"] * 9_000})
    assert await journals.load(ACTOR, entity.kept, 61) == {"messages": ["alive"] * 9_000}


async def test_a_state_that_has_become_small_is_kept_in_the_entity_again(house):
    entity, journals = await conversation(house, 60), house.process()

    for n in range(300):
        await house.commit(journals, entity, {"n": n})

    assert entity.kept["inline"] == {"n": 299}
    await house.check(entity)


@pytest.mark.parametrize(("after", "limit", "seqs", "following"), [
    (0, 3, [1, 2, 3], 3), (3, 3, [4, 5, 6], 6), (6, 30, [7, 8, 9, 10], None), (10, 3, [], None),
    (99, 3, [], None), (-5, 2, [1, 2], 2), (0, 0, [1], 1),
])  # fmt: skip
async def test_entries_come_in_pages_that_may_begin_inside_of_a_batch(house, after, limit, seqs, following):
    entity, journals = Entity(), house.process()
    for n in range(3):
        await house.commit(journals, entity, *({"n": n, "m": m} for m in range(4)))

    page, after = await journals.entries(ACTOR, after, limit, 10)

    assert [entry["seq"] for entry in page] == seqs
    assert after == following


async def test_nothing_the_entity_has_not_committed_is_read(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    await journals.commit(ACTOR, entity.batch({"n": 2}, {"n": 3}, outbox=[(2, {"a": 1})]))

    await house.check(entity)
    assert await journals.outbox(ACTOR, 0, 10, entity.stored) == []
    with pytest.raises(InvalidError):
        await journals.state_at(ACTOR, 2, entity.stored)


@pytest.mark.parametrize("seq", [-1, 2])
async def test_a_state_outside_of_the_journal_is_refused(house, seq):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})

    with pytest.raises(InvalidError):
        await journals.state_at(ACTOR, seq, 1)


async def test_the_state_before_everything_is_null(house):
    assert await house.process().state_at(ACTOR, 0, 0) is None
    assert await house.process().load(ACTOR, None, 0) is None


async def test_time_travel_reads_no_more_than_the_entries_since_a_snapshot(house):
    entity, journals = Entity(), house.process()
    for n in range(700):
        await house.commit(journals, entity, {"n": n})
    house.state.calls.clear()

    assert await journals.state_at(ACTOR, 650, 700) == {"n": 649}
    assert house.state.calls.count("query") <= 4


async def test_one_batch_may_cross_many_buckets(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, *({"n": n} for n in range(450)))
    await house.commit(journals, entity, *({"n": n} for n in range(450, 1_250)))

    await house.check(entity, range(0, 1_251, 25))


async def test_an_entry_that_is_missing_is_noticed(house):
    entity, journals = Entity(), house.process()
    for n in range(3):
        await house.commit(journals, entity, {"n": n})
    await house.state.write(f"actors/{ACTOR}", [Delete(documents.key("j", 2))])

    for reading in (journals.entries(ACTOR, 0, 3, 3), journals.state_at(ACTOR, 3, 3)):
        with pytest.raises(IntegrityError):
            await reading


async def test_a_snapshot_that_is_missing_or_changed_is_noticed(house):
    entity = await conversation(house, 60)
    await house.blobs.put(entity.kept["ref"], b"{}")
    with pytest.raises(IntegrityError):
        await house.process().load(ACTOR, entity.kept, 60)

    await house.blobs.delete(entity.kept["ref"])
    with pytest.raises(IntegrityError):
        await house.process().load(ACTOR, entity.kept, 60)


async def test_a_snapshot_of_a_batch_that_never_was_is_not_travelled_to(house):
    journals = house.process()
    entity = await conversation(house, 60, journals)
    await journals.commit(ACTOR, entity.batch({**entity.states[60], "dead": list(range(8_000))}))
    assert (await house.documents("s:"))[documents.key("s", 0)]["seq"] == 61

    await house.commit(journals, entity, {**entity.states[60], "alive": True})

    await house.check(entity, [30, 60, 61])
