import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loom_core.errors import ConflictError, InvalidError, NotFoundError
from loom_local.broker import DEAD_LETTERS, Broker, Delivery, LockLostError, Message, QueueProperties
from loom_local.database import Database

SESSIONS = QueueProperties(requires_session=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock):
    @asynccontextmanager
    async def open_broker(clock: Callable[[], float] = clock) -> AsyncIterator[Broker]:
        database = Database.open(tmp_path / "loom.db", durable=False)
        broker = Broker(database, clock=clock)
        await broker.tick()
        try:
            yield broker
        finally:
            await broker.drain()
            database.close()

    return open_broker


@pytest.fixture
async def broker(opened) -> AsyncIterator[Broker]:
    async with opened() as broker:
        yield broker


def text(body: str, **properties) -> Message:
    return Message(body=body.encode(), **properties)


def bodies(deliveries: list[Delivery]) -> list[str]:
    return [d.stored.message.body.decode() for d in deliveries]


async def drain_session(broker: Broker, queue: str, session: str) -> list[str]:
    (lock,) = await broker.accept_sessions(queue, session=session)
    found = await broker.receive_session(lock, 256)
    await broker.complete(*found)
    await broker.release_session(lock)
    return bodies(found)


async def test_messages_are_received_in_the_order_they_were_sent_and_are_gone_when_completed(broker: Broker):
    await broker.send("work", [text("a"), text("b")])
    await broker.send("work", [text("c")])

    found = await broker.receive("work", 10)
    assert bodies(found) == ["a", "b", "c"]
    assert await broker.receive("work", 10) == []
    await broker.complete(*found)
    assert await broker.peek("work") == []


async def test_a_message_arrives_with_everything_its_sender_said(broker: Broker, clock: Clock):
    message = Message(
        body=b"\x00\xff",
        message_id="m",
        session_id="s",
        correlation_id="c",
        subject="hello",
        content_type="application/octet-stream",
        to="you",
        reply_to="me",
        reply_to_session_id="r",
        application_properties={"n": 1, "ok": True, "who": "Zoë", "none": None, "x": 0.5},
    )
    (sent,) = await broker.send("work", [message])
    (got,) = await broker.receive("work")
    assert got.stored.message == message
    assert got.stored.sequence_number == sent.sequence_number
    assert got.stored.enqueued_time == clock.now
    assert got.stored.delivery_count == 1
    assert got.locked_until == clock.now + 60


async def test_a_receiver_waits_for_a_message(broker: Broker):
    await broker.declare("work", QueueProperties())
    waiting = asyncio.create_task(broker.receive("work", wait=30))
    await asyncio.sleep(0)
    await broker.send("work", [text("late")])
    assert bodies(await waiting) == ["late"]


async def test_a_receiver_that_waits_in_vain_gets_nothing(broker: Broker):
    await broker.declare("work", QueueProperties())
    assert await broker.receive("work", wait=0.01) == []


