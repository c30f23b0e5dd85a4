"""MessageQueue on the broker of the host that runs this app in its own process: `loom dev`, `loom run`."""

from collections.abc import Callable, Sequence

from loom_core.adapters.limits import check_messages, check_queue
from loom_core.errors import UnavailableError
from loom_core.ports.queue import Delivery, MessageQueue, Outcome, QueueMessage

type Lender = Callable[[], MessageQueue]
"""Gives the host's queue, or raises UnavailableError while it is not there yet, or no more."""

_lenders: list[Lender] = []


def lend(lender: Lender) -> None:
    """Say where the queue is, once for all: a process has one host and one app."""
    _lenders[:] = [lender]


class EmbeddedMessageQueue:
    """Every method raises UnavailableError in a process that no local host runs."""

    async def send(self, queue: str, messages: Sequence[QueueMessage]) -> tuple[int | None, ...]:
        check_messages(queue, messages)
        return await self._lent().send(queue, messages)

    async def cancel(self, queue: str, number: int) -> None:
        await self._lent(queue).cancel(queue, number)

    async def receive(
        self, queue: str, *, session: str | None = None, limit: int = 1, wait: float = 0.0
    ) -> tuple[Delivery, ...]:
        return await self._lent(queue).receive(queue, session=session, limit=limit, wait=wait)

    async def renew(self, delivery: Delivery) -> float:
        return await self._lent(delivery.queue).renew(delivery)

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        await self._lent(delivery.queue).settle(delivery, outcome)

    async def peek(self, queue: str, *, after: int = 0, limit: int = 100) -> tuple[Delivery, ...]:
        return await self._lent(queue).peek(queue, after=after, limit=limit)

    @staticmethod
    def _lent(queue: str | None = None) -> MessageQueue:
        if queue is not None:
            check_queue(queue)
        if not _lenders:
            raise UnavailableError(
                "LOOM_QUEUE=sqlite is the queue of `loom dev` and `loom run`, and neither runs this process: "
                "start the app with one of them, or set LOOM_QUEUE to another queue"
            )
        return _lenders[0]()
