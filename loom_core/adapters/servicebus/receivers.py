"""Receivers, each lent to one `receive` until all that it gave is settled."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loom_core.adapters.servicebus.backstage import want_no_more
from loom_core.adapters.servicebus.client import Client
from loom_core.adapters.servicebus.closing import Closing
from loom_core.adapters.servicebus.errors import is_busy, is_refused, spoken
from loom_core.adapters.servicebus.messages import delivery
from loom_core.errors import ConflictError, InvalidError, UnavailableError
from loom_core.ports.queue import Delivery

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage
    from azure.servicebus.aio import ServiceBusReceiver

MOST = 64
"""Receivers open at a time."""
IDLE = 4
"""Receivers without a session that are kept for the next `receive` of their queue."""
SHORTEST_WAIT = 0.25
"""Seconds until nothing that came means that nothing is there: the way to Azure and back, and some more."""
_LOOK_AGAIN = 0.5
"""Seconds until a session that somebody else holds is asked for again."""


@dataclass(slots=True, eq=False)
class Lease:
    """A receiver and what it gave that is not settled. It is for one call at a time."""

    queue: str
    receiver: "ServiceBusReceiver"
    has_session: bool
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    open: "dict[str, ServiceBusReceivedMessage]" = field(default_factory=dict[str, Any])
    until: float = 0.0
    fresh: bool = True

    def locked_until(self, received: "ServiceBusReceivedMessage") -> float:
        until = self.receiver.session.locked_until_utc if self.has_session else received.locked_until_utc
        return until.timestamp() if until else 0.0


class Receivers:
    def __init__(self, client: Client, closing: Closing, budget: float, clock: Callable[[], float]) -> None:
        self._client = client
        self._closing = closing
        self._budget = budget
        self._clock = clock
        self._with_sessions: dict[str, bool] = {}
        self._idle: dict[str, list[Lease]] = {}
        self._leases: dict[str, Lease] = {}

    async def receive(self, queue: str, session: str | None, limit: int, wait: float) -> tuple[Delivery, ...]:
        self._forget_lost()
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            lease = await self._lease(queue, session, deadline)
            if lease is None:
                return ()
            # Others wait for a session that somebody asked for, and nobody for one that proved empty.
            patient = session is not None or not lease.has_session
            try:
                found = await self._receive(lease, limit, _left(deadline) if patient else 0.0)
            except UnavailableError:
                if lease.fresh:
                    raise
                continue  # its link had died while nobody used it
            except ConflictError:
                found = ()  # the lock on an empty session ran out
            if found or _left(deadline) <= 0:
                return found

    @asynccontextmanager
    async def holding(self, given: Delivery) -> AsyncGenerator[tuple[Lease, "ServiceBusReceivedMessage"]]:
        """Lend the receiver that gave this. Raises ConflictError once it is settled or lost."""
        lease = self._leases.get(given.token)
        if lease is None:
            raise ConflictError(f"queue {given.queue!r}: the lock is lost on message {given.number}")
        try:
            async with spoken(given.queue, self._budget), lease.turn:
                yield lease, _of(lease, given)
        except ConflictError:
            self.settled(given.token)
            raise
        except UnavailableError as error:
            if not is_busy(error.__cause__):
                self._drop(lease)
            raise

    def settled(self, token: str) -> None:
        """Forget a delivery. With its last one a receiver is free: for the next, or its session for all."""
        lease = self._leases.pop(token, None)
        if lease is None or lease.open.pop(token, None) is None or lease.open:
            return
        self._free(lease)

    @asynccontextmanager
    async def looking(self, queue: str) -> AsyncGenerator["ServiceBusReceiver | None"]:
        """Lend a receiver to look at a queue without sessions; None if it has them."""
        lease = None if self._with_sessions.get(queue) else await self._plain(queue)
        if lease is None:
            yield None
            return
        async with self._kept(lease):
            yield lease.receiver
        self._free(lease)

    def close(self) -> None:
        leases = {*self._leases.values(), *(each for idle in self._idle.values() for each in idle)}
        self._leases, self._idle = {}, {}
        for lease in leases:
            self._closing.close(lease.receiver)

    async def _lease(self, queue: str, session: str | None, deadline: float) -> Lease | None:
        """Open a receiver, or take an idle one; None if there is no session to be had in time."""
        if self._with_sessions.get(queue, session is not None):
            lease = await self._accept(queue, session, deadline)
            if lease is not None or self._with_sessions.get(queue):
                return lease
            if session is not None:
                raise InvalidError(f"queue {queue!r} has no sessions")
        elif session is not None:
            raise InvalidError(f"queue {queue!r} has no sessions")
        return await self._plain(queue) or await self._accept(queue, session, deadline)

    async def _plain(self, queue: str) -> Lease | None:
        """A receiver without a session; None if the queue has sessions."""
        if idle := self._idle.get(queue):
            return idle.pop()
        lease = await self._opened(queue, None, self._budget)
        self._with_sessions[queue] = lease is None
        return lease

    async def _accept(self, queue: str, session: str | None, deadline: float) -> Lease | None:
        """The lock on a session; None if none is to be had, or the queue has no sessions."""
        from azure.servicebus import NEXT_AVAILABLE_SESSION  # noqa: PLC0415 - cold start
        from azure.servicebus.exceptions import (  # noqa: PLC0415 - cold start
            OperationTimeoutError,
            SessionCannotBeLockedError,
        )

        while True:
            wait = max(_left(deadline), SHORTEST_WAIT)
            try:
                lease = await self._opened(
                    queue, session or NEXT_AVAILABLE_SESSION, wait + self._budget, max_wait_time=wait
                )
            except UnavailableError as error:
                if isinstance(error.__cause__, OperationTimeoutError):
                    self._with_sessions[queue] = True
                    return None
                if not isinstance(error.__cause__, SessionCannotBeLockedError):
                    raise
                self._with_sessions[queue] = True
                if _left(deadline) <= 0:
                    return None
                await asyncio.sleep(min(_left(deadline), _LOOK_AGAIN))
                continue
            self._with_sessions[queue] = lease is not None
            return lease

    async def _opened(self, queue: str, session: Any, budget: float, **how: Any) -> Lease | None:
        """An open receiver; None if the queue has sessions and this names none, or the other way about."""
        if len({*self._leases.values()}) >= MOST:
            raise UnavailableError(f"{MOST} receivers are open: settle what they gave first")
        receiver = self._client.receiving().get_queue_receiver(queue, session_id=session, **how)
        try:
            async with spoken(queue, budget):
                await receiver.__aenter__()
        except UnavailableError as error:
            self._closing.close(receiver)
            if is_refused(error.__cause__):
                return None
            raise
        except BaseException:
            self._closing.close(receiver)
            raise
        return Lease(queue, receiver, session is not None)

    async def _receive(self, lease: Lease, limit: int, wait: float) -> tuple[Delivery, ...]:
        longest = max(wait, SHORTEST_WAIT)
        async with self._kept(lease, longest):
            found = await lease.receiver.receive_messages(limit, max_wait_time=longest)
            if len(found) < limit:
                await want_no_more(lease.receiver)
        if not found:
            self._free(lease)
            return ()
        given: list[Delivery] = []
        for received in found:
            token, until = str(received.lock_token), lease.locked_until(received)
            lease.open[token] = received
            lease.until = max(lease.until, until)
            self._leases[token] = lease
            given.append(delivery(lease.queue, received, token=token, locked_until=until))
        return tuple(given)

    @asynccontextmanager
    async def _kept(self, lease: Lease, wait: float = 0.0) -> AsyncGenerator[None]:
        """Close the receiver if what is done with it fails or is cut short."""
        try:
            async with spoken(lease.queue, wait + self._budget):
                yield
        except BaseException:
            self._closing.close(lease.receiver)
            raise

    def _drop(self, lease: Lease) -> None:
        """Give up a receiver whose link is lost: on another, its deliveries would have other numbers."""
        for token in lease.open:
            self._leases.pop(token, None)
        lease.open.clear()
        self._closing.close(lease.receiver)

    def _free(self, lease: Lease) -> None:
        idle = self._idle.setdefault(lease.queue, [])
        if lease.has_session or len(idle) >= IDLE:
            self._closing.close(lease.receiver)
        else:
            lease.fresh = False
            idle.append(lease)

    def _forget_lost(self) -> None:
        """Close the receivers whose deliveries nobody will settle any more."""
        now = self._clock()
        for token, lease in [*self._leases.items()]:
            if lease.until < now:
                self.settled(token)


def _of(lease: Lease, given: Delivery) -> "ServiceBusReceivedMessage":
    if given.token not in lease.open:
        raise ConflictError(f"queue {given.queue!r}: message {given.number} is settled already")
    return lease.open[given.token]


def _left(deadline: float) -> float:
    return max(0.0, deadline - asyncio.get_running_loop().time())