async def test_a_receiver_that_goes_away_takes_no_message_along(broker: Broker):
    await broker.send("work", [text("a"), text("b")])
    gone = asyncio.create_task(broker.receive("work", 2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert bodies(await broker.receive("work", 2)) == ["a", "b"]


async def test_a_sender_that_goes_away_has_sent_all_the_same(broker: Broker):
    await broker.declare("work", QueueProperties())
    waiting = asyncio.create_task(broker.receive("work", wait=30))
    sending = asyncio.create_task(broker.send("work", [text("a")]))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert bodies(await waiting) == ["a"]


async def test_an_abandoned_message_comes_back_first_with_a_higher_delivery_count(broker: Broker):
    await broker.send("work", [text("a"), text("b")])
    (first,) = await broker.receive("work")
    await broker.abandon(first)
    again, second = await broker.receive("work", 2)
    assert bodies([again, second]) == ["a", "b"]
    assert (again.stored.delivery_count, second.stored.delivery_count) == (2, 1)


async def test_a_message_delivered_too_often_is_dead_lettered_with_the_reason(broker: Broker):
    await broker.declare("work", QueueProperties(max_delivery_count=2))
    await broker.send("work", [text("poison"), text("good")])
    for _ in range(2):
        (delivery,) = await broker.receive("work")
        assert bodies([delivery]) == ["poison"]
        await broker.abandon(delivery)
    assert bodies(await broker.receive("work")) == ["good"]
    (dead,) = await broker.dead_letters("work")
    assert dead.message.body == b"poison"
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert dead.delivery_count == 2


async def test_a_message_that_brings_the_process_down_is_dead_lettered_in_the_end(opened):
    async with opened() as broker:
        await broker.declare("work", QueueProperties(max_delivery_count=3))
        await broker.send("work", [text("poison")])
    for count in (1, 2, 3):
        async with opened() as broker:
            (delivery,) = await broker.receive("work")
            assert delivery.stored.delivery_count == count
    async with opened() as broker:
        assert await broker.receive("work") == []
        assert [d.dead_letter_reason for d in await broker.dead_letters("work")] == [
            "MaxDeliveryCountExceeded"
        ]


async def test_a_lock_that_runs_out_frees_the_message_and_is_worth_nothing(broker: Broker, clock: Clock):
    await broker.send("work", [text("a")])
    (late,) = await broker.receive("work")
    clock.now += 61
    await broker.tick()
    (fresh,) = await broker.receive("work")
    assert fresh.stored.delivery_count == 2
    for settle in (broker.complete, broker.abandon, broker.renew):
        with pytest.raises(LockLostError):
            await settle(late)
    await broker.complete(fresh)
    assert await broker.peek("work") == []


async def test_a_renewed_lock_lasts_longer(broker: Broker, clock: Clock):
    await broker.send("work", [text("a")])
    (delivery,) = await broker.receive("work")
    for _ in range(3):
        clock.now += 40
        await broker.renew(delivery)
        await broker.tick()
    assert await broker.receive("work") == []
    await broker.complete(delivery)


async def test_a_receiver_that_waits_is_told_when_a_lock_runs_out(opened):
    async with opened(asyncio.get_running_loop().time) as broker:
        await broker.declare("work", QueueProperties(lock_duration=0.05))
        await broker.send("work", [text("a")])
        await broker.receive("work")
        (again,) = await broker.receive("work", wait=30)
        assert again.stored.delivery_count == 2


async def test_a_handler_can_dead_letter_a_message(broker: Broker):
    await broker.send("work", [text("bad")])
    (delivery,) = await broker.receive("work")
    await broker.dead_letter(delivery, "Unreadable", "no JSON")
    (dead,) = await broker.dead_letters("work")
    assert (dead.dead_letter_reason, dead.dead_letter_description) == ("Unreadable", "no JSON")
    assert await broker.receive("work") == []
    with pytest.raises(LockLostError):
        await broker.complete(delivery)


async def test_dead_letters_are_a_queue_that_never_dead_letters(broker: Broker, clock: Clock):
    await broker.declare("work", QueueProperties(max_delivery_count=1, requires_session=True))
    await broker.send("work", [text("bad", session_id="s")])
    (lock,) = await broker.accept_sessions("work")
    await broker.abandon(*await broker.receive_session(lock))
    clock.now += 90 * 86_400
    for _ in range(4):
        (dead,) = await broker.receive("work" + DEAD_LETTERS)
        await broker.abandon(dead)
    (dead,) = await broker.receive("work" + DEAD_LETTERS)
    await broker.complete(dead)
    assert await broker.dead_letters("work") == []


async def test_a_receiver_waits_for_dead_letters(broker: Broker):
    await broker.send("work", [text("bad")])
    waiting = asyncio.create_task(broker.receive("work" + DEAD_LETTERS, wait=30))
    (delivery,) = await broker.receive("work")
    await broker.dead_letter(delivery, "because")
    assert bodies(await waiting) == ["bad"]


async def test_a_replayed_dead_letter_starts_anew_in_its_session(broker: Broker):
    await broker.declare("work", SESSIONS)
    await broker.send("work", [text("bad", session_id="s", message_id="m")])
    (lock,) = await broker.accept_sessions("work")
    (delivery,) = await broker.receive_session(lock)
    await broker.dead_letter(delivery, "because")
    await broker.release_session(lock)
    (dead,) = await broker.dead_letters("work")

    new = await broker.replay("work", dead.sequence_number)
    assert await broker.dead_letters("work") == []
    (stored,) = await broker.peek("work")
    assert (stored.sequence_number, stored.delivery_count, stored.dead_letter_reason) == (new, 0, None)
    assert await drain_session(broker, "work", "s") == ["bad"]
    with pytest.raises(NotFoundError):
        await broker.replay("work", dead.sequence_number)


async def test_a_dead_letter_that_is_replayed_is_not_delivered_from_memory(broker: Broker):
    await broker.send("work", [text("a"), text("b")])
    for delivery in await broker.receive("work", 2):
        await broker.dead_letter(delivery, "because")
    (first,) = await broker.receive("work" + DEAD_LETTERS)  # the window now holds both
    (second,) = [d for d in await broker.dead_letters("work") if d.message.body == b"b"]
    await broker.replay("work", second.sequence_number)
    assert await broker.receive("work" + DEAD_LETTERS) == []
    await broker.complete(first)


async def test_old_dead_letters_are_purged_only_when_asked(broker: Broker, clock: Clock):
    await broker.send("work", [text("old"), text("young")])
    old, young = await broker.receive("work", 2)
    await broker.dead_letter(old, "because")
    clock.now += 10
    await broker.dead_letter(young, "because")
    assert await broker.purge_dead_letters("work", clock.now) == 1
    assert [d.message.body for d in await broker.dead_letters("work")] == [b"young"]


async def test_messages_of_a_session_go_to_one_receiver_at_a_time_in_order(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text(f"{s}{n}", session_id=s) for n in range(3) for s in "xyz"])
    locks = await broker.accept_sessions("mail", 5)
    assert [lock.session for lock in locks] == ["x", "y", "z"]
    assert await broker.accept_sessions("mail", 5) == []
    for lock in locks:
        got = [bodies(await broker.receive_session(lock))[0] for _ in range(3)]
        assert got == [f"{lock.session}{n}" for n in range(3)]
        assert await broker.receive_session(lock) == []


async def test_sessions_are_served_in_turn(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text("m", session_id=s) for s in "abc"])
    turns = []
    for _ in range(6):
        (lock,) = await broker.accept_sessions("mail")
        turns.append(lock.session)
        await broker.release_session(lock)
    assert turns == [*"abcabc"]


