"""Sending many messages in few requests, each as large as every tier of the service takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loom_core.adapters.servicebus.errors import is_refused
from loom_core.adapters.servicebus.messages import outgoing
from loom_core.adapters.servicebus.senders import Senders
from loom_core.errors import InvalidError, Problem
from loom_core.ports.queue import QueueMessage
from loom_core.wire.json import dump

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage
    from azure.servicebus.aio import ServiceBusSender

_LARGEST = 255 * 1024
"""Bytes of a batch; 256 KB less what the SDK adds to its envelope and does not count."""
_FRAME = 1_200
"""Bytes that a scheduled message takes at most beside its body and properties."""


@dataclass(frozen=True, slots=True)
class _Item:
    index: int
    message: QueueMessage
    body: str
    due: float | None

    def outgoing(self) -> "ServiceBusMessage":
        return outgoing(self.message, self.body)


class Sending:
    def __init__(self, senders: Senders, budget: float) -> None:
        self._senders = senders
        self._budget = budget
        self._partitioned: set[str] = set()

    async def send(
        self, queue: str, messages: Sequence[QueueMessage], bodies: Sequence[str], now: float
    ) -> tuple[int | None, ...]:
        """Send what was checked; see the port."""
        items = [
            _Item(index, message, body, message.due if message.due and message.due > now else None)
            for index, (message, body) in enumerate(zip(messages, bodies, strict=True))
        ]
        numbers: dict[int, int] = {}
        async with self._senders.sender(queue, self._budget) as sender:
            try:
                await self._send(sender, items, numbers, apart=queue in self._partitioned)
            except Exception as error:
                if "partitioning enabled" not in str(error):
                    if is_refused(error) and (without := [i for i in items if not i.message.session_id]):
                        raise InvalidError([_sessionless(item) for item in without]) from error
                    raise
                if queue in self._partitioned:
                    raise
                # It takes no batch for several partitions. What it has taken already, it knows by id.
                self._partitioned.add(queue)
                await self._send(sender, items, numbers, apart=True)
        return tuple(numbers.get(item.index) for item in items)

    async def _send(
        self, sender: "ServiceBusSender", items: Sequence[_Item], numbers: dict[int, int], *, apart: bool
    ) -> None:
        for run in _runs(items, apart=apart):
            if run[0].due is None:
                await _send_now(sender, run)
            else:
                for part in _parts(run):
                    due = datetime.fromtimestamp(run[0].due, UTC)
                    given = await sender.schedule_messages([item.outgoing() for item in part], due)
                    numbers |= zip((item.index for item in part), given, strict=True)


def _sessionless(item: _Item) -> Problem:
    told = "this queue has sessions: every message needs a session id"
    return Problem(f"$[{item.index}].sessionId", told)


async def _send_now(sender: "ServiceBusSender", run: Sequence[_Item]) -> None:
    from azure.servicebus.exceptions import MessageSizeExceededError  # noqa: PLC0415 - cold start

    if len(run) == 1:
        await sender.send_messages(run[0].outgoing())
        return
    batch = await sender.create_message_batch(_LARGEST)
    for item in run:
        message = item.outgoing()
        try:
            batch.add_message(message)
        except MessageSizeExceededError:
            await sender.send_messages(batch)
            batch = await sender.create_message_batch(_LARGEST)
            batch.add_message(message)
    await sender.send_messages(batch)


def _runs(items: Iterable[_Item], *, apart: bool) -> Iterator[list[_Item]]:
    """What may go together: at once or at one time, and `apart` by session."""
    runs: dict[tuple[float | None, str | int | None], list[_Item]] = {}
    for item in items:
        partition = (item.message.session_id or item.index) if apart else None
        runs.setdefault((item.due, partition), []).append(item)
    yield from runs.values()


def _parts(run: Sequence[_Item]) -> Iterator[list[_Item]]:
    part: list[_Item] = []
    size = 0
    for item in run:
        taken = len(item.body.encode()) + len(dump(item.message.properties).encode()) + _FRAME
        if part and size + taken > _LARGEST:
            yield part
            part, size = [], 0
        part.append(item)
        size += taken
    if part:
        yield part
