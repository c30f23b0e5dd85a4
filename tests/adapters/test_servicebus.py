"""What the queue port does on Service Bus beyond its suite: faults, limits, and what stays unsaid."""

import asyncio
import logging
import time
import traceback

import pytest
import pytest_asyncio
from azure.core.exceptions import ClientAuthenticationError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from loom_core.adapters.servicebus import ServiceBusMessageQueue, client, receivers
from loom_core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from loom_core.ports.queue import DEAD_LETTERS, MAX_MESSAGES, DeadLetter, QueueMessage
from loom_core.settings import Connection
from tests.emulators.links import Credential
from tests.emulators.servicebus import serve
from tests.emulators.servicebus.errors import not_allowed
from tests.ports.servicebus import CONFIG, hurried

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "bm90LWZvci1ib29rcw=="


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def namespace():
    async with hurried(), serve(CONFIG, keys={"test": SECRET}) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def server(namespace):
    yield namespace
    namespace.faults.clear()
    namespace.stats.reset()
    namespace.advance(3_600)
    await asyncio.sleep(0)
    for queue in namespace.broker.queues():
        for message in [*queue.messages.values()]:
            queue.discard(message)


@pytest_asyncio.fixture(loop_scope="module")
async def queue(server):
    queue = ServiceBusMessageQueue(
        Connection(connection_string=server.connection_string), clock=server.broker.now
    )
    yield queue
    await queue.aclose()


def message(body, session=None, **more):
    return QueueMessage(body=body, message_id=f"{session}:{body}", session_id=session, **more)


def bodies(deliveries):
    return [delivery.message.body for delivery in deliveries]


@pytest.mark.parametrize("action", ["lose", "drop", "error", "detach"])
async def test_a_send_that_fails_on_the_way_or_whose_answer_is_lost_is_sent_once(server, queue, action):
    await queue.send("work", [message(0)])
    server.faults.add("send", action, times=2, entity="work")

    await queue.send("work", [message(1), message(2)])

    assert bodies(await queue.peek("work")) == [0, 1, 2]


@pytest.mark.parametrize("action", ["lose", "drop"])
async def test_what_is_scheduled_is_scheduled_once_too(server, queue, action):
    server.faults.add("schedule", action, entity="work")

    (number,) = await queue.send("work", [message(1, due=server.broker.now() + 60)])
    server.advance(61)

    assert isinstance(number, int)
    assert bodies(await queue.peek("work")) == [1]


async def test_while_the_service_is_busy_for_long_it_is_unavailable_and_the_next_send_opens_anew(
    server, queue
):
    server.faults.add("send", times=None)
    with pytest.raises(UnavailableError, match="busy"):
        await queue.send("work", [message(1)])
    assert server.stats["send"] == 4, "once, and three times again"

    server.faults.clear()
    await queue.send("work", [message(1)])

    assert bodies(await queue.peek("work")) == [1]


async def test_a_sender_whose_connection_was_dropped_is_opened_again(server, queue):
    await queue.send("work", [message(1)])
    server.drop_connections()

    await queue.send("work", [message(2)])

    assert bodies(await queue.peek("work")) == [1, 2]


async def test_what_is_being_sent_when_the_queue_is_closed_is_sent_or_unavailable_and_no_link_stays_open(
    server, queue
):
    await queue.send("work", [message(0)])
    in_five_requests = [message(n, due=server.broker.now() + 60 * n) for n in range(1, 6)]
    sent = (in_five_requests, [message(6)], [message(7)])
    sends = [asyncio.create_task(queue.send("work", each)) for each in sent]
    await asyncio.sleep(0)

    await queue.aclose()
    cut_short, *others = await asyncio.gather(*sends, return_exceptions=True)
    await queue.aclose()

    assert isinstance(cut_short, UnavailableError)
    assert others == [(None,), (None,)]
    assert not server.connections


async def test_who_waits_for_a_session_longer_than_its_lock_lasts_gets_what_comes_then(server, queue):
    waiting = asyncio.create_task(queue.receive("mail", session="s", wait=20))
    while not any(session.receiver for held in server.broker.queues() for session in held.sessions):
        await asyncio.sleep(0.001)
    server.advance(400)
    await queue.send("mail", [message(1, "s")])

    assert bodies(await waiting) == [1]


async def test_integers_of_every_size_are_told_as_properties(server, queue):
    given = {"small": -1, "milliseconds": 1_795_285_621_555, "least": -(2**63), "huge": 2**70, "yes": True}

    await queue.send("work", [message(n, properties=given) for n in range(2)])

    assert [each.message.properties for each in await queue.peek("work")] == [given, given]


async def test_an_idle_receiver_whose_connection_was_dropped_is_replaced(server, queue):
    await queue.send("work", [message(1)])
    (first,) = await queue.receive("work")
    await queue.settle(first, "complete")
    server.drop_connections()
    assert await queue.peek("work") == ()
    server.drop_connections()

    await queue.send("work", [message(2)])

    assert bodies(await queue.receive("work")) == [2]