async def test_a_released_session_delivers_its_unsettled_messages_again(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text("1", session_id="s"), text("2", session_id="s")])
    (lock,) = await broker.accept_sessions("mail")
    first, second = await broker.receive_session(lock, 2)
    await broker.complete(second)
    await broker.release_session(lock)
    with pytest.raises(LockLostError):
        await broker.complete(first)
    with pytest.raises(LockLostError):
        await broker.receive_session(lock)
    (lock,) = await broker.accept_sessions("mail")
    (again,) = await broker.receive_session(lock, 2)
    assert bodies([again]) == ["1"]
    assert again.stored.delivery_count == 2


async def test_a_session_whose_lock_runs_out_goes_to_another_receiver(broker: Broker, clock: Clock):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text("1", session_id="s")])
    (lock,) = await broker.accept_sessions("mail")
    (delivery,) = await broker.receive_session(lock)
    clock.now += 40
    await broker.renew_session(lock)
    clock.now += 40
    await broker.tick()
    assert await broker.accept_sessions("mail") == []
    clock.now += 40
    await broker.tick()
    (other,) = await broker.accept_sessions("mail")
    assert other.session == "s"
    for lost in (broker.complete(delivery), broker.renew_session(lock), broker.receive_session(lock)):
        with pytest.raises(LockLostError):
            await lost


async def test_a_completion_not_yet_committed_is_not_delivered_to_the_next_receiver(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text("1", session_id="s"), text("2", session_id="s")])
    (lock,) = await broker.accept_sessions("mail")
    (first,) = await broker.receive_session(lock)
    completing = asyncio.create_task(broker.complete(first))
    await asyncio.sleep(0)
    await broker.release_session(lock)
    (lock,) = await broker.accept_sessions("mail")
    assert bodies(await broker.receive_session(lock)) == ["2"]
    await completing


async def test_waiting_for_a_session_ends_when_one_is_released(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text("1", session_id="s")])
    (lock,) = await broker.accept_sessions("mail")
    waiting = asyncio.create_task(broker.accept_sessions("mail", wait=30))
    await asyncio.sleep(0)
    await broker.release_session(lock)
    assert [lock.session for lock in await waiting] == ["s"]


async def test_a_session_can_be_accepted_by_name_before_it_has_messages(broker: Broker):
    await broker.declare("mail", SESSIONS)
    (lock,) = await broker.accept_sessions("mail", session="s")
    waiting = asyncio.create_task(broker.receive_session(lock, wait=30))
    await asyncio.sleep(0)
    await broker.send("mail", [text("1", session_id="s")])
    assert bodies(await waiting) == ["1"]


async def test_a_repeated_message_id_is_a_duplicate_within_the_window(broker: Broker, clock: Clock):
    (first,) = await broker.send("work", [text("a", message_id="m")])
    again, other, twice = await broker.send(
        "work", [text("a", message_id="m"), text("b", message_id="n"), text("b", message_id="n")]
    )
    assert (again.duplicate, again.sequence_number) == (True, first.sequence_number)
    assert (other.duplicate, twice.duplicate) == (False, True)
    await broker.complete(*await broker.receive("work", 10))
    assert (await broker.send("work", [text("a", message_id="m")]))[0].duplicate
    assert not (await broker.send("elsewhere", [text("a", message_id="m")]))[0].duplicate
    clock.now += 30 * 60 + 1
    assert not (await broker.send("work", [text("a", message_id="m")]))[0].duplicate


