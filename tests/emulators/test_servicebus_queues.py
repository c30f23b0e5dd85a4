"""Queues without sessions, seen through the SDK."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
)

from tests.emulators.links import complete, left, linked, receive, receive_one
from tests.emulators.servicebus import serve
from tests.ports.servicebus import hurried

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORK = {
    "MaxDeliveryCount": 3,
    "DeadLetteringOnMessageExpiration": True,
    "RequiresDuplicateDetection": True,
    "DuplicateDetectionHistoryTimeWindow": "PT30M",
}
CONFIG = {
    "UserConfig": {
        "Namespaces": [
            {
                "Name": "test",
                "Queues": [
                    {"Name": "work", "Properties": WORK},
                    {"Name": "stream", "Properties": {}},
                    {"Name": "tiny", "Properties": {"MaxSizeInMegabytes": 0}},
                    {"Name": "sessions", "Properties": {"RequiresSession": True}},
                ],
            }
        ]
    }
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def links():
    async with hurried(), serve(CONFIG) as server, linked(server) as links:
        # All at once, as each of them mostly waits.
        await asyncio.gather(links.sender("work"), links.receiver("work"), links.dead("work"))
        yield links


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nothing_is_left(links):
    yield
    assert (left(links.server, "work"), left(links.server, "work/$deadletterqueue")) == (0, 0)


async def test_a_message_comes_as_it_was_sent(links):
    sent = ServiceBusMessage(
        "one",
        message_id="a",
        subject="subject",
        correlation_id="c",
        content_type="text/plain",
        reply_to="r",
        to="t",
        time_to_live=timedelta(hours=1),
        application_properties={"i": 1, "s": "x", "f": 1.5, "b": True, "u": uuid.UUID(int=5)},
    )
    before = datetime.now(UTC)
    await links.send("work", sent)
    receiver = await links.receiver("work")
    got = await receive_one(receiver)
    assert (str(got), got.message_id, got.subject, got.correlation_id) == ("one", "a", "subject", "c")
    assert (got.content_type, got.reply_to, got.to) == ("text/plain", "r", "t")
    assert got.time_to_live == timedelta(hours=1)
    assert got.application_properties == {b"i": 1, b"s": b"x", b"f": 1.5, b"b": True, b"u": uuid.UUID(int=5)}
    assert got.delivery_count == 0
    assert got.locked_until_utc > before + timedelta(seconds=59)
    assert abs(got.enqueued_time_utc - before) < timedelta(minutes=1)
    await receiver.complete_message(got)


async def test_lists_and_batches_keep_their_order_and_are_counted(links):
    links.server.stats.reset()
    sender, receiver = await links.sender("work"), await links.receiver("work")
    await sender.send_messages([ServiceBusMessage(f"l{n}") for n in range(3)])
    batch = await sender.create_message_batch()
    for number in range(5):
        batch.add_message(ServiceBusMessage(f"b{number}", application_properties={"n": number}))
    await sender.send_messages(batch)
    assert batch.max_size_in_bytes == 256 * 1024
    assert await complete(receiver, 8) == ["l0", "l1", "l2", "b0", "b1", "b2", "b3", "b4"]
    counts = links.server.stats
    assert (counts["send"], counts["send.batch"], counts["send.message"]) == (2, 2, 8)
    assert (counts["receive"], counts["settle"], counts["settle.complete"]) == (8, 8, 8)


async def test_a_message_of_many_frames_comes_whole_and_one_too_large_is_refused(links):
    sender, receiver = await links.sender("work"), await links.receiver("work")
    await sender.send_messages(ServiceBusMessage("A" * 250_000))
    assert await complete(receiver, 1) == ["A" * 250_000]
    with pytest.raises(MessageSizeExceededError):
        await sender.send_messages(ServiceBusMessage("A" * 300_000))
    await sender.send_messages(ServiceBusMessage("and the link lives"))
    assert await complete(receiver, 1) == ["and the link lives"]


async def test_what_is_abandoned_too_often_is_a_dead_letter(links):
    await links.send("work", ServiceBusMessage("poison"))
    receiver, dead = await links.receiver("work"), await links.dead("work")
    for attempt in range(3):
        got = await receive_one(receiver)
        assert got.delivery_count == attempt
        await receiver.abandon_message(got)
    letter = await receive_one(dead)
    assert (letter.dead_letter_reason, letter.dead_letter_source) == ("MaxDeliveryCountExceeded", "work")
    await dead.complete_message(letter)


async def test_a_dead_letter_says_why_and_keeps_what_the_message_had(links):
    await links.send("work", ServiceBusMessage("bad", application_properties={"k": "v"}))
    receiver, dead = await links.receiver("work"), await links.dead("work")
    got = await receive_one(receiver)
    await receiver.dead_letter_message(got, reason="why", error_description="because")
    letter = await receive_one(dead)
    assert (letter.dead_letter_reason, letter.dead_letter_error_description) == ("why", "because")
    assert letter.application_properties[b"k"] == b"v"
    assert letter.sequence_number == got.sequence_number
    with pytest.raises(ServiceBusError):
        await dead.dead_letter_message(letter)
    links.server.expire_locks("work/$deadletterqueue")
    assert await complete(dead, 1) == ["bad"]


async def test_a_renewed_lock_outlives_its_time_and_one_that_is_not_is_lost(links):
    receiver = await links.receiver("work")
    await links.send("work", ServiceBusMessage("kept"))
    got = await receive_one(receiver)
    until = got.locked_until_utc
    links.server.advance(50)
    assert await receiver.renew_message_lock(got) > until
    links.server.advance(50)
    await receiver.complete_message(got)

    await links.send("work", ServiceBusMessage("lost"))
    got = await receive_one(receiver)
    links.server.advance(61)
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(got)
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(got)
    again = await receive_one(receiver)
    assert (str(again), again.delivery_count) == ("lost", 1)
    await receiver.complete_message(again)


async def test_scheduled_messages_come_when_they_are_due_unless_they_are_cancelled(links):
    sender, receiver = await links.sender("work"), await links.receiver("work")
    due = datetime.fromtimestamp(links.server.broker.now() + 86_400, UTC)
    numbers = await sender.schedule_messages([ServiceBusMessage("s1"), ServiceBusMessage("s2")], due)
    later = ServiceBusMessage("s3", scheduled_enqueue_time_utc=due)
    await sender.send_messages(later)
    await sender.cancel_scheduled_messages(numbers[1])
    with pytest.raises(ServiceBusError):
        await sender.cancel_scheduled_messages(numbers[1])
    seen = await receiver.peek_messages(10)
    assert [str(message) for message in seen] == ["s1", "s3"]
    assert {message.state for message in seen} == {ServiceBusMessageState.SCHEDULED}
    links.server.advance(86_401)
    got = await receive(receiver, 2)
    assert sorted(map(str, got)) == ["s1", "s3"]
    assert {message.enqueued_time_utc.replace(microsecond=0) for message in got} == {
        due.replace(microsecond=0)
    }
    for message in got:
        await receiver.complete_message(message)
    with pytest.raises(ServiceBusError):
        await sender.cancel_scheduled_messages(numbers[0])


async def test_a_peek_locks_nothing_and_sees_what_is_locked(links):
    receiver = await links.receiver("work")
    await links.send("work", ServiceBusMessage("p1"), ServiceBusMessage("p2"))
    first = await receive_one(receiver)
    assert [str(message) for message in await receiver.peek_messages(5, sequence_number=1)] == ["p1", "p2"]
    after = await receiver.peek_messages(5, sequence_number=first.sequence_number + 1)
    assert [str(message) for message in after] == ["p2"]
    await receiver.complete_message(first)
    assert await complete(receiver, 1) == ["p2"]
    assert await receiver.peek_messages(5, sequence_number=1) == []


async def test_a_deferred_message_comes_only_to_who_asks_by_its_number(links):
    receiver = await links.receiver("work")
    await links.send("work", ServiceBusMessage("later"), ServiceBusMessage("now"))
    got = await receive_one(receiver)
    await receiver.defer_message(got)
    assert await complete(receiver, 1) == ["now"]
    [deferred] = await receiver.receive_deferred_messages(got.sequence_number)
    assert (str(deferred), deferred.state) == ("later", ServiceBusMessageState.DEFERRED)
    with pytest.raises(MessageLockLostError):
        await receiver.receive_deferred_messages(got.sequence_number)
    await receiver.abandon_message(deferred)
    [deferred] = await receiver.receive_deferred_messages(got.sequence_number)
    assert deferred.delivery_count == 1
    await receiver.complete_message(deferred)
    with pytest.raises(MessageNotFoundError):
        await receiver.receive_deferred_messages(got.sequence_number)


async def test_an_id_counts_once_within_the_window(links):
    sender, receiver = await links.sender("work"), await links.receiver("work")
    for _ in range(2):
        await sender.send_messages(ServiceBusMessage("1", message_id="same"))
    await sender.send_messages([ServiceBusMessage("2", message_id="twice") for _ in range(2)])
    assert await complete(receiver, 2) == ["1", "2"]
    await sender.send_messages(ServiceBusMessage("gone, and still known", message_id="same"))
    assert left(links.server, "work") == 0
    links.server.advance(30 * 60 + 1)
    await sender.send_messages(ServiceBusMessage("new again", message_id="same"))
    assert await complete(receiver, 1) == ["new again"]


async def test_what_outlives_its_time_is_a_dead_letter_unless_somebody_has_it(links):
    receiver, dead = await links.receiver("work"), await links.dead("work")
    short = timedelta(seconds=30)
    await links.send("work", ServiceBusMessage("in hand", time_to_live=short))
    got = await receive_one(receiver)
    await links.send("work", ServiceBusMessage("expired", time_to_live=short))
    # The receiver has no credit left while nobody calls it, so the second message waits in the queue.
    links.server.advance(31)
    await receiver.complete_message(got)
    letter = await receive_one(dead)
    assert (str(letter), letter.dead_letter_reason) == ("expired", "TTLExpiredException")
    await dead.complete_message(letter)


async def test_an_iterator_with_prefetch_gets_everything(links):
    sender, receiver = await asyncio.gather(
        links.sender("stream"), links.own(links.client.get_queue_receiver("stream", prefetch_count=5))
    )
    await sender.send_messages([ServiceBusMessage(str(n)) for n in range(20)])
    got = []
    async for message in receiver:
        got.append(str(message))
        await receiver.complete_message(message)
        if len(got) == 20:
            break
    assert got == [str(n) for n in range(20)]


async def test_who_receives_and_deletes_settles_nothing(links):
    await links.send("work", ServiceBusMessage("gone"))
    receiver = await links.own(
        links.client.get_queue_receiver("work", receive_mode="receiveanddelete"),
    )
    assert str(await receive_one(receiver)) == "gone"
    assert left(links.server, "work") == 0


async def test_what_does_not_exist_or_fit_is_refused(links):
    client = links.client

    async def refused(handler, error):
        with pytest.raises(error):
            async with handler as link:
                await link.send_messages(ServiceBusMessage("x"))

    await asyncio.gather(
        refused(client.get_queue_sender("nowhere"), MessagingEntityNotFoundError),
        refused(client.get_queue_receiver("nowhere"), MessagingEntityNotFoundError),
        refused(client.get_queue_sender("work/$deadletterqueue"), ServiceBusError),
        refused(client.get_queue_sender("tiny"), ServiceBusQuotaExceededError),
        refused(client.get_queue_sender("sessions"), ServiceBusError),
        refused(client.get_queue_receiver("sessions"), ServiceBusError),
        refused(client.get_queue_receiver("work", session_id="s"), ServiceBusError),
    )
