"""What every MessageQueue does, in Service Bus's words; a new adapter adds one line to QUEUES.

Each opens with the queues `mail`, with sessions, and `work`, without: a lock of 60 seconds, 10 deliveries at
most, 30 minutes of duplicate detection, dead letters for what expires.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from loom_core.adapters import embedded as host
from loom_core.adapters.embedded import EmbeddedMessageQueue
from loom_core.adapters.memory import MemoryMessageQueue
from loom_core.errors import ConflictError, InvalidError, NotFoundError
from loom_core.ports.queue import (
    DEAD_LETTERS,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGES,
    DeadLetter,
    QueueMessage,
)
from loom_local.broker import Broker, QueueProperties
from loom_local.database import Database
from loom_local.host.lent_queue import LentQueue
from tests.ports.clock import Clock
from tests.ports.servicebus import namespace

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAD = "work" + DEAD_LETTERS
LONG = 20.0
"""Seconds that a receiver may wait for what is coming; none waits as long."""


@asynccontextmanager
async def memory(folder, clock):
    yield MemoryMessageQueue(sessions=["mail"], clock=clock)


@asynccontextmanager
async def embedded(folder, clock):
    database = Database.open(folder / "loom.db", durable=False)
    broker = Broker(database, clock=clock)
    await broker.declare("mail", QueueProperties(requires_session=True))
    await broker.declare("work", QueueProperties())
    clock.heard.append(broker.tick)
    lent = LentQueue(broker, lambda function: function, clock)
    host.lend(lambda: lent)
    yield EmbeddedMessageQueue()
    await broker.drain()
    database.close()
    host._lenders.clear()


QUEUES = {"memory": memory, "embedded": embedded, "servicebus": None}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servicebus():
    """One namespace and one adapter for all tests: the SDK opens a link in half a second."""
    async with namespace() as emptied:
        yield emptied


@pytest.fixture
def clock():
    return Clock()


@pytest_asyncio.fixture(params=QUEUES, loop_scope="module")
async def queue(request, tmp_path, clock, servicebus):
    async with (QUEUES[request.param] or servicebus)(tmp_path, clock) as queue:
        yield queue


def message(body, session=None, id=None, **more):  # noqa: A002 - as in the sentence
    return QueueMessage(body=body, message_id=id or f"{session}:{body}", session_id=session, **more)


def bodies(deliveries):
    return [delivery.message.body for delivery in deliveries]


async def settle(queue, deliveries, outcome="complete"):
    for delivery in deliveries:
        await queue.settle(delivery, outcome)


async def taken(queue, name, **how):
    """What is received, and completed."""
    found = await queue.receive(name, limit=100, **how)
    await settle(queue, found)
    return bodies(found)


async def test_a_message_arrives_with_all_that_its_sender_said_and_is_gone_once_completed(queue, clock):
    sent = QueueMessage(
        body={"n": [1, 0.5, None, "ä\u2028"]},
        message_id="m-1",
        session_id="ada",
        correlation_id="c-1",
        properties={"priority": 3, "urgent": True, "who": "Zoë", "x": 0.5},
    )
    assert await queue.send("mail", [sent]) == (None,)

    (got,) = await queue.receive("mail")

    assert (got.message, got.queue, got.attempts, got.dead) == (sent, "mail", 1, None)
    assert got.locked_until == pytest.approx(clock() + 60, abs=5)
    await queue.settle(got, "complete")
    assert await queue.receive("mail") == ()
    assert await queue.peek("mail") == ()


async def test_messages_are_received_in_the_order_they_were_sent(queue):
    await queue.send("work", [message(1), message(2)])
    await queue.send("work", [message(3)])

    assert await taken(queue, "work") == [1, 2, 3]


async def test_a_queue_with_sessions_gives_the_messages_of_one_at_a_time_in_order(queue):
    await queue.send("mail", [message(n, session) for n in range(3) for session in ("a", "b")])

    first = await queue.receive("mail", limit=2)
    second = await queue.receive("mail", limit=2)

    assert {d.message.session_id for d in first} != {d.message.session_id for d in second}
    assert bodies(first) == bodies(second) == [0, 1]
    assert await queue.receive("mail") == (), "both sessions are held"
    await settle(queue, first)
    rest = await queue.receive("mail", limit=5)
    assert (bodies(rest), rest[0].message.session_id) == ([2], first[0].message.session_id)


async def test_a_session_is_held_until_the_last_of_what_was_received_is_settled(queue):
    await queue.send("mail", [message(n, "a") for n in range(3)])
    first, second = await queue.receive("mail", limit=2)

    await queue.settle(first, "complete")
    assert await queue.receive("mail") == ()
    assert await queue.receive("mail", session="a") == ()
    await queue.settle(second, "complete")

    assert await taken(queue, "mail") == [2]


async def test_a_session_can_be_asked_for_by_its_name(queue):
    await queue.send("mail", [message(1, "a"), message(1, "b")])

    assert [d.message.session_id for d in await queue.receive("mail", session="b")] == ["b"]
    assert await queue.receive("mail", session="nobody") == ()


async def test_sessions_keep_their_order_under_many_senders_and_receivers(queue):
    senders = [[message(n, f"s{s}") for n in range(9)] for s in range(8)]

    async def send(messages):
        for each in messages:
            await queue.send("mail", [each])

    got = {f"s{s}": [] for s in range(8)}

    async def receive():
        while found := await queue.receive("mail", limit=3, wait=0.2):
            for delivery in found:
                got[delivery.message.session_id].append(delivery.message.body)
                await queue.settle(delivery, "complete")

    await asyncio.gather(*map(send, senders), *(receive() for _ in range(5)))
    await receive()

    assert got == {f"s{s}": [*range(9)] for s in range(8)}


async def test_a_receiver_waits_for_a_message(queue):
    for name, session in (("work", None), ("mail", "a")):
        waiting = asyncio.create_task(queue.receive(name, wait=LONG))
        await asyncio.sleep(0.01)
        await queue.send(name, [message("late", session)])

        assert bodies(await waiting) == ["late"]


async def test_a_receiver_waits_for_a_session_that_it_names(queue):
    waiting = asyncio.create_task(queue.receive("mail", session="a", wait=LONG))
    await asyncio.sleep(0.01)
    await queue.send("mail", [message("other", "b")])
    await queue.send("mail", [message("late", "a")])

    assert bodies(await waiting) == ["late"]


async def test_what_is_abandoned_comes_again_at_once_and_in_its_old_place(queue):
    await queue.send("mail", [message(n, "a") for n in range(3)])
    first, second = await queue.receive("mail", limit=2)
    await queue.settle(first, "abandon")
    await queue.settle(second, "abandon")

    again = await queue.receive("mail", limit=5)

    assert [(d.message.body, d.attempts) for d in again] == [(0, 2), (1, 2), (2, 1)]


async def test_what_outlives_its_lock_comes_again_and_the_old_lock_settles_nothing(queue, clock):
    await queue.send("work", [message(1)])
    (late,) = await queue.receive("work")
    await clock.advance(61)

    (again,) = await queue.receive("work", wait=LONG)

    assert again.attempts == 2
    for outcome in ("complete", "abandon", DeadLetter("bad")):
        with pytest.raises(ConflictError):
            await queue.settle(late, outcome)
    with pytest.raises(ConflictError):
        await queue.renew(late)
    await queue.settle(again, "complete")
    assert await queue.peek("work") == ()


async def test_a_session_whose_lock_has_run_out_goes_to_the_next_from_its_first_message(queue, clock):
    await queue.send("mail", [message(n, "a") for n in range(2)])
    late = await queue.receive("mail", limit=2)
    await clock.advance(61)

    again = await queue.receive("mail", limit=2, wait=LONG)

    assert [(d.message.body, d.attempts) for d in again] == [(0, 2), (1, 2)]
    with pytest.raises(ConflictError):
        await queue.settle(late[0], "complete")
    await settle(queue, again)


@pytest.mark.parametrize(("name", "session"), [("work", None), ("mail", "a")])
async def test_a_lock_that_is_renewed_does_not_run_out(queue, clock, name, session):
    await queue.send(name, [message(1, session)])
    (delivery,) = await queue.receive(name)

    for _ in range(3):
        await clock.advance(40)
        assert await queue.renew(delivery) == pytest.approx(clock() + 60, abs=5)

    assert await queue.receive(name) == ()
    await queue.settle(delivery, "complete")
    assert await queue.peek(name) == ()


async def test_what_is_settled_is_settled(queue):
    await queue.send("work", [message(1)])
    (delivery,) = await queue.receive("work")
    await queue.settle(delivery, "complete")

    with pytest.raises(ConflictError):
        await queue.settle(delivery, "complete")


async def test_a_second_message_of_the_same_id_is_dropped_until_the_window_has_passed(queue, clock):
    await queue.send("work", [message("first", id="x")])
    assert await taken(queue, "work") == ["first"]

    await queue.send("work", [message("again", id="x"), message("other", id="y"), message("twice", id="y")])
    assert await taken(queue, "work") == ["other"]
    await queue.send("mail", [message("elsewhere", "a", id="x")])
    assert await taken(queue, "mail") == ["elsewhere"]

    await clock.advance(31 * 60)
    await queue.send("work", [message("later", id="x")])
    assert await taken(queue, "work") == ["later"]


async def test_a_scheduled_message_comes_when_it_is_due_behind_what_waits_by_then(queue, clock):
    (number,) = await queue.send("work", [message("later", due=clock() + 30)])
    assert isinstance(number, int)
    await clock.advance(29)
    await queue.send("work", [message("now")])
    assert bodies(await queue.peek("work")) == ["now"]

    await clock.advance(2)

    assert bodies(await queue.peek("work")) == ["now", "later"]
    assert await taken(queue, "work", wait=LONG) == ["now", "later"]


async def test_a_message_that_was_due_already_comes_now_and_has_no_number(queue, clock):
    assert await queue.send("work", [message("past", due=clock() - 10)]) == (None,)
    assert await taken(queue, "work") == ["past"]


async def test_a_scheduled_message_can_be_cancelled_once(queue, clock):
    first, kept = await queue.send("work", [message(n, due=clock() + 30) for n in ("gone", "kept")])
    await queue.cancel("work", first)

    with pytest.raises(NotFoundError):
        await queue.cancel("work", first)
    await clock.advance(31)
    assert await taken(queue, "work", wait=LONG) == ["kept"]
    with pytest.raises(NotFoundError):
        await queue.cancel("work", kept)


async def test_what_outlives_its_ttl_is_a_dead_letter(queue, clock):
    await queue.send(
        "work", [message("old", ttl=10), message("lasting"), message("due", due=clock() + 20, ttl=10)]
    )
    await clock.advance(21)

    assert await taken(queue, "work", wait=LONG) == ["lasting", "due"]
    (dead,) = await queue.peek(DEAD)
    assert (dead.message.body, dead.dead.reason) == ("old", "TTLExpiredException")


async def test_a_session_of_which_everything_has_expired_keeps_nobody_waiting(queue, clock):
    await queue.send("mail", [message("old", "a", ttl=10), message("fresh", "b")])
    await clock.advance(11)

    assert await taken(queue, "mail", wait=LONG) == ["fresh"]
    assert await queue.receive("mail") == ()
    assert bodies(await queue.peek("mail" + DEAD_LETTERS)) == ["old"]


async def test_a_rejected_message_is_a_dead_letter_with_the_reason(queue):
    await queue.send("mail", [message("bad", "a"), message("good", "a")])
    bad, good = await queue.receive("mail", limit=2)

    await queue.settle(bad, DeadLetter("BadOrder", "no customer 7"))
    await queue.settle(good, "complete")

    (dead,) = await queue.peek("mail" + DEAD_LETTERS)
    assert dead.message == bad.message
    assert (dead.dead, dead.attempts, dead.token) == (DeadLetter("BadOrder", "no customer 7"), 1, "")
    assert await queue.peek("mail") == ()


async def test_what_fails_ten_times_is_a_dead_letter_and_lets_its_session_go_on(queue):
    await queue.send("mail", [message("poison", "a"), message("fine", "a")])
    for attempt in range(1, 11):
        (delivery,) = await queue.receive("mail")
        assert (delivery.message.body, delivery.attempts) == ("poison", attempt)
        await queue.settle(delivery, "abandon")

    assert await taken(queue, "mail") == ["fine"]
    (dead,) = await queue.peek("mail" + DEAD_LETTERS)
    assert (dead.message.body, dead.dead.reason) == ("poison", "MaxDeliveryCountExceeded")


async def test_what_loses_its_lock_ten_times_is_a_dead_letter(queue, clock):
    await queue.send("work", [message("poison")])
    for _ in range(10):
        assert bodies(await queue.receive("work", wait=LONG)) == ["poison"]
        await clock.advance(61)

    assert await queue.receive("work") == ()
    assert [d.dead.reason for d in await queue.peek(DEAD)] == ["MaxDeliveryCountExceeded"]


async def dead_letters(queue, count):
    await queue.send("work", [message(n) for n in range(count)])
    await settle(queue, await queue.receive("work", limit=count), DeadLetter("bad"))


async def test_dead_letters_are_listed_in_pages(queue):
    await dead_letters(queue, 5)

    first = await queue.peek(DEAD, limit=2)
    rest = await queue.peek(DEAD, after=first[-1].number)

    assert bodies(first) + bodies(rest) == [0, 1, 2, 3, 4]
    assert await queue.peek(DEAD, limit=0) == ()


async def test_a_dead_letter_is_replayed_by_receiving_it_sending_it_again_and_completing_it(queue):
    await dead_letters(queue, 3)
    wanted = (await queue.peek(DEAD))[1].number

    for delivery in await queue.receive(DEAD, limit=10):
        if delivery.number != wanted:
            await queue.settle(delivery, "abandon")
            continue
        again = QueueMessage(
            body=delivery.message.body, message_id=f"{delivery.message.message_id}#r{wanted}"
        )
        await queue.send("work", [again])
        await queue.settle(delivery, "complete")

    assert await taken(queue, "work") == [1]
    assert bodies(await queue.peek(DEAD)) == [0, 2]


async def test_a_dead_letter_dies_of_nothing(queue, clock):
    await queue.send("work", [message("x", ttl=3600)])
    await settle(queue, await queue.receive("work"), DeadLetter("bad"))
    await clock.advance(7200)

    for _ in range(12):
        await settle(queue, await queue.receive(DEAD), "abandon")

    assert bodies(await queue.peek(DEAD)) == ["x"]
    await settle(queue, await queue.receive(DEAD), "complete")
    assert await queue.peek(DEAD) == ()


async def test_looking_locks_nothing(queue):
    await queue.send("mail", [message(1, "a"), message(1, "b")])

    looked = await queue.peek("mail")

    assert [(d.message.session_id, d.attempts, d.token) for d in looked] == [("a", 0, ""), ("b", 0, "")]
    assert len(await queue.receive("mail")) == 1


async def test_a_message_has_at_most_256_kb(queue):
    most = "x" * (MAX_MESSAGE_BYTES - len('""{}'))
    await queue.send("work", [message(most, id="most")])
    ((delivery),) = await queue.receive("work")
    assert delivery.message.body == most

    for body, properties in ((most + "x", {}), ("ä" * (MAX_MESSAGE_BYTES // 2), {}), (most, {"k": "v"})):
        with pytest.raises(InvalidError, match="at most"):
            await queue.send("work", [message(body, id="more", properties=properties)])


async def test_many_large_messages_are_sent_at_once(queue):
    large = [message("x" * 100_000, "a", id=f"{n}") for n in range(20)]
    await queue.send("mail", large)

    got = []
    while found := await queue.receive("mail", limit=20):
        got += [d.message.message_id for d in found]
        await settle(queue, found)
    assert got == [f"{n}" for n in range(20)]


async def test_all_that_is_wrong_is_said_at_once_and_nothing_is_sent(queue):
    wrong = [
        message("fine", "a"),
        message("x", "a", id="y" * 129),
        message(float("nan"), "s" * 129, id="m"),
        message("x", "a", ttl=-1, due=-5.0, properties={"list": [1]}),
    ]
    with pytest.raises(InvalidError) as error:
        await queue.send("mail", wrong)

    assert [problem.path for problem in error.value.problems] == [
        "$[1].messageId",
        "$[2].sessionId",
        "$[2]",
        "$[3].due",
        "$[3].ttl",
        "$[3].properties.list",
    ]
    assert await queue.peek("mail") == ()


async def test_the_number_of_messages_sent_at_once_is_limited(queue):
    for refused in ([], [message(n) for n in range(MAX_MESSAGES + 1)]):
        with pytest.raises(InvalidError):
            await queue.send("work", refused)
    await queue.send("work", [message(n) for n in range(MAX_MESSAGES)])


async def test_sessions_are_needed_where_there_are_sessions_and_refused_where_there_are_none(queue):
    with pytest.raises(InvalidError, match="session"):
        await queue.send("mail", [message(1)])
    with pytest.raises(InvalidError, match="session"):
        await queue.receive("work", session="a")


async def test_nobody_sends_to_dead_letters(queue):
    with pytest.raises(InvalidError):
        await queue.send(DEAD, [message(1)])


@pytest.mark.parametrize("name", ["", "/x", "a b", "ä", "x" * 261])
async def test_bad_names_are_refused(queue, name):
    for operation in (
        queue.send(name, [message(1)]),
        queue.receive(name),
        queue.peek(name),
        queue.cancel(name, 1),
    ):
        with pytest.raises(InvalidError):
            await operation
