"""Commits: what is written, once and only once, whatever fails in between."""

from dataclasses import replace

import pytest

from loom_core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from loom_core.journals import documents
from loom_core.wire.json import dump
from tests.journals.world import ACTOR, Entity, large


async def test_a_commit_is_one_batch_and_can_be_read_by_every_process(house):
    entity, journals = Entity(), house.process()

    kept = await house.commit(
        journals, entity, {"n": 1}, {"n": 2}, outbox=[(2, {"to": "queue:x"})], ids=["a"]
    )
    await house.commit(journals, entity, {"n": 3}, published=[2])

    assert house.state.calls.count("write") == 2
    assert kept["inline"] == {"n": 2}
    assert await journals.load(ACTOR, entity.kept, 3) == {"n": 3}
    assert sorted(await house.documents()) == [
        "head",
        documents.id_key("a"),
        documents.key("j", 1),
        documents.key("j", 3),
    ]
    head = (await house.documents("head"))["head"]
    assert (head["seq"], head["base"], head["status"], head["state"]) == (3, 1, "idle", {"n": 3})
    await house.check(entity)


async def test_a_commit_of_a_warm_process_reads_nothing(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    house.state.calls.clear()

    await house.commit(journals, entity, {"n": 2})

    assert house.state.calls == ["write"]


async def test_a_commit_without_entries_writes_the_head_and_what_else_there_is(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    await house.commit(journals, entity, ids=["late"])

    assert await journals.seen(ACTOR, ["late", "never"]) == {"late"}
    assert (await house.documents("head"))["head"]["seq"] == 1
    await house.check(entity)


async def test_entries_that_leave_a_gap_are_refused(house):
    entity = Entity()
    batch = entity.batch({"n": 1})

    with pytest.raises(InvalidError):
        await house.process().commit(ACTOR, replace(batch, seq_before=3))


async def test_what_is_not_plain_json_is_refused(house):
    with pytest.raises(InvalidError):
        await house.process().commit(ACTOR, Entity().batch({"n": float("nan")}))


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_lost_answer_doubles_nothing(house, fresh):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    house.state.faults = ["after"]
    batch = entity.batch({"n": 2}, outbox=[(2, {"to": "queue:x"})])
    with pytest.raises(UnavailableError):
        await journals.commit(ACTOR, batch)
    written = await house.documents()
    house.state.calls.clear()

    kept = await (house.process() if fresh else journals).commit(ACTOR, batch)

    entity.committed(batch, kept, [{"n": 2}])
    assert house.state.calls == ["read"]
    assert await house.documents() == written
    await house.check(entity)


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_entries_that_could_not_be_written_go_with_the_next_batch(house, fault):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    house.state.faults = [fault]
    batch = entity.batch({"n": 2}, {"n": 3})
    with pytest.raises(UnavailableError):
        await journals.commit(ACTOR, batch)
    entity.kept_as_tail(batch, [{"n": 2}, {"n": 3}])
    await house.check(entity)

    await house.commit(journals, entity, {"n": 4})

    assert entity.stored == 4
    assert sorted(await house.documents("j:")) == [documents.key("j", 1), documents.key("j", 2)]
    await house.check(entity)


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_batch_whose_entity_never_committed_is_overwritten(house, fresh):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, *({"n": n} for n in range(95)))
    dead = entity.batch(
        *({"dead": n} for n in range(150)),
        outbox=[(100, {"dead": 1}), (240, {"dead": 2})],
        chunks_put={1: ["x"]},
    )
    await journals.commit(ACTOR, dead)

    journals = house.process() if fresh else journals
    await house.commit(journals, entity, {"n": "alive"}, outbox=[(96, {"alive": 1})], chunks_put={1: ["y"]})

    assert sorted(await house.documents("j:")) == [documents.key("j", 1), documents.key("j", 96)]
    assert await house.documents("s:") == {}
    assert sorted(await house.documents("o:")) == [documents.key("o", 96)]
    assert await journals.outbox(ACTOR, 0, 10, entity.stored) == [(96, {"alive": 1})]
    assert await journals.chunk(ACTOR, 1) == ["y"]
    await house.check(entity)


@pytest.mark.parametrize("states", [[], [{"dead": 1}]])
async def test_the_ids_of_a_batch_that_is_to_be_done_again_are_known_for_their_messages_wait(house, states):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1}, ids=["kept"])
    await journals.commit(ACTOR, entity.batch(*states, ids=["kept again", "x"]))
    assert await journals.seen(ACTOR, ["kept", "x", "never"]) == {"kept", "x"}

    await house.commit(house.process(), entity, {"n": 2}, ids=["kept again", "x"])

    assert await journals.seen(ACTOR, ["kept", "kept again", "x", "never"]) == {"kept", "kept again", "x"}
    await house.check(entity)


async def test_a_process_that_is_not_the_entitys_any_more_is_refused_and_changes_nothing(house):
    entity, zombie = Entity(), house.process()
    await house.commit(zombie, entity, {"n": 1})
    late = entity.batch({"zombie": 1})
    other = house.process()
    await house.commit(other, entity, {"n": 2})
    await house.commit(other, entity, {"n": 3})
    written = await house.documents()

    for journals in (zombie, house.process()):
        with pytest.raises(ConflictError):
            await journals.commit(ACTOR, late)

    assert await house.documents() == written
    await house.commit(other, entity, {"n": 4})
    await house.check(entity)


