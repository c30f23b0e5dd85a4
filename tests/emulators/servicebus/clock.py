"""Time that can be put forward, and what is to happen then."""

import heapq
import itertools
import time
from collections.abc import Callable


class Clock:
    """Seconds since the epoch."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def now(self) -> float:
        return time.time() + self.offset


class Timers:
    """Calls to make at times. There is no way to cancel one: the callee looks whether it still applies."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._calls, (when, next(self._count), call))

    def next(self) -> float | None:
        return self._calls[0][0] if self._calls else None

    def run(self, now: float) -> None:
        while self._calls and self._calls[0][0] <= now:
            heapq.heappop(self._calls)[2]()
