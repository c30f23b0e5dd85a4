"""A queue of work with a bound on how much of it runs at a time."""

import asyncio
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

EXIT_CODE = 70  # EX_SOFTWARE


def stop_process(error: BaseException) -> None:
    """End the process at once: memory may disagree with the disk, and the disk is right."""
    traceback.print_exception(error)
    sys.stderr.write("loom: stopping: a defect in the engine. Nothing acknowledged is lost; start again.\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)


class Slots[T]:
    """Runs items first come, first served, at most `limit` at once."""

    def __init__(
        self,
        limit: int,
        run: Callable[[T], Coroutine[Any, Any, None]],
        on_defect: Callable[[BaseException], None] = stop_process,
        *,
        eager: bool = False,
    ) -> None:
        """With `eager`, an item begins inside `put`, instead of when the loop comes round to it."""
        self._eager = eager
        self._free = limit
        self._run = run
        self._on_defect = on_defect
        self._ready: deque[T] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._open = True
        self.started = 0
        """Items begun so far; a figure for benchmarks."""

    def put(self, item: T) -> None:
        self._ready.append(item)
        self._pump()

    async def drain(self, grace: float) -> None:
        """Begin nothing more, and give what runs `grace` seconds to end before it is cancelled."""
        self._open = False
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _pump(self) -> None:
        while self._ready and self._free > 0 and self._open:
            self._free -= 1
            self.started += 1
            loop = asyncio.get_running_loop()
            task = asyncio.Task(self._run(self._ready.popleft()), loop=loop, eager_start=self._eager)
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        if task.cancelled():
            if self._open:
                self._on_defect(asyncio.CancelledError("work was cancelled that nobody had stopped"))
        elif error := task.exception():
            self._on_defect(error)
        self._pump()
