"""What is odd about a message, or happens half-way through a batch, harms nothing but that message."""

import asyncio
from types import SimpleNamespace
from uuid import UUID

import azure.functions as func
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import MessageAlreadySettled, MessageLockLostError, ServiceBusConnectionError

from loom_core.adapters.identity import close_credential, credential
from loom_core.ports.queue import DEAD_LETTERS
from loom_local.host import namespace_pump
from loom_local.host.namespace_settlement import settle
from loom_local.host.queues import QueueOptions
from tests.host_triggers.conftest import function, invoke, until
from tests.host_triggers.test_namespace import PAUSES, left, message, on, queue, running, server

__all__ = ["queue", "server"]


async def test_ids_of_other_kinds_than_text_arrive_as_text(server):
    app, got = func.FunctionApp(), []

    @on(app, "work")
    async def receive(message: func.ServiceBusMessage) -> None:
        got.append((message.message_id, message.correlation_id))

    id_ = UUID(int=7)
    async with (
        ServiceBusClient.from_connection_string(server.connection_string) as client,
        client.get_queue_sender("work") as sender,
        running(app, server),
    ):
        odd = ServiceBusMessage(b"{}", message_id="m")
        odd.raw_amqp_message.properties.message_id = id_
        odd.raw_amqp_message.properties.correlation_id = id_
        await sender.send_messages(odd)
        await until(lambda: got and not left(server, "work"))
    assert got == [(str(id_), str(id_))]


async def test_a_message_that_cannot_be_bound_dies_and_keeps_nothing_from_the_others(
    server, queue, monkeypatch, caplog
):
    app, got, bind = func.FunctionApp(), [], namespace_pump.bind_one

    def refuse(delivery):
        if delivery.stored.message.body == b"0":
            raise KeyError("a kind that nobody knew")
        return bind(delivery)

    monkeypatch.setattr(namespace_pump, "bind_one", refuse)

    @on(app, "mail", sessions=True)
    async def receive(message: func.ServiceBusMessage) -> None:
        got.append(message.get_body())

    await queue.send("mail", [message(0, "s"), message(1, "s")])
    async with running(app, server):
        await until(lambda: got and not left(server, "mail"))
    assert got == [b"1"]
    assert left(server, "mail" + DEAD_LETTERS) == 1
    assert "a kind that nobody knew" in caplog.text
    assert "receives nothing for now" not in caplog.text


async def test_of_a_batch_whatever_can_be_settled_is_settled(caplog):
    fates = [MessageAlreadySettled(), None, MessageLockLostError(), None]
    messages = [SimpleNamespace(fate=fate) for fate in fates]
    settled = []

    async def complete(message):
        await asyncio.sleep(0)
        if message.fate:
            raise message.fate
        settled.append(message)

    assert not await settle("work", complete, messages)
    assert settled == [messages[1], messages[3]]
    assert caplog.text.count("will be delivered again") == 1


async def test_nothing_more_is_settled_over_a_link_that_was_lost():
    asked = []

    async def complete(message):
        asked.append(message)
        raise ServiceBusConnectionError

    assert not await settle("work", complete, [SimpleNamespace() for _ in range(3)])
    assert len(asked) == 1


async def test_the_identity_outlives_the_queues_for_stores_are_still_in_use_then(server):
    shared = credential()
    async with running(func.FunctionApp(), server):
        pass
    assert credential() is shared
    await close_credential()


async def test_a_session_of_many_short_calls_outlasts_its_lock(server, queue, monkeypatch, caplog):
    monkeypatch.setattr(namespace_pump, "time", SimpleNamespace(time=server.broker.now))
    app, got = func.FunctionApp(), []

    @on(app, "mail", sessions=True)
    async def receive(message: func.ServiceBusMessage) -> None:
        got.append((int(message.get_body()), message.delivery_count))
        server.advance(19)

    await queue.send("mail", [message(n, "s") for n in range(8)])
    async with running(app, server):
        await until(lambda: not left(server, "mail"))
    assert got == [(n, 1) for n in range(8)]
    assert "will be delivered again" not in caplog.text


async def test_a_session_whose_lock_is_lost_while_nothing_comes_is_no_outage(server, queue, caplog):
    app, got = func.FunctionApp(), []

    @on(app, "mail", sessions=True)
    async def receive(message: func.ServiceBusMessage) -> None:
        got.append(message.get_body())

    await queue.send("mail", [message(0, "s")])
    async with running(app, server, sessionIdleTimeout="00:01:00"):
        await until(lambda: got and not left(server, "mail"))
        server.expire_locks("mail")
        await queue.send("mail", [message(1, "s")])
        await until(lambda: len(got) == 2 and not left(server, "mail"))
    assert got == [b"0", b"1"]
    assert "receives nothing for now" not in caplog.text


class IdleSession:
    """A receiver on a clock of its own, to which nothing comes; its lock lasts for 60 seconds."""

    def __init__(self):
        self.session, self.now, self.least = self, 0.0, 60.0
        self.locked_until_utc = SimpleNamespace(timestamp=lambda: self.until)
        self.until = 60.0

    async def receive_messages(self, size, max_wait_time):
        self.now += max_wait_time
        self.least = min(self.least, self.until - self.now)
        return []

    async def renew_lock(self):
        self.until = self.now + 60


async def test_a_session_that_is_idle_for_as_long_as_its_lock_lasts_is_kept(monkeypatch):
    receiver = IdleSession()
    monkeypatch.setattr(namespace_pump, "time", SimpleNamespace(time=lambda: receiver.now))
    mail = function("receive", queueName="mail", isSessionsEnabled=True)
    pump = namespace_pump.Pump(
        mail, invoke, client=None, namespace="ns", options=QueueOptions(), pauses=PAUSES
    )
    await pump._serve(receiver)
    assert receiver.now == 60, "as long as host.json says, unless it says otherwise"
    assert receiver.least >= 20
