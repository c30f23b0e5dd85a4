"""Calls between two event loops on two threads, with one wake-up a burst instead of one a call."""

import asyncio
import collections
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


class CallLostError(Exception):
    """The far side will not answer: it cancelled the call of its own accord, or its loop is closed."""


class _Hop:
    """Runs functions on a loop, from any thread. Whoever posts first wakes it; the rest ride along."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: collections.deque[tuple[Callable[..., object], tuple[Any, ...]]] = collections.deque()
        self._awake = False

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Raises CallLostError when the loop is closed."""
        self._queue.append((function, args))
        if not self._awake:  # two threads may both see False: at worst one wake-up too many
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                self._awake = False
                self._queue.clear()
                raise CallLostError("the other side has ended") from None

    def _drain(self) -> None:
        self._awake = False  # before draining, so that a post from now on wakes the loop again
        while self._queue:
            function, args = self._queue.popleft()
            function(*args)


class Bridge:
    """Connects the calling loop `here` with the loop `there`; both directions are coalesced."""

    def __init__(self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop) -> None:
        self._here = here
        self._there = there
        self._to = _Hop(there)
        self._back = _Hop(here)

    def function[**P, T](self, target: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Awaitable[T]]:
        """Make `target`, a coroutine function of the far loop, callable from the near one.

        Cancelling the call cancels the far coroutine. The call, or awaiting it, raises CallLostError when the
        far side ends without an answer.
        """

        def call(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
            future: asyncio.Future[T] = self._here.create_future()
            started: list[asyncio.Task[T]] = []
            self._to.post(self._start, started, future, target, args, kwargs)
            future.add_done_callback(lambda near: near.cancelled() and _post(self._to, _cancel, started))
            return future

        return call

    def _start(
        self,
        started: list[asyncio.Task[Any]],
        future: asyncio.Future[Any],
        target: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        task = self._there.create_task(target(*args, **kwargs))
        started.append(task)  # the caller's reference keeps it alive until it ends
        task.add_done_callback(lambda far: _post(self._back, _settle, future, far))


def _post(hop: _Hop, function: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(CallLostError):  # nobody is left to be told
        hop.post(function, *args)


def _cancel(started: list[asyncio.Task[Any]]) -> None:
    for task in started:
        task.cancel()


def _settle(future: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
    if future.done():
        return
    if task.cancelled():
        future.set_exception(CallLostError("the other side cancelled the call"))
    elif error := task.exception():
        future.set_exception(error)
    else:
        future.set_result(task.result())
