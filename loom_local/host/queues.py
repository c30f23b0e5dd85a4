"""Service Bus queue triggers, fed by the local broker.

The pumps run on the host's loop and the broker on the engine's. A step of a session (settle one message,
get the next) is one hop between them and one commit.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any, Protocol, Self

from pydantic import BeforeValidator, Field

from loom_core.errors import InvalidError, Problem
from loom_local.broker import DEAD_LETTERS, Broker, Delivery, LockLostError, QueueProperties, SessionLock
from loom_local.host.documents import Document, read
from loom_local.host.function import Function
from loom_local.host.functions import HandlerError
from loom_local.host.ncrontab import timespan
from loom_local.host.queue_binding import bind_many, bind_one
from loom_local.host.triggers import Invoke, finish, spawn

_log = logging.getLogger(__name__)

DEFAULTS = QueueProperties()
FOREVER = 86_400.0
SESSION_TURN = 256
"""Messages after which a session makes way for others that wait, should it never run empty."""


def _timespan(text: object) -> timedelta:
    span = timespan(text) if isinstance(text, str) else None
    if span is None:
        raise ValueError('must be "hh:mm:ss"')
    return span


class OnEngine(Protocol):
    """Makes a coroutine function of the engine's loop callable from the host's."""

    def __call__[**P, T](self, target: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]: ...


class QueueOptions(Document):
    """`extensions.serviceBus` of host.json, with Azure's defaults."""

    max_concurrent_sessions: int = Field(8, ge=1, strict=True)
    max_concurrent_calls: int = Field(16, ge=1, strict=True)
    max_message_batch_size: int = Field(1_000, ge=1, strict=True)
    max_auto_lock_renewal_duration: Annotated[timedelta, BeforeValidator(_timespan)] = timedelta(minutes=5)
    session_idle_timeout: Annotated[timedelta, BeforeValidator(_timespan)] = timedelta(minutes=1)
    auto_complete_messages: bool = Field(default=True, strict=True)

    @classmethod
    def of(cls, host_json: Mapping[str, Any]) -> Self:
        """Raises InvalidError."""
        given = (host_json.get("extensions") or {}).get("serviceBus") or {}
        return read(cls, given, "$.extensions.serviceBus")


@dataclass(frozen=True, slots=True)
class Feeding:
    """How a function is fed: `size` messages a call, `width` calls (or sessions) at a time."""

    queue: str
    sessions: bool
    auto_complete: bool
    many: bool
    size: int
    width: int

    @classmethod
    def of(cls, function: Function, options: QueueOptions) -> Self:
        """By its trigger and by host.json; as in Azure, a function that takes batches runs one at a time."""
        trigger, sessions = function.trigger, has_sessions(function)
        many = str(trigger.get("cardinality", "one")).lower() == "many"
        one_by_one = options.max_concurrent_sessions if sessions else options.max_concurrent_calls
        return cls(
            queue_name(function),
            sessions,
            bool(trigger.get("autoCompleteMessages", options.auto_complete_messages)),
            many,
            options.max_message_batch_size if many else 1,
            1 if many else one_by_one,
        )


