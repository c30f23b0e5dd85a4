"""Messages that become visible later: durable timers, delayed signals, scheduled starts."""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Callable

from loom_local.engine.state import Message

LONGEST_SLEEP = 60.0
"""Seconds; in the meantime the wall clock may be set, or the machine suspended, which no timeout counts."""


class Timers:
    """A heap of messages by the time they are due, emptied by one task.

    Entries of an instance that has ended are dropped from memory once they outnumber the live ones.
    """

    def __init__(self, deliver: Callable[[Message], None], clock: Callable[[], float]) -> None:
        self._deliver = deliver
        self._clock = clock
        self._heap: list[tuple[float, int, Message]] = []
        self._pending: dict[str, set[int]] = defaultdict(set)
        self._cancelled: set[int] = set()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap) - len(self._cancelled)

    def add(self, message: Message) -> None:
        assert message.visible_at is not None
        heapq.heappush(self._heap, (message.visible_at, message.seq, message))
        self._pending[message.target].add(message.seq)
        if self._heap[0][1] == message.seq:
            self._wake.set()

    def cancel(self, target: str) -> None:
        """Forget every message to `target` that is not yet due."""
        self._cancelled |= self._pending.pop(target, set())
        if len(self._cancelled) > 1000 and len(self._cancelled) * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[1] not in self._cancelled]
            heapq.heapify(self._heap)
            self._cancelled.clear()

    async def run(self) -> None:
        """Deliver each message when it is due, for ever."""
        while True:
            self._wake.clear()
            self._deliver_due()
            pause = self._heap[0][0] - self._clock() if self._heap else LONGEST_SLEEP
            try:
                async with asyncio.timeout(min(max(pause, 0.0), LONGEST_SLEEP)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _deliver_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, seq, message = heapq.heappop(self._heap)
            if seq in self._cancelled:
                self._cancelled.discard(seq)
                continue
            waiting = self._pending[message.target]
            waiting.discard(seq)
            if not waiting:
                del self._pending[message.target]
            self._deliver(message._replace(visible_at=None))