async def test_duplicates_are_detected_across_a_restart(opened):
    async with opened() as broker:
        (first,) = await broker.send("work", [text("a", message_id="m")])
        await broker.complete(*await broker.receive("work"))
    async with opened() as broker:
        (again,) = await broker.send("work", [text("a", message_id="m")])
        assert (again.duplicate, again.sequence_number) == (True, first.sequence_number)
        assert await broker.receive("work") == []


async def test_old_message_ids_are_forgotten(broker: Broker, clock: Clock):
    await broker.send("work", [text("a", message_id=str(n)) for n in range(1_000)])
    clock.now += 31 * 60
    await broker.tick()
    assert broker._store.rows("SELECT count(*) FROM message_ids") == [(0,)]


async def test_a_scheduled_message_waits_for_its_time_and_then_comes_last(broker: Broker, clock: Clock):
    await broker.send("work", [text("later", scheduled_enqueue_time=clock.now + 100, time_to_live=50)])
    await broker.send("work", [text("now")])
    assert (await broker.counts("work")).scheduled == 1
    clock.now += 101
    await broker.tick()
    now, later = await broker.receive("work", 5)
    assert bodies([now, later]) == ["now", "later"]
    assert later.stored.enqueued_time == clock.now


async def test_a_scheduled_message_survives_a_restart_and_arrives_by_itself(opened):
    loop = asyncio.get_running_loop()
    async with opened(loop.time) as broker:
        await broker.declare("mail", SESSIONS)
        due = loop.time() + 0.05
        await broker.send("mail", [text("later", session_id="s", scheduled_enqueue_time=due)])
        assert await broker.accept_sessions("mail") == []
    async with opened(loop.time) as broker:
        (lock,) = await broker.accept_sessions("mail", wait=30)
        assert bodies(await broker.receive_session(lock)) == ["later"]


async def test_a_scheduled_message_can_be_cancelled_until_its_time_comes(broker: Broker, clock: Clock):
    cancelled, kept = await broker.send(
        "work", [text(b, scheduled_enqueue_time=clock.now + 10) for b in ("cancelled", "kept")]
    )
    await broker.cancel_scheduled("work", cancelled.sequence_number)
    clock.now += 11
    await broker.tick()
    assert bodies(await broker.receive("work", 5)) == ["kept"]
    for gone in (cancelled, kept):
        with pytest.raises(NotFoundError):
            await broker.cancel_scheduled("work", gone.sequence_number)


async def test_a_message_that_expires_is_dead_lettered_instead_of_delivered(broker: Broker, clock: Clock):
    await broker.send("work", [text(f"old {n}", time_to_live=5) for n in range(600)])
    await broker.send("work", [text("young")])
    clock.now += 6
    assert bodies(await broker.receive("work", 5)) == ["young"]
    dead = (await broker.dead_letters("work", limit=1))[0]
    assert dead.dead_letter_reason == "TTLExpiredException"
    assert (await broker.counts("work")).dead_lettered == 600


async def test_messages_can_be_looked_at_page_by_page(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.send("mail", [text(str(n), session_id=str(n % 3)) for n in range(25)])
    pages, after = [], 0
    while page := await broker.peek("mail", after, 10):
        after = page[-1].sequence_number
        pages.append([int(m.message.body) for m in page])
    assert pages == [[*range(10)], [*range(10, 20)], [*range(20, 25)]]


async def test_counts_tell_what_is_where(broker: Broker, clock: Clock):
    await broker.send("work", [text(str(n)) for n in range(4)])
    await broker.send("work", [text("later", scheduled_enqueue_time=clock.now + 10)])
    dead, _ = await broker.receive("work", 2)
    await broker.dead_letter(dead, "because")
    counts = await broker.counts("work")
    assert (counts.active, counts.locked, counts.scheduled, counts.dead_lettered) == (3, 1, 1, 1)


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (text("no session"), "$[1].sessionId"),
        (text("x" * (256 * 1024 + 1), session_id="s"), "$[1]"),
        (text("x", session_id="s" * 129), "$[1].sessionId"),
        (text("x", session_id="s", message_id=""), "$[1].messageId"),
        (text("x", session_id="s", message_id=json.loads('"\\ud800"')), "$[1].messageId"),
        (text("x", session_id="s", subject=json.loads('"\\ud800"')), "$[1]"),
        (text("x", session_id="s", application_properties={"deep": {}}), "$[1].applicationProperties.deep"),
        (text("x", session_id="s", application_properties={"n": float("nan")}), "$[1]"),
        (text("x", session_id="s", time_to_live=0), "$[1].timeToLive"),
        (text("x", session_id="s", time_to_live=float("nan")), "$[1].timeToLive"),
        (text("x", session_id="s", scheduled_enqueue_time=float("inf")), "$[1].scheduledEnqueueTime"),
    ],
)
async def test_a_bad_message_is_refused_with_its_path_and_nothing_is_sent(
    broker: Broker, message: Message, path: str
):
    await broker.declare("mail", SESSIONS)
    with pytest.raises(InvalidError) as refused:
        await broker.send("mail", [text("fine", session_id="s"), message])
    assert [p.path for p in refused.value.problems] == [path]
    assert await broker.peek("mail") == []


