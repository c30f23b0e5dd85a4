"""A thread that serves calls by the burst: all that came in while it served the last."""

import asyncio
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from loom_core.errors import UnavailableError

type Outcome = Any | BaseException
"""What a call comes to. An exception is raised to the caller."""

LARGEST_BURST = 1_000


class _Call(NamedTuple):
    work: Any
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Desk:
    """`serve` is called on the thread with each burst, and gives an outcome for each call of it.

    `close` is called there in the end. The thread starts with the first call; it is a daemon, so that a
    process may end without `aclose`.
    """

    def __init__(
        self, name: str, serve: Callable[[Sequence[Any]], Sequence[Outcome]], close: Callable[[], None]
    ) -> None:
        self._name = name
        self._serve = serve
        self._close = close
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    def call(self, work: Any) -> asyncio.Future[Any]:
        """Have it served. Whoever stops waiting leaves the work where it is."""
        if self._closed:
            raise UnavailableError(f"{self._name} is closed")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._calls.put(_Call(work, loop, future))
        if self._thread is None:
            self._start()
        return future

    async def aclose(self) -> None:
        """Serve what is waiting, and end."""
        self._closed = True
        if self._thread is not None:
            self._calls.put(None)
            await asyncio.to_thread(self._thread.join)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        ended = False
        while not ended:
            burst = self._next()
            calls = [call for call in burst if call is not None]
            ended = len(calls) < len(burst)
            try:
                outcomes = self._serve([call.work for call in calls]) if calls else ()
            except Exception as error:  # noqa: BLE001 - nobody may wait for ever
                outcomes = [error] * len(calls)
            _tell(calls, outcomes)
        self._close()

    def _next(self) -> list[_Call | None]:
        burst = [self._calls.get()]
        while burst[-1] is not None and len(burst) < LARGEST_BURST:
            try:
                burst.append(self._calls.get_nowait())
            except queue.Empty:
                break
        return burst


type _Told = list[tuple[asyncio.Future[Any], Outcome]]


def _tell(calls: Sequence[_Call], outcomes: Sequence[Outcome]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, _Told] = defaultdict(list)
    for call, outcome in zip(calls, outcomes, strict=True):
        by_loop[call.loop].append((call.future, outcome))
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, told)
        except RuntimeError:  # that loop is closed: nobody is left to be told
            continue


def _settle(told: _Told) -> None:
    for future, outcome in told:
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
