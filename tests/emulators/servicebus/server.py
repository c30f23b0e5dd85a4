"""The broker on a socket, in the running event loop."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.emulators.servicebus.broker import Broker
from tests.emulators.servicebus.clock import Clock
from tests.emulators.servicebus.connection import Connection
from tests.emulators.servicebus.errors import ServiceBusError
from tests.emulators.servicebus.faults import DetachedError, DroppedError, Faults, Stats
from tests.emulators.servicebus.journal import Journal
from tests.emulators.servicebus.queue import Queue
from tests.emulators.servicebus.tokens import KEY, KEY_NAME

T = TypeVar("T")


def _nothing() -> None:
    """What has no locks has none to expire."""


class Server:
    def __init__(
        self,
        config: dict[str, Any] | None,
        *,
        auto: bool = False,
        data: Path | None = None,
        keys: dict[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        """Raises ConfigError, sqlite3.Error."""
        self.keys = keys or {KEY_NAME: KEY}
        self.faults, self.stats = Faults(seed), Stats()
        self.connections: set[Connection] = set()
        self.failure: Exception | None = None
        self.stopped = asyncio.Event()
        self.port = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: set[Connection] = set()
        self._scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None
        self.broker = Broker(config, auto=auto, journal=Journal(data), work_to_do=self.work_to_do)

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._listener = await self._loop.create_server(lambda: Connection(self), host, port, ssl=tls)
        self.port = self._listener.sockets[0].getsockname()[1]
        self.work_to_do()

    async def stop(self) -> None:
        self._end()
        if self._listener is not None:
            await self._listener.wait_closed()
        self.broker.journal.close()

    def _end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.abort()
        if self._alarm is not None:
            self._alarm.cancel()
        self.stopped.set()

    @property
    def connection_string(self) -> str:
        """For any of the keys."""
        name, key = next(iter(self.keys.items()))
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName={name};SharedAccessKey={key};"
            "UseDevelopmentEmulator=true;"
        )

    @property
    def clock(self) -> Clock:
        return self.broker.clock

    def advance(self, seconds: float) -> None:
        """Put the broker's clock forward; what falls due happens at once."""
        self.broker.advance(seconds)
        self._turn()

    # ---- faults of the moment

    def drop_connections(self) -> int:
        """End all of them without a word."""
        connections = list(self.connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    def detach_links(self, entity: str | None = None, condition: str = "amqp:link:detach-forced") -> None:
        key = None if entity is None else self.broker.entity(entity).key
        for connection in list(self.connections):
            connection.detach_links(key, ServiceBusError(condition, "A fault was asked for."))

    def expire_locks(self, entity: str | None = None) -> None:
        for queue in self.broker.queues() if entity is None else [self.broker.entity(entity)]:
            queue.expire_locks()

    def attempt(
        self,
        operation: str,
        queue: Queue | None,
        apply: Callable[[], T],
        expire: Callable[[], None] = _nothing,
    ) -> T:
        """Count it and do it, unless a fault is due. Raises DroppedError, DetachedError, ServiceBusError."""
        self.stats.count(operation)
        fault = self.faults.take(operation, queue.key if queue is not None else "")
        if fault is None:
            return apply()
        match fault.action:
            case "drop":
                raise DroppedError
            case "lose":
                with contextlib.suppress(ServiceBusError):
                    apply()
                raise DroppedError
            case "detach":
                raise DetachedError(fault.condition)
            case "error":
                raise ServiceBusError(fault.condition, "A fault was asked for.", 503)
        expire()
        return apply()

    # ---- turns

    def work_to_do(self, connection: Connection | None = None) -> None:
        """Within this turn of the loop: deliveries, one commit for everything, then all answers."""
        if connection is not None:
            self._waiting.add(connection)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self.stopped.is_set():
            return
        try:
            self.broker.work()
        except Exception as error:
            # Nothing may be answered that is not kept: better to end than to lie.
            self.failure = error
            self._end()
            self._loop.call_exception_handler({"message": "the broker ends", "exception": error})
            return
        finally:
            self._scheduled = False
        waiting, self._waiting = self._waiting, set()
        for connection in waiting:
            connection.flush()
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.broker.timers.next()
        if due is not None:
            self._alarm = self._loop.call_later(max(0.0, due - self.broker.now()), self.work_to_do)


@contextlib.asynccontextmanager
async def serve(
    config: dict[str, Any] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """A server in the running loop; `options` are Server's. Without a config it creates queues on use."""
    server = Server(config, **({"auto": config is None} | options))
    await server.start(host, port, tls)
    try:
        yield server
    finally:
        await server.stop()