async def test_every_problem_of_every_message_is_named_at_once(broker: Broker):
    await broker.declare("mail", SESSIONS)
    with pytest.raises(InvalidError) as refused:
        await broker.send("mail", [text("a"), text("b", time_to_live=-1)])
    paths = [p.path for p in refused.value.problems]
    assert paths == ["$[0].sessionId", "$[1].sessionId", "$[1].timeToLive"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "x/", "x" * 261, "$x"])
async def test_a_bad_queue_name_is_refused(broker: Broker, name: str):
    with pytest.raises(InvalidError):
        await broker.send(name, [text("a")])


async def test_batches_are_bounded(broker: Broker):
    for batch in ([], [text("a")] * 1_001):
        with pytest.raises(InvalidError, match="1 to 1000"):
            await broker.send("work", batch)


async def test_asking_an_unknown_queue_names_those_there_are(broker: Broker):
    await broker.send("work", [text("a")])
    for ask in (broker.receive("wrok"), broker.replay("wrok", 1), broker.purge_dead_letters("wrok", 1)):
        with pytest.raises(NotFoundError, match="the queues are: work"):
            await ask


async def test_a_queue_is_received_from_as_it_was_declared(broker: Broker):
    await broker.declare("mail", SESSIONS)
    await broker.declare("work", QueueProperties())
    with pytest.raises(InvalidError, match="has sessions"):
        await broker.receive("mail")
    with pytest.raises(InvalidError, match="has no sessions"):
        await broker.accept_sessions("work")


async def test_queues_and_their_properties_survive_a_restart(opened):
    properties = QueueProperties(requires_session=True, lock_duration=5, max_delivery_count=3)
    async with opened() as broker:
        await broker.declare("mail", properties)
    async with opened() as broker:
        assert await broker.queues() == {"mail": properties}


async def test_a_queue_can_be_given_sessions_if_its_messages_have_them(broker: Broker):
    await broker.send("work", [text("a", session_id="s")])
    await broker.declare("work", SESSIONS)
    assert await drain_session(broker, "work", "s") == ["a"]
    await broker.declare("work", QueueProperties())
    await broker.send("work", [text("b")])
    with pytest.raises(ConflictError, match="without a session id"):
        await broker.declare("work", SESSIONS)


async def test_draining_lets_receivers_go(broker: Broker):
    await broker.declare("mail", SESSIONS)
    waiting = asyncio.create_task(broker.accept_sessions("mail", wait=30))
    await asyncio.sleep(0)
    await broker.drain()
    assert await waiting == []
    await broker.send("mail", [text("a", session_id="s")])
    assert await broker.accept_sessions("mail", wait=30) == []


async def test_sequence_numbers_are_never_used_twice(opened):
    async with opened() as broker:
        (first,) = await broker.send("work", [text("a")])
        await broker.complete(*await broker.receive("work"))
    async with opened() as broker:
        (second,) = await broker.send("work", [text("b")])
        assert second.sequence_number > first.sequence_number


async def test_memory_is_bounded_however_many_messages_wait(broker: Broker):
    for start in range(0, 20_000, 1_000):
        await broker.send("work", [text(str(n)) for n in range(start, start + 1_000)])
    await broker.send("big", [text("x" * 250_000) for _ in range(40)])
    lane = broker._queue("work").whole()
    big = broker._queue("big").whole()
    received: list[str] = []
    while found := await broker.receive("work", 200):
        assert len(lane.ready) <= 256
        assert len(lane.out) <= 200
        received += bodies(found)
        await broker.complete(*found)
    assert received == [str(n) for n in range(20_000)]
    while found := await broker.receive("big"):
        assert len(big.ready) <= 5
        await broker.complete(*found)
