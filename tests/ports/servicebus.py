"""Service Bus for the suites: the test server, or the namespace that LOOM_TEST_SERVICEBUS names.

That one is waited for wherever a test puts the clock forward (in one, half an hour); its queues `mail` and
`work` are those of `tests/emulators/servicebus/config.json`, and are emptied.
"""

import asyncio
import json
import os
import time
import uuid
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from azure.servicebus._pyamqp.aio import _client_async, _connection_async, _transport_async
from azure.servicebus.aio import _base_handler_async, _servicebus_receiver_async, _servicebus_sender_async

from loom_core.adapters.servicebus import ServiceBusMessageQueue
from loom_core.ports.queue import DEAD_LETTERS
from loom_core.settings import Connection
from tests.emulators import servicebus
from tests.emulators.servicebus import serve

REAL = os.environ.get("LOOM_TEST_SERVICEBUS")
CONFIG = json.loads((Path(servicebus.__file__).parent / "config.json").read_text())
QUEUES = ("mail", "work")
MORE = 0.06
"""Seconds that the SDK waits for more of a batch, instead of 0.2: the server sends all of it at once."""
_SDK = (
    _base_handler_async,
    _client_async,
    _servicebus_receiver_async,
    _servicebus_sender_async,
    _transport_async,
)


@asynccontextmanager
async def namespace():
    """Give what opens a queue for one test."""
    if REAL:
        kind = "connection_string" if "=" in REAL else "endpoint"
        adapter = ServiceBusMessageQueue(Connection(**{kind: REAL}))
        yield lambda folder, clock: _emptied(adapter, clock)
        await adapter.aclose()
        return
    async with hurried(), serve(CONFIG) as server:
        connection = Connection(connection_string=server.connection_string)
        adapter = ServiceBusMessageQueue(connection, clock=server.broker.now)
        yield lambda folder, clock: _forgotten(server, adapter, clock)
        await adapter.aclose()


class _Hurried:
    """asyncio for the SDK, with short pauses, and knowing what it opened."""

    def __init__(self):
        self.writers = []

    @staticmethod
    async def sleep(seconds):
        await asyncio.sleep(min(seconds, 0.002))

    async def open_connection(self, *args, **kwargs):
        reader, writer = await asyncio.open_connection(*args, **kwargs)
        self.writers.append(writer)
        return reader, writer

    def __getattr__(self, name):
        return getattr(asyncio, name)


@asynccontextmanager
async def hurried():
    """Shorten the pauses in which the SDK looks for an answer, for more, or for its own end: up to a second.

    At last, close what it does not: the sockets of connections that it has lost.
    """
    hurried = _Hurried()
    with ExitStack() as stack:
        for module in _SDK:
            stack.enter_context(patch.object(module, "asyncio", hurried))
        more = property(lambda _: MORE, lambda _, given: None)
        receiver = _servicebus_receiver_async.ServiceBusReceiver
        stack.enter_context(patch.object(receiver, "_further_pull_receive_timeout", more, create=True))
        listen = _connection_async.Connection.listen

        async def listen_briefly(self, wait=False, **how):
            await listen(self, wait if isinstance(wait, bool) else min(wait, MORE), **how)

        stack.enter_context(patch.object(_connection_async.Connection, "listen", listen_briefly))
        yield
    for writer in hurried.writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in hurried.writers), return_exceptions=True)


@asynccontextmanager
async def _forgotten(server, adapter, clock):
    """The test server, where an hour has passed since the last test, and nothing is left of it."""
    server.advance(3_600)
    await asyncio.sleep(0)
    for queue in server.broker.queues():
        for message in [*queue.messages.values()]:
            queue.discard(message)

    async def advance():
        server.advance(clock.now - server.broker.now())

    clock.now = server.broker.now()
    clock.heard.append(advance)
    yield adapter


@asynccontextmanager
async def _emptied(adapter, clock):
    for name in (*QUEUES, *(name + DEAD_LETTERS for name in QUEUES)):
        while found := await adapter.receive(name, limit=100, wait=1):
            for delivery in found:
                await adapter.settle(delivery, "complete")

    async def wait():
        await asyncio.sleep(max(0.0, clock.now - time.time()))

    clock.now = time.time()
    clock.heard.append(wait)
    yield _Fresh(adapter)


class _Fresh:
    """Ids that no test before has used: the service knows them for half an hour."""

    def __init__(self, adapter):
        self._adapter = adapter
        self._prefix = f"{uuid.uuid4().hex[:8]}."

    def __getattr__(self, name):
        return getattr(self._adapter, name)

    async def send(self, queue, messages):
        sent = [replace(m, message_id=self._prefix + m.message_id) for m in messages]
        return await self._adapter.send(queue, sent)

    async def receive(self, queue, **how):
        return tuple(map(self._plain, await self._adapter.receive(queue, **how)))

    async def peek(self, queue, **how):
        return tuple(map(self._plain, await self._adapter.peek(queue, **how)))

    def _plain(self, delivery):
        plain = delivery.message.message_id.removeprefix(self._prefix)
        return replace(delivery, message=replace(delivery.message, message_id=plain))