@pytest.mark.parametrize(("name", "session"), [("work", None), ("mail", "s")])
async def test_what_was_received_over_a_lost_connection_comes_again_and_the_old_one_settles_nothing(
    server, queue, name, session
):
    await queue.send(name, [message(1, session)])
    (lost,) = await queue.receive(name)
    server.drop_connections()

    with pytest.raises((UnavailableError, ConflictError)):
        await queue.renew(lost)
    with pytest.raises(ConflictError):
        await queue.settle(lost, "complete")
    server.advance(61)

    (again,) = await queue.receive(name, wait=5)
    assert (again.message.body, again.attempts) == (1, 2 if session is None else 1)


@pytest.mark.parametrize(("name", "session"), [("work", None), ("mail", "s")])
async def test_an_expired_lock_is_a_conflict(server, queue, name, session):
    await queue.send(name, [message(1, session)])
    (late,) = await queue.receive(name)
    server.expire_locks(name)

    with pytest.raises(ConflictError):
        await queue.settle(late, "complete")
    with pytest.raises(ConflictError):
        await queue.renew(late)


async def test_a_busy_service_takes_the_outcome_later(server, queue):
    await queue.send("work", [message(1)])
    (delivery,) = await queue.receive("work")
    server.faults.add("renew")
    with pytest.raises(UnavailableError):
        await queue.renew(delivery)

    await queue.renew(delivery)
    await queue.settle(delivery, "complete")

    assert await queue.peek("work") == ()


async def test_a_thousand_messages_go_in_few_batches_and_keep_the_order_of_their_sessions(server, queue):
    sent = [QueueMessage(body=n, message_id=f"{n}", session_id=f"s{n % 7}") for n in range(MAX_MESSAGES)]
    await queue.send("mail", sent)

    assert server.stats["send"] < 5
    for session in range(7):
        wanted, got = [*range(session, MAX_MESSAGES, 7)], []
        while len(got) < len(wanted):
            found = await queue.receive("mail", session=f"s{session}", limit=MAX_MESSAGES, wait=5)
            got += bodies(found)
            for delivery in found:
                await queue.settle(delivery, "complete")
        assert got == wanted


async def test_a_partitioned_queue_gets_a_batch_for_each_session(server, queue, monkeypatch):
    mail = server.broker.entity("mail")
    take, words = (
        mail.send,
        "Batching brokered messages with distinct SessionId is not supported for an entity with ",
    )

    def send(messages):
        if len({message.session_id for message in messages}) > 1:
            raise not_allowed(words + "partitioning enabled.")
        return take(messages)

    monkeypatch.setattr(mail, "send", send)
    await queue.send("mail", [message(n, f"s{n % 3}") for n in range(30)])
    await queue.send("mail", [message(n, f"s{n % 3}", due=server.broker.now() + 60) for n in range(30, 33)])

    assert (server.stats["send"], server.stats["schedule"]) == (4, 3)
    assert bodies(await queue.receive("mail", session="s1", limit=10)) == [*range(1, 30, 3)]


async def test_many_are_scheduled_for_many_times(server, queue):
    now = server.broker.now()
    sent = [
        message(0, due=now + 20),
        message(1),
        *(QueueMessage(body="x" * 100_000, message_id=f"large {n}", due=now + 10) for n in range(5)),
    ]

    numbers = await queue.send("work", sent)

    assert numbers[1] is None
    assert len({*numbers}) == 7
    assert bodies(await queue.peek("work")) == [1]
    server.advance(15)
    assert len(await queue.peek("work")) == 6
    await queue.cancel("work", numbers[0])
    with pytest.raises(NotFoundError):
        await queue.cancel("work", numbers[2])


async def test_what_only_the_service_finds_too_large_is_invalid(server, queue):
    many = {f"p{n}": "x" * 1_000 for n in range(70)}

    with pytest.raises(InvalidError):
        await queue.send("work", [message(1, properties=many)])


async def test_a_queue_that_is_not_there_is_not_found(server, queue):
    for operation in (
        queue.send("nowhere", [message(1)]),
        queue.receive("nowhere"),
        queue.peek("nowhere"),
        queue.cancel("nowhere", 1),
        queue.receive("nowhere" + DEAD_LETTERS),
    ):
        with pytest.raises(NotFoundError, match="nowhere"):
            await operation


async def test_a_silent_service_is_unavailable_when_the_budget_is_spent():
    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent, hurried():
        port = silent.sockets[0].getsockname()[1]
        told = f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=k;SharedAccessKey={SECRET};"
        connection = Connection(connection_string=told + "UseDevelopmentEmulator=true;")
        queue = ServiceBusMessageQueue(connection, budget=0.1)
        for operation in (queue.send("work", [message(1)]), queue.receive("work"), queue.peek("work")):
            with pytest.raises(UnavailableError, match=r"within 0\.(1|35) seconds|did not"):
                await operation
        await queue.aclose()


