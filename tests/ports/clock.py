"""Time as the suites pass it: adapters with a clock are told, the others are waited for."""

import asyncio
from collections.abc import Awaitable, Callable


class Clock:
    """Seconds since the epoch, which stand still between calls of `advance`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.heard: list[Callable[[], Awaitable[object]]] = []
        """Called after each advance, for adapters that act by the clock on their own."""

    def __call__(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        self.now += seconds
        for hear in self.heard:
            await hear()


class WallClock(Clock):
    """For services whose clock is their own; it really waits."""

    def __call__(self) -> float:
        import time

        return time.time()

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