async def test_two_rerunning_the_same_batch_at_once_leave_one_history(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    one, two = entity.batch({"n": "one"}, {"n": "two"}), entity.batch({"n": "three"})

    await journals.commit(ACTOR, one)
    kept = await house.process().commit(ACTOR, two)

    entity.committed(two, kept, [{"n": "three"}])
    await house.check(entity)


async def test_a_batch_above_the_limits_is_written_in_parts_with_the_head_last(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    states = [{"n": n, "text": large(n, 60_000)} for n in range(60)]
    outbox = [(seq, {"text": large(seq, 1_000)}) for seq in range(2, 62)]
    ids = [f"outside-{n}" for n in range(150)]

    await house.commit(journals, entity, *states, outbox=outbox, ids=ids, chunks_put={1: ["a"], 2: ["b"]})

    assert house.state.calls.count("write") > 3
    assert await journals.seen(ACTOR, [*ids, "other"]) == set(ids)
    assert await journals.outbox(ACTOR, 10, 3, entity.stored) == outbox[9:12]
    assert await journals.chunk(ACTOR, 2) == ["b"]
    assert "writing" not in (await house.documents("head"))["head"]
    await house.check(entity)


@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.parametrize("fault", ["before", "after"])
async def test_parts_without_their_head_are_no_commit(house, part, fault):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    house.state.faults = [*[None] * (part - 1), fault]
    with pytest.raises(UnavailableError):
        await journals.commit(ACTOR, entity.batch({"dead": 1}, ids=[f"outside-{n}" for n in range(250)]))
    await house.check(entity)

    await house.commit(journals, entity, {"n": 2})

    await house.check(entity)


@pytest.mark.parametrize("part", [1, 2, 3])
async def test_a_zombie_cannot_write_a_single_part(house, part):
    entity, zombie = Entity(), house.process()
    await house.commit(zombie, entity, {"n": 1})
    late = entity.batch({"zombie": 1}, ids=[f"outside-{n}" for n in range(250)])
    await house.commit(house.process(), entity, {"n": 2})
    await house.commit(house.process(), entity, {"n": 3})
    written = await house.documents()

    with pytest.raises(ConflictError):
        await zombie.commit(ACTOR, late)

    assert await house.documents() == written


async def test_a_zombie_does_not_write_into_the_parts_of_a_later_commit(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    late = entity.batch({"n": 2})
    entity.kept_as_tail(late, [{"n": 2}])
    house.state.faults = [None, "before"]
    with pytest.raises(UnavailableError):
        await journals.commit(ACTOR, entity.batch({"n": 3}, ids=[f"outside-{n}" for n in range(150)]))

    with pytest.raises(ConflictError):
        await house.process().commit(ACTOR, late)


@pytest.mark.parametrize("part", [0, 1])
async def test_parts_end_where_another_process_goes_on(house, part):
    entity, zombie = Entity(), house.process()
    await house.commit(zombie, entity, {"n": 1})
    late = entity.batch({"zombie": 1}, {"zombie": 2}, ids=[f"outside-{n}" for n in range(150)])

    async def overtake():
        await house.commit(house.process(), entity, {"n": 2})
        await house.commit(house.process(), entity, {"n": 3})

    house.state.faults = [*[None] * part, overtake]
    with pytest.raises(ConflictError):
        await zombie.commit(ACTOR, late)

    await house.check(entity)


async def test_a_batch_that_was_half_written_over_is_written_again(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1})
    batch = entity.batch({"n": 2})
    await journals.commit(ACTOR, batch)
    house.state.faults = [None, "before"]
    with pytest.raises(UnavailableError):
        await journals.commit(ACTOR, entity.batch({"n": 3}, ids=[f"outside-{n}" for n in range(150)]))

    kept = await journals.commit(ACTOR, batch)

    entity.committed(batch, kept, [{"n": 2}])
    await house.check(entity)


async def test_the_first_commit_may_be_in_parts_too(house):
    entity = Entity()

    await house.commit(house.process(), entity, {"n": 1}, ids=[f"outside-{n}" for n in range(250)])

    await house.check(entity)


async def test_what_is_deleted_may_be_gone_already(house):
    entity, journals = Entity(), house.process()
    await house.commit(journals, entity, {"n": 1}, outbox=[(1, {"a": 1})], chunks_put={7: [1]})
    await house.commit(journals, entity, {"n": 2}, published=[1], chunks_deleted=[7])

    await house.commit(
        journals, entity, {"n": 3}, published=[1, 1], chunks_deleted=[7, 8, 9], chunks_put={9: [2]}
    )

    assert await journals.outbox(ACTOR, 0, 10, 3) == []
    with pytest.raises(NotFoundError):
        await journals.chunk(ACTOR, 7)
    assert await journals.chunk(ACTOR, 9) == [2]
    await house.check(entity)


async def test_long_strings_and_entries_no_document_can_hold_come_back_whole(house):
    entity, journals = Entity(), house.process()
    long = {"text": large(1, 300_000), "numbers": list(range(100_000))}
    message = {"text": large(2, 300_000)}

    await house.commit(journals, entity, long, {"n": 2}, outbox=[(1, message)], chunks_put={1: [message]})

    assert max(len(dump(body)) for body in (await house.documents()).values()) < 256 * 1024
    assert await journals.outbox(ACTOR, 0, 10, 2) == [(1, message)]
    assert await journals.chunk(ACTOR, 1) == [message]
    await house.check(entity)


async def test_of_two_processes_with_the_same_batch_the_second_is_refused_once_for_the_first_may_live(house):
    entity, first, second = Entity(), house.process(), house.process()
    await house.commit(first, entity, {"n": 1})
    await second.commit(ACTOR, entity.batch({"n": 2}))

    with pytest.raises(ConflictError, match="another process"):
        await first.commit(ACTOR, entity.batch({"n": 3}))

    await house.commit(first, entity, {"n": 3})
    await house.check(entity)
