"""MessageQueue on Azure Service Bus: batches, sessions, locks and dead letters as the service has them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loom_core.adapters.limits import check_messages, check_queue
from loom_core.adapters.servicebus.backstage import peek_all_sessions
from loom_core.adapters.servicebus.client import Client
from loom_core.adapters.servicebus.closing import Closing
from loom_core.adapters.servicebus.messages import delivery
from loom_core.adapters.servicebus.receivers import Receivers
from loom_core.adapters.servicebus.senders import Senders
from loom_core.adapters.servicebus.sending import Sending
from loom_core.errors import UnavailableError
from loom_core.ports.queue import DeadLetter, Delivery, Outcome, QueueMessage
from loom_core.settings import Connection

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

BUDGET = 30.0
"""Seconds that a call may take beside the wait it is asked for, all retries included."""
_LONGEST_PEEK = 250


class ServiceBusMessageQueue:
    """Queues of one namespace, which must be there. On one loop only.

    `budget` is in seconds, `clock` gives seconds since the epoch. `options` go to the SDK's client, for a
    proxy or a transport of its own.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        budget: float = BUDGET,
        options: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        client = Client(connection, options or {}, self.aclose)
        self._budget = budget
        self._clock = clock
        self._closing = Closing()
        self._senders = Senders(client, self._closing)
        self._sending = Sending(self._senders, budget)
        self._receivers = Receivers(client, self._closing, budget, clock)

    async def aclose(self) -> None:
        """Close every link. What was received and is not settled comes again once its lock runs out."""
        self._senders.close()
        self._receivers.close()
        await self._closing.aclose()

    async def send(self, queue: str, messages: Sequence[QueueMessage]) -> tuple[int | None, ...]:
        bodies = check_messages(queue, messages)
        return await self._sending.send(queue, messages, bodies, self._clock())

    async def cancel(self, queue: str, number: int) -> None:
        check_queue(queue)
        async with self._senders.sender(queue, self._budget) as sender:
            await sender.cancel_scheduled_messages(number)

    async def receive(
        self, queue: str, *, session: str | None = None, limit: int = 1, wait: float = 0.0
    ) -> tuple[Delivery, ...]:
        check_queue(queue)
        return await self._receivers.receive(queue, session, limit, wait) if limit > 0 else ()

    async def renew(self, delivery: Delivery) -> float:
        async with self._receivers.holding(delivery) as (lease, received):
            if lease.has_session:
                until = await lease.receiver.session.renew_lock()
            else:
                until = await lease.receiver.renew_message_lock(received)
            lease.until = max(lease.until, until.timestamp())
            return until.timestamp()

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        async with self._receivers.holding(delivery) as (lease, received):
            match outcome:
                case "complete":
                    await lease.receiver.complete_message(received)
                case "abandon":
                    await lease.receiver.abandon_message(received)
                case DeadLetter(reason, description):
                    await lease.receiver.dead_letter_message(received, reason, description)
        self._receivers.settled(delivery.token)

    async def peek(self, queue: str, *, after: int = 0, limit: int = 100) -> tuple[Delivery, ...]:
        check_queue(queue)
        wanted = max(0, min(limit, _LONGEST_PEEK))
        found: list[Delivery] = []
        while len(found) < wanted:
            page = await self._page_of_any_link(queue, after, wanted - len(found))
            if not page:
                break
            after = page[-1].sequence_number or 0
            found += [delivery(queue, each) for each in page if not _is_scheduled(each)]
        return tuple(found)

    async def _page_of_any_link(
        self, queue: str, after: int, limit: int
    ) -> "list[ServiceBusReceivedMessage]":
        from azure.servicebus.exceptions import ServiceBusConnectionError  # noqa: PLC0415 - cold start

        try:
            return await self._page(queue, after, limit)
        except UnavailableError as error:
            if not isinstance(error.__cause__, ServiceBusConnectionError):
                raise
            return await self._page(queue, after, limit)  # the link may have died while nobody used it

    async def _page(self, queue: str, after: int, limit: int) -> "list[ServiceBusReceivedMessage]":
        async with self._receivers.looking(queue) as receiver:
            if receiver is not None:
                return await receiver.peek_messages(limit, sequence_number=after + 1)
        async with self._senders.sender(queue, self._budget) as sender:
            return await peek_all_sessions(sender, after + 1, limit)


def _is_scheduled(received: "ServiceBusReceivedMessage") -> bool:
    from azure.servicebus import ServiceBusMessageState  # noqa: PLC0415 - cold start

    return received.state == ServiceBusMessageState.SCHEDULED