async def test_a_receiver_that_stops_waiting_leaves_nothing_locked(server, queue):
    for name, session in (("work", None), ("mail", "s")):
        await queue.send(name, [message(0, session)])
        (first,) = await queue.receive(name)
        await queue.settle(first, "complete")
        waiting = asyncio.create_task(queue.receive(name, wait=20))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        await queue.send(name, [message(1, session)])

        assert [(d.message.body, d.attempts) for d in await queue.receive(name, wait=5)] == [(1, 1)]


async def test_what_was_asked_for_and_did_not_come_is_not_locked_later(server, queue):
    await queue.send("work", [message(0)])
    (held,) = await queue.receive("work", limit=10)

    await queue.send("work", [message(1)])

    assert bodies(await queue.receive("work")) == [1]
    await queue.settle(held, "complete")


async def test_receivers_whose_deliveries_are_forgotten_are_closed_and_their_number_has_a_limit(
    server, queue, monkeypatch
):
    monkeypatch.setattr(receivers, "MOST", 2)
    await queue.send("work", [message(n) for n in range(3)])
    for _ in range(2):
        await queue.receive("work")
    with pytest.raises(UnavailableError, match="settle"):
        await queue.receive("work")

    server.advance(61)

    assert len(await queue.receive("work", wait=5)) == 1


async def test_messages_of_others_are_understood(server, queue):
    others = [
        ServiceBusMessage(b"\xffno text"),
        ServiceBusMessage(
            "plain words", message_id="x", application_properties={b"k": b"v", "n": 7, "none": None}
        ),
        ServiceBusMessage("[NaN]"),
        ServiceBusMessage('{"a": 1}'),
    ]
    async with (
        ServiceBusClient.from_connection_string(server.connection_string) as sdk,
        sdk.get_queue_sender("work") as sender,
    ):
        await sender.send_messages(others)

    found = await queue.receive("work", limit=10)

    assert bodies(found) == ["\ufffdno text", "plain words", "[NaN]", {"a": 1}]
    assert (found[1].message.message_id, found[1].message.properties) == ("x", {"k": "v", "n": 7})


async def test_dead_letters_tell_how_often_they_were_tried(server, queue):
    fates = {"poison": ["abandon"] * 10, "bad": ["abandon", "abandon", DeadLetter("unreadable")]}
    for body, outcomes in fates.items():
        await queue.send("work", [message(body)])
        for outcome in outcomes:
            (delivery,) = await queue.receive("work")
            await queue.settle(delivery, outcome)

    dead = {d.message.body: (d.dead.reason, d.attempts) for d in await queue.peek("work" + DEAD_LETTERS)}

    assert dead == {"poison": ("MaxDeliveryCountExceeded", 10), "bad": ("unreadable", 3)}


async def test_no_key_is_in_any_error_or_log_whatever_fails(server, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("azure", "azure.servicebus"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    wrong = server.connection_string.replace(SECRET, "d3Jvbmcta2V5")
    away = server.connection_string.replace(f":{server.port}", ":1")
    said = []
    for told in (wrong, away, server.connection_string):
        queue = ServiceBusMessageQueue(Connection(connection_string=told), budget=5)
        server.faults.add("send", "drop", times=None)
        for operation in (queue.send("work", [message(1)]), queue.receive("work"), queue.peek("nowhere")):
            try:
                await operation
            except (UnavailableError, NotFoundError) as error:
                said.append("".join(traceback.format_exception(error)))
        await queue.aclose()
        server.faults.clear()
    logging.getLogger("azure.servicebus").setLevel(logging.WARNING)

    assert len(said) >= 7
    for secret in (SECRET, "d3Jvbmcta2V5", "sig="):
        assert secret not in caplog.text
        assert not any(secret in text for text in said)


async def test_with_an_endpoint_the_identity_of_the_app_signs_in(server, monkeypatch):
    for seconds, outcome in ((3_600, None), (-1, "roles")):
        credential = Credential(aud="https://servicebus.azure.net", exp=time.time() + seconds)
        monkeypatch.setattr(client, "credential", lambda it=credential: it)
        where = Connection(endpoint=f"127.0.0.1:{server.port}")
        queue = ServiceBusMessageQueue(where, options={"use_tls": False})
        if outcome is None:
            await queue.send("work", [message(1)])
            assert bodies(await queue.peek("work")) == [1]
        else:
            with pytest.raises(UnavailableError, match=outcome):
                await queue.send("work", [message(2)])
        await queue.aclose()


async def test_an_identity_that_cannot_sign_in_is_told_how(server, monkeypatch):
    class Nobody:
        async def get_token(self, *scopes, **_):
            raise ClientAuthenticationError("no credential in the chain")

    monkeypatch.setattr(client, "credential", Nobody)
    queue = ServiceBusMessageQueue(
        Connection(endpoint=f"127.0.0.1:{server.port}"), options={"use_tls": False}, budget=5
    )
    with pytest.raises(UnavailableError, match="az login"):
        await queue.send("work", [message(1)])
    await queue.aclose()
