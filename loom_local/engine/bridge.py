"""Calls between two event loops on two threads, with one wake-up a burst instead of one a call."""

import asyncio
import collections
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

BURST_SECONDS = 0.002
"""How long the answers to calls that were answered at once are kept back, to be taken in together."""


class CallLostError(Exception):
    """The far side will not answer: it cancelled the call of its own accord, or its loop is closed."""


class _Hop:
    """Runs functions on a loop, from any thread. Whoever posts first wakes it; the rest ride along."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drained: Callable[[], object] = lambda: None) -> None:
        self._loop = loop
        self._drained = drained
        """Called after each burst, and every BURST_SECONDS of a long one."""
        self._queue: collections.deque[tuple[Callable[..., object], tuple[Any, ...]]] = collections.deque()
        self._awake = False

    def push(self, function: Callable[..., object], *args: object) -> None:
        """Have it run when the loop is next woken."""
        self._queue.append((function, args))

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Raises CallLostError when the loop is closed."""
        self._queue.append((function, args))
        self.wake()

    def wake(self) -> None:
        """Raises CallLostError when the loop is closed."""
        if self._queue and not self._awake:  # two threads may both see False: at worst one wake-up too many
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._awake = False
                self._queue.clear()
                raise CallLostError("the other side has ended") from None

    def _drain(self) -> None:
        self._awake = False  # before draining, so that a post from now on wakes the loop again
        began = time.monotonic()
        for _ in range(len(self._queue)):  # what is posted meanwhile lets the loop do other things first
            function, args = self._queue.popleft()
            function(*args)
            if time.monotonic() - began > BURST_SECONDS:
                self._drained()
                began = time.monotonic()
        self._drained()


class _Call[T](asyncio.Future[T]):
    """The near end of a call; cancelling it cancels the far one."""

    def __init__(self, to: _Hop, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._to = to
        self.far: asyncio.Task[T] | None = None

    def cancel(self, msg: object = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            _post(self._to, self._cancel_far)
        return cancelled

    def _cancel_far(self) -> None:
        if self.far is not None:
            self.far.cancel()


class Bridge:
    """Connects the calling loop `here` with the loop `there`; both directions are coalesced."""

    def __init__(self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop) -> None:
        self._here = here
        self._there = there
        self._back = _Hop(here)
        self._to = _Hop(there, self._answer)

    def function[**P, T](self, target: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]:
        """Make `target`, a coroutine function of the far loop, callable from the near one.

        Cancelling the call cancels the far coroutine. The call, or awaiting it, raises CallLostError when the
        far side ends without an answer.
        """

        def call(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
            future: _Call[T] = _Call(self._to, self._here)
            self._to.post(self._start, future, target, args, kwargs)
            return future

        return call

    def _start(
        self,
        future: "_Call[Any]",
        target: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        # It runs until it first has to wait: most calls never do, and then cost the loop nothing more.
        task = asyncio.Task(target(*args, **kwargs), loop=self._there, eager_start=True)
        if task.done():
            self._back.push(_settle, future, task)
        else:
            future.far = task  # which keeps it alive until it ends
            task.add_done_callback(lambda far: _post(self._back, _settle, future, far))

    def _answer(self) -> None:
        with contextlib.suppress(CallLostError):  # nobody is left to be told
            self._back.wake()


def _post(hop: _Hop, function: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(CallLostError):  # nobody is left to be told
        hop.post(function, *args)


def _settle(future: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
    if future.done():
        return
    if task.cancelled():
        future.set_exception(CallLostError("the other side cancelled the call"))
    elif error := task.exception():
        future.set_exception(error)
    else:
        future.set_result(task.result())
