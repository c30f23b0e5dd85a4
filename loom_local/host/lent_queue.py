"""The broker as the port `MessageQueue`, lent to the app that this host runs."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeIs

from pydantic_core import from_json

from loom_core.errors import ConflictError, InvalidError, UnavailableError
from loom_core.ports.queue import DeadLetter, Outcome, QueueMessage
from loom_core.ports.queue import Delivery as Received
from loom_core.wire.json import Json, dump
from loom_local.broker import DEAD_LETTERS, Broker, Delivery, Message, SessionLock, StoredMessage
from loom_local.engine.bridge import CallLostError
from loom_local.host.queues import OnEngine

LONGEST_PEEK = 250


@dataclass(slots=True)
class _Grant:
    """What was received under one lock and is not settled; `session` if the lock is on that."""

    until: float
    session: SessionLock | None = None
    open: dict[int, Delivery] = field(default_factory=dict[int, Delivery])


class LentQueue:
    """Call it from any loop. Everything happens on the engine's, which `on_engine` leads to.

    `clock` is the broker's.
    """

    def __init__(self, broker: Broker, on_engine: OnEngine, clock: Callable[[], float] = time.time) -> None:
        self._broker = broker
        self._on_engine = on_engine
        self._clock = clock
        self._grants: dict[str, _Grant] = {}

    async def send(self, queue: str, messages: Sequence[QueueMessage]) -> tuple[int | None, ...]:
        now = self._clock()
        sent = await self._far(self._broker.send)(queue, [*map(_message, messages)])
        pairs = zip(sent, messages, strict=True)
        return tuple(r.sequence_number if m.due is not None and m.due > now else None for r, m in pairs)

    async def cancel(self, queue: str, number: int) -> None:
        await self._far(self._broker.cancel_scheduled)(queue, number)

    async def receive(
        self, queue: str, *, session: str | None = None, limit: int = 1, wait: float = 0.0
    ) -> tuple[Received, ...]:
        return await self._far(self._receive)(queue, session, limit, wait)

    async def renew(self, delivery: Received) -> float:
        return await self._far(self._renew)(delivery)

    async def settle(self, delivery: Received, outcome: Outcome) -> None:
        await self._far(self._settle)(delivery, outcome)

    async def peek(self, queue: str, *, after: int = 0, limit: int = 100) -> tuple[Received, ...]:
        found = await self._far(self._broker.peek)(queue, after, max(0, min(limit, LONGEST_PEEK)))
        return tuple(_received(stored) for stored in found)

    def _far[**P, T](
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """As `on_engine`, with the port's word for a host that is stopping."""

        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await self._on_engine(function)(*args, **kwargs)
            except CallLostError as error:
                raise UnavailableError("the host of the queues is stopping") from error

        return call

    # What follows runs on the engine's loop.

    async def _receive(
        self, queue: str, session: str | None, limit: int, wait: float
    ) -> tuple[Received, ...]:
        self._forget_lost()
        if await self._has_sessions(queue):
            return await self._receive_session(queue, session, limit, wait)
        if session is not None:
            raise InvalidError(f"queue {queue!r} has no sessions")
        found = await self._broker.receive(queue, limit, wait)
        self._grants |= {d.token: _Grant(d.locked_until, None, {_number(d): d}) for d in found}
        return tuple(_received(d.stored, d) for d in found)

    async def _receive_session(
        self, queue: str, session: str | None, limit: int, wait: float
    ) -> tuple[Received, ...]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            left = max(0.0, deadline - loop.time())
            locks = await self._broker.accept_sessions(queue, 1, left, session=session)
            for lock in locks:
                # Others wait for a session that somebody asked for, and nobody for one that proved empty.
                left = deadline - loop.time() if session is not None else 0.0
                if found := await self._receive_from(lock, limit, left):
                    return found
            if not locks or deadline <= loop.time():
                return ()

    async def _receive_from(self, lock: SessionLock, limit: int, wait: float) -> tuple[Received, ...]:
        found: list[Delivery] = []
        try:
            found = await self._broker.receive_session(lock, limit, wait)
        except ConflictError:  # the lock ran out while nothing came
            return ()
        finally:
            if not found:
                await self._broker.release_session(lock)
        self._grants[lock.token] = _Grant(lock.locked_until, lock, {_number(d): d for d in found})
        return tuple(_received(d.stored, d) for d in found)

    async def _renew(self, delivery: Received) -> float:
        grant, held = self._claim(delivery)
        await (self._broker.renew_session(grant.session) if grant.session else self._broker.renew(held))
        properties = (await self._broker.queues())[delivery.queue.removesuffix(DEAD_LETTERS)]
        grant.until = self._clock() + properties.lock_duration
        return grant.until

    async def _settle(self, delivery: Received, outcome: Outcome) -> None:
        grant, held = self._claim(delivery)
        del grant.open[delivery.number]
        if not grant.open:
            del self._grants[delivery.token]
        try:
            match outcome:
                case "complete":
                    await self._broker.complete(held)
                case "abandon":
                    await self._broker.abandon(held)
                case DeadLetter(reason, description):
                    await self._broker.dead_letter(held, reason, description)
        finally:
            if grant.session and not grant.open:
                await self._broker.release_session(grant.session)

    def _claim(self, delivery: Received) -> tuple[_Grant, Delivery]:
        grant = self._grants.get(delivery.token)
        held = grant.open.get(delivery.number) if grant else None
        if grant is None or held is None:
            raise ConflictError(f"queue {delivery.queue!r}: the lock is lost on message {delivery.number}")
        return grant, held

    def _forget_lost(self) -> None:
        now = self._clock()
        for token in [token for token, grant in self._grants.items() if grant.until <= now]:
            del self._grants[token]

    async def _has_sessions(self, queue: str) -> bool:
        properties = (await self._broker.queues()).get(queue)
        return properties is not None and properties.requires_session


def _number(delivery: Delivery) -> int:
    return delivery.stored.sequence_number


def _message(message: QueueMessage) -> Message:
    return Message(
        body=dump(message.body).encode(),
        message_id=message.message_id,
        session_id=message.session_id,
        correlation_id=message.correlation_id,
        content_type="application/json",
        application_properties=dict(message.properties),
        scheduled_enqueue_time=message.due,
        time_to_live=message.ttl,
    )


def _received(stored: StoredMessage, delivery: Delivery | None = None) -> Received:
    message, reason = stored.message, stored.dead_letter_reason
    return Received(
        queue=stored.queue,
        number=stored.sequence_number,
        message=QueueMessage(
            body=_body(message.body),
            message_id=message.message_id or "",
            session_id=message.session_id,
            correlation_id=message.correlation_id,
            properties={k: v for k, v in message.application_properties.items() if _is_scalar(v)},
        ),
        attempts=stored.delivery_count,
        enqueued_at=stored.enqueued_time,
        token=delivery.token if delivery else "",
        locked_until=delivery.locked_until if delivery else 0.0,
        dead=DeadLetter(reason, stored.dead_letter_description or "") if reason is not None else None,
    )


def _is_scalar(value: Json) -> TypeIs[str | float | bool]:
    return isinstance(value, str | int | float)


def _body(body: bytes) -> Json:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        return body.decode(errors="replace")
