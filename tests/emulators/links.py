"""The real SDK's links to a test server: opening and closing one takes half a second, so tests share them."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator

from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from tests.emulators.servicebus import Server
from tests.ports.servicebus import hurried

LONG = 10


class Links:
    def __init__(self, server: Server, client: ServiceBusClient) -> None:
        self.server, self.client = server, client
        self._shared = {}
        self._own = []

    async def _open(self, key, make):
        if key not in self._shared:
            self._shared[key] = asyncio.ensure_future(make().__aenter__())
        return await self._shared[key]

    async def sender(self, queue) -> ServiceBusSender:
        return await self._open(("sender", queue), lambda: self.client.get_queue_sender(queue))

    async def receiver(self, queue, **options) -> ServiceBusReceiver:
        key = ("receiver", queue, *options.items())
        return await self._open(key, lambda: self.client.get_queue_receiver(queue, **options))

    async def dead(self, queue) -> ServiceBusReceiver:
        return await self.receiver(queue, sub_queue="deadletter")

    async def own(self, handler):
        """One more link; it closes with the others."""
        self._own.append(handler)
        return await handler.__aenter__()

    async def session(self, queue, id_, **options) -> ServiceBusReceiver:
        return await self.own(self.client.get_queue_receiver(queue, session_id=id_, **options))

    async def send(self, queue, *messages: ServiceBusMessage) -> None:
        for message in messages:
            await (await self.sender(queue)).send_messages(message)

    async def aclose(self) -> None:
        opened = await asyncio.gather(*self._shared.values(), return_exceptions=True)
        handlers = [*(handler for handler in opened if hasattr(handler, "close")), *self._own]
        await asyncio.gather(*(handler.close() for handler in handlers))


@contextlib.asynccontextmanager
async def linked(server: Server, **options) -> AsyncIterator[Links]:
    options = {"retry_total": 1, "retry_backoff_factor": 0.01} | options
    async with ServiceBusClient.from_connection_string(server.connection_string, **options) as client:
        links = Links(server, client)
        try:
            yield links
        finally:
            await links.aclose()


class Together:
    """Tests that run at once, since each of them mostly waits; pytest sees them one by one, by their names.

    A module decorates them, and has a fixture `running` that yields what `started` does.
    """

    def __init__(self) -> None:
        self._tests = {}

    def __call__(self, test):
        self._tests[test.__name__] = test

        async def result(running):
            await running[test.__name__]

        result.__name__ = result.__qualname__ = test.__name__
        return result

    @contextlib.asynccontextmanager
    async def started(self, run):
        """Call `run` with each of them; give the tasks by name."""
        async with hurried():
            tasks = {name: asyncio.ensure_future(run(test)) for name, test in self._tests.items()}
            yield tasks
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)


async def receive(receiver: ServiceBusReceiver, count: int = 1) -> list[ServiceBusReceivedMessage]:
    """So many messages, however few come at once."""
    found = []
    while len(found) < count:
        batch = await receiver.receive_messages(count - len(found), max_wait_time=LONG)
        assert batch, f"{len(found)} of {count} came"
        found += batch
    return found


async def receive_one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    return (await receive(receiver))[0]


async def complete(receiver: ServiceBusReceiver, count: int) -> list[str]:
    """Receive and complete; give the texts."""
    found = await receive(receiver, count)
    for message in found:
        await receiver.complete_message(message)
    return [str(message) for message in found]


def left(server: Server, queue: str) -> int:
    return len(server.broker.entity(queue).messages)


class Credential:
    """Of an identity provider that says what it is told."""

    def __init__(self, **claims):
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        self._token = AccessToken(f"e30.{body}.c2ln", int(time.time()) + 3600)

    async def get_token(self, *scopes, **options):
        return self._token

    async def close(self):
        pass