class QueueTriggers:
    """The queue functions of an app. `start` once, `stop` once.

    The constructor raises InvalidError naming every function that cannot be run.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        invoke: Invoke,
        *,
        broker: Broker,
        on_engine: OnEngine,
        options: QueueOptions,
        properties: QueueProperties = DEFAULTS,
    ) -> None:
        self._broker = broker
        self._on_engine = on_engine
        self._properties: dict[str, QueueProperties] = {}
        problems: list[Problem] = []
        for function in functions:
            wanted = replace(properties, requires_session=has_sessions(function))
            if problem := problem_of(function):
                problems.append(Problem("$.queueName", f"function {function.name}: {problem}"))
            elif self._properties.setdefault(queue_name(function), wanted) != wanted:
                problem = (
                    f"function {function.name}: another function of its queue has isSessionsEnabled otherwise"
                )
                problems.append(Problem("$.isSessionsEnabled", problem))
        if problems:
            raise InvalidError(problems)
        self._pumps = [
            _Pump(
                f,
                invoke,
                broker=broker,
                on_engine=on_engine,
                options=options,
                lock_duration=properties.lock_duration,
            )
            for f in functions
        ]

    async def start(self) -> None:
        """Declare the queues and start to receive. Raises ConflictError, see `Broker.declare`."""
        await self._on_engine(_open)(self._broker, self._properties)
        for pump in self._pumps:
            pump.start()

    async def stop(self, grace: float) -> None:
        """Receive nothing more and let what runs end within `grace` seconds; the rest comes again."""
        for pump in self._pumps:
            pump.stopping = True
        await self._on_engine(self._broker.drain)()
        await asyncio.gather(*(pump.stop(grace) for pump in self._pumps))


def problem_of(function: Function) -> str | None:
    """Say why no local host can feed this function."""
    if "topicName" in function.trigger:
        return "Service Bus topics are not supported locally, only queues are"
    name = queue_name(function)
    if not name:
        return "its Service Bus trigger names no queue"
    if name.endswith(DEAD_LETTERS) and has_sessions(function):
        return "a dead-letter queue has no sessions"
    return None


def queue_name(function: Function) -> str:
    """Name its queue, with DEAD_LETTERS as it is spelt here."""
    name = str(function.trigger.get("queueName", ""))
    end = len(name) - len(DEAD_LETTERS)
    return name[:end] + DEAD_LETTERS if name[end:].lower() == DEAD_LETTERS else name


def has_sessions(function: Function) -> bool:
    return bool(function.trigger.get("isSessionsEnabled"))


async def _open(broker: Broker, wanted: Mapping[str, QueueProperties]) -> None:
    known = await broker.queues()
    for name, properties in wanted.items():
        if not name.endswith(DEAD_LETTERS):
            await broker.declare(name, properties)
        elif (parent := name.removesuffix(DEAD_LETTERS)) not in {*known, *wanted}:
            await broker.declare(parent, replace(properties, requires_session=False))
    await broker.tick()


class _Pump:
    """Feeds one function from one queue."""

    def __init__(
        self,
        function: Function,
        invoke: Invoke,
        *,
        broker: Broker,
        on_engine: OnEngine,
        options: QueueOptions,
        lock_duration: float,
    ) -> None:
        self._function = function
        self._invoke = invoke
        self._broker = broker
        self._on_engine = on_engine
        self._how = Feeding.of(function, options)
        self._lock_duration = lock_duration
        self._max_renewal = options.max_auto_lock_renewal_duration.total_seconds()
        self._held: dict[str, tuple[Delivery | SessionLock, float]] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self.stopping = False

    def start(self) -> None:
        name = f"queue {self._how.queue}"
        self._loops = [spawn(self._feed(), name), spawn(self._renew(), name)]

    async def stop(self, grace: float) -> None:
        feed, renew = self._loops
        feed.cancel()
        await finish(self._work, grace)
        renew.cancel()
        await finish([feed, renew], grace)

    async def _feed(self) -> None:
        while not self.stopping:
            free = self._how.width - len(self._work)
            if not free:
                await asyncio.wait(self._work, return_when=asyncio.FIRST_COMPLETED)
                continue
            if self._how.sessions:
                locks = await self._on_engine(self._broker.accept_sessions)(self._how.queue, free, FOREVER)
                jobs = [self._serve(lock) for lock in locks]
            else:
                limit = self._how.size if self._how.many else free
                found = await self._on_engine(self._broker.receive)(self._how.queue, limit, FOREVER)
                batches = [found] if self._how.many and found else [[delivery] for delivery in found]
                jobs = [self._handle(batch) for batch in batches]
            for job in jobs:
                task = spawn(job, f"queue {self._how.queue}")
                self._work.add(task)
                task.add_done_callback(self._work.discard)

    async def _handle(self, deliveries: list[Delivery]) -> None:
        settle = await self._call(deliveries, *deliveries)
        await self._on_engine(_settle)(settle, deliveries)

    async def _serve(self, lock: SessionLock) -> None:
        """Work off a session, one message (or batch) after the other."""
        settle, deliveries = None, list[Delivery]()
        try:
            for _ in range(SESSION_TURN):
                step = self._on_engine(_settle_and_receive)
                deliveries = await step(settle, deliveries, self._broker, lock, self._how.size)
                if not deliveries:
                    return
                settle = await self._call(deliveries, lock)
            await self._on_engine(_settle)(settle, deliveries)
        finally:
            await self._on_engine(self._broker.release_session)(lock)

    async def _call(self, deliveries: Sequence[Delivery], *locks: Delivery | SessionLock) -> "_Settle | None":
        """Call the function, its locks being renewed the while; say how to settle what it was given."""
        (value, kind), metadata = bind_many(deliveries) if self._how.many else bind_one(deliveries[0])
        now = asyncio.get_running_loop().time()
        self._held.update({lock.token: (lock, now) for lock in locks})
        try:
            await self._invoke(self._function, value, kind=kind, metadata=metadata)
        except HandlerError as failure:
            stored = deliveries[0].stored
            _log.error(
                "queue function %s failed on message %s of queue %s (%d in the batch, delivery %d)",
                self._function.name,
                stored.sequence_number,
                stored.queue,
                len(deliveries),
                stored.delivery_count,
                exc_info=failure.error,
            )
            return self._broker.abandon
        finally:
            for lock in locks:
                self._held.pop(lock.token, None)
        return self._broker.complete if self._how.auto_complete else None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lock_duration / 3)
            oldest = asyncio.get_running_loop().time() - self._max_renewal
            if held := [lock for lock, since in self._held.values() if since >= oldest]:
                await self._on_engine(_renew)(self._broker, held)


type _Settle = Callable[..., Coroutine[Any, Any, None]]


async def _settle(settle: _Settle | None, deliveries: Sequence[Delivery]) -> None:
    if settle is None:
        return
    try:
        await settle(*deliveries)
    except LockLostError as error:
        _log.warning("a message was handled, but will be delivered again: %s", error)


async def _settle_and_receive(
    settle: _Settle | None, deliveries: Sequence[Delivery], broker: Broker, lock: SessionLock, limit: int
) -> list[Delivery]:
    """Settle what was handled and receive what comes next, in one commit."""
    try:
        _, received = await asyncio.gather(_settle(settle, deliveries), broker.receive_session(lock, limit))
    except LockLostError:
        return []
    return received


async def _renew(broker: Broker, held: Sequence[Delivery | SessionLock]) -> None:
    for lock in held:
        try:
            await (broker.renew(lock) if isinstance(lock, Delivery) else broker.renew_session(lock))
        except LockLostError:  # whoever settles it is told, and says so
            continue
