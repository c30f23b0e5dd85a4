"""A call at a time of the wall clock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

LONGEST_SLEEP = 60.0
"""Seconds after which the clock is looked at again: it may have been set, or the machine asleep."""


class Alarm:
    """Runs `ring` on the calling loop at the earliest time it was set to; set it again from there."""

    def __init__(self, clock: Callable[[], float], ring: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._clock = clock
        self._ring = ring
        self._at = float("inf")
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def set(self, at: float) -> None:
        """Ring at `at`, or before."""
        at = min(at, self._clock() + LONGEST_SLEEP)
        if self._stopped or self._at <= at:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = asyncio.get_running_loop().call_later(max(at - self._clock(), 0.001), self._start)

    def stop(self) -> None:
        """Ring no more."""
        self._stopped = True
        if self._handle is not None:
            self._handle.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._at = float("inf")
        self._task = asyncio.get_running_loop().create_task(self._ring())
