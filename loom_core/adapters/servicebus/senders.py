"""One open sender for each queue: opening one takes half a second."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_core.adapters.servicebus.client import Client
from loom_core.adapters.servicebus.closing import Closing
from loom_core.adapters.servicebus.errors import is_shut, spoken
from loom_core.errors import LoomError, UnavailableError

if TYPE_CHECKING:
    from azure.servicebus.aio import ServiceBusSender

MOST = 32
"""Senders kept open; the one that was used longest ago makes way."""


@dataclass(slots=True)
class _Lane:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    sender: "ServiceBusSender | None" = None


class Senders:
    def __init__(self, client: Client, closing: Closing) -> None:
        self._client = client
        self._closing = closing
        self._lanes: dict[str, _Lane] = {}

    @asynccontextmanager
    async def sender(self, queue: str, budget: float) -> AsyncGenerator["ServiceBusSender"]:
        """Lend the queue's sender for `budget` seconds, to one caller after the other.

        One that failed or was cut short, is replaced by a new one for the next.
        """
        async with spoken(queue, budget), self._turn(queue) as lane:
            if lane.sender is None:
                self._make_way()
                lane.sender = self._client.sending().get_queue_sender(queue)
            try:
                yield lane.sender
            except LoomError:
                raise
            except BaseException as error:
                self._closing.close(lane.sender)
                lane.sender = None
                if is_shut(error):
                    raise UnavailableError(f"queue {queue!r}: it was closed meanwhile") from error
                raise

    @asynccontextmanager
    async def _turn(self, queue: str) -> AsyncGenerator[_Lane]:
        while True:
            lane = self._lanes[queue] = self._lanes.pop(queue, None) or _Lane()
            async with lane.turn:
                # Else it was closed, or made way, before its turn came.
                if self._lanes.get(queue) is lane:
                    yield lane
                    return

    def close(self) -> None:
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            if lane.sender is not None:
                self._closing.close(lane.sender)

    def _make_way(self) -> None:
        idle = [queue for queue, lane in self._lanes.items() if not lane.turn.locked()]
        for queue in idle[: max(0, len(self._lanes) - MOST)]:
            if (sender := self._lanes.pop(queue).sender) is not None:
                self._closing.close(sender)
