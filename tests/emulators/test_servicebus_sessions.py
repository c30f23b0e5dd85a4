"""Queues with sessions, seen through the SDK."""

import asyncio

import pytest
import pytest_asyncio
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    OperationTimeoutError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from tests.emulators.links import Together, complete, left, linked, receive, receive_one
from tests.emulators.servicebus import serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = {
    "UserConfig": {
        "Namespaces": [
            {
                "Name": "test",
                "Queues": [
                    {"Name": "mail", "Properties": {"RequiresSession": True, "MaxDeliveryCount": 3}},
                    {"Name": "next", "Properties": {"RequiresSession": True}},
                ],
            }
        ]
    }
}


together = Together()


async def run(test):
    async with serve(CONFIG) as server, linked(server) as links:
        await test(links)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    async with together.started(run) as tasks:
        yield tasks


def text(session, number):
    return ServiceBusMessage(f"{session}{number}", session_id=session)


@together
async def test_a_session_comes_in_order_and_alone(links):
    for number in range(5):
        await links.send("mail", text("A", number), text("B", number))
    first, second = await asyncio.gather(links.session("mail", "A"), links.session("mail", "B"))
    got = await receive(first, 5)
    assert [str(message) for message in got] == [f"A{n}" for n in range(5)]
    assert {message.session_id for message in got} == {"A"}
    for message in got:
        await first.complete_message(message)
    assert await complete(second, 5) == [f"B{n}" for n in range(5)]


@together
async def test_a_session_has_a_state_and_a_lock_of_its_own(links):
    await links.send("mail", text("S", 1))
    receiver = await links.session("mail", "S")
    got = await receive_one(receiver)
    session = receiver.session
    assert not await session.get_state()
    await session.set_state(b"state")
    assert await session.get_state() == b"state"
    with pytest.raises(MessageSizeExceededError):
        await session.set_state(b"x" * (256 * 1024 + 1))
    links.server.advance(50)
    before = session.locked_until_utc
    assert await session.renew_lock() > before
    links.server.advance(50)
    await receiver.complete_message(got)
    await session.set_state(None)
    assert not await session.get_state()


@together
async def test_a_session_that_another_has_cannot_be_had(links):
    await links.session("mail", "T")
    with pytest.raises(SessionCannotBeLockedError):
        await links.session("mail", "T")


@together
async def test_a_closed_receiver_gives_its_session_back_and_counts_nothing(links):
    await links.send("mail", *(text("C", number) for number in range(4)))
    async with links.client.get_queue_receiver("mail", session_id="C") as receiver:
        got = await receive(receiver, 4)
        await receiver.complete_message(got[0])
        await receiver.dead_letter_message(got[1], reason="x")
        await receiver.abandon_message(got[2])
    again, dead = await asyncio.gather(links.session("mail", "C"), links.dead("mail"))
    got = await receive(again, 2)
    assert [(str(message), message.delivery_count) for message in got] == [("C2", 1), ("C3", 0)]
    for message in got:
        await again.complete_message(message)
    assert await complete(dead, 1) == ["C1"]


@together
async def test_an_expired_session_is_lost_and_its_messages_count_as_delivered(links):
    await links.send("mail", text("E", 1))
    receiver = await links.session("mail", "E")
    got = await receive_one(receiver)
    links.server.advance(61)
    with pytest.raises(SessionLockLostError):
        await receiver.complete_message(got)
    again = await links.session("mail", "E")
    back = await receive_one(again)
    assert back.delivery_count == 1
    with pytest.raises(SessionLockLostError):
        await receiver.session.renew_lock()
    assert again.session.session_id == "E"
    await again.complete_message(back)
    assert left(links.server, "mail") == 0


@together
async def test_a_deferred_message_of_a_session_is_for_who_has_the_session(links):
    await links.send("mail", text("D", 1))
    receiver = await links.session("mail", "D")
    got = await receive_one(receiver)
    await receiver.defer_message(got)
    [deferred] = await receiver.receive_deferred_messages(got.sequence_number)
    await receiver.complete_message(deferred)
    assert left(links.server, "mail") == 0


@together
async def test_the_next_available_session_is_one_with_messages_now_or_later(links):
    async def next_session(**options):
        return await links.session("next", NEXT_AVAILABLE_SESSION, **options)

    await links.send("next", text("N", 1))
    first = await next_session()
    assert first.session.session_id == "N"
    waiting = asyncio.ensure_future(next_session())
    while not links.server.broker.entity("next").sessions.waiting():
        await asyncio.sleep(0.01)
    await links.send("next", text("N", 2), text("O", 1))
    second = await waiting
    assert second.session.session_id == "O"
    assert await complete(first, 2) == ["N1", "N2"]
    assert await complete(second, 1) == ["O1"]


@together
async def test_waiting_for_a_session_ends_with_a_time_out(links):
    waiting = asyncio.ensure_future(links.session("next", NEXT_AVAILABLE_SESSION))
    for _ in range(2):  # the SDK tries once more
        while not links.server.broker.entity("next").sessions.waiting() and not waiting.done():
            await asyncio.sleep(0.01)
        links.server.advance(70)
        while links.server.broker.entity("next").sessions.waiting():
            await asyncio.sleep(0.01)
    with pytest.raises(OperationTimeoutError):
        await waiting
    assert left(links.server, "next") == 0
