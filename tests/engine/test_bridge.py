"""Calls between loops on threads of their own."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from loom_local.engine import bridge
from loom_local.engine.bridge import Bridge, CallLostError


@contextmanager
def far_loop() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_results_and_errors_come_back_and_the_function_runs_on_its_own_loop() -> None:
    async def where(fail: bool) -> asyncio.AbstractEventLoop:
        if fail:
            raise ValueError("no")
        return asyncio.get_running_loop()

    with far_loop() as far:
        call = Bridge(asyncio.get_running_loop(), far).function(where)
        assert await call(False) is far
        with pytest.raises(ValueError, match="no"):
            await call(True)


async def test_calls_begin_in_the_order_in_which_they_were_made() -> None:
    begun = []

    async def begin(n: int) -> int:
        begun.append(n)
        return n

    with far_loop() as far:
        call = Bridge(asyncio.get_running_loop(), far).function(begin)
        assert await asyncio.gather(*(call(n) for n in range(1000))) == list(range(1000))
    assert begun == list(range(1000))


async def test_the_answers_to_a_burst_of_calls_that_never_wait_wake_the_caller_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge, "BURST_SECONDS", 60.0)
    here, posted, wakes = asyncio.get_running_loop(), threading.Event(), 0
    wake = here.call_soon_threadsafe

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return wake(*args, **kwargs)

    async def same(n: int) -> int:
        return n

    with far_loop() as far:
        call = Bridge(here, far).function(same)
        far.call_soon_threadsafe(posted.wait)
        calls = [call(n) for n in range(100)]
        monkeypatch.setattr(here, "call_soon_threadsafe", counted)
        posted.set()
        assert await asyncio.gather(*calls) == list(range(100))
    assert wakes == 1


async def test_the_answers_of_a_long_burst_do_not_wait_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "BURST_SECONDS", 0.0)
    answered = threading.Event()

    async def first() -> None: ...

    async def second() -> bool:
        return answered.wait(5)

    with far_loop() as far:
        both = Bridge(asyncio.get_running_loop(), far)
        one, two = both.function(first)(), both.function(second)()
        await one
        answered.set()
        assert await two


async def test_cancelling_a_call_cancels_the_far_coroutine() -> None:
    begun, cancelled = asyncio.Event(), threading.Event()
    here = asyncio.get_running_loop()

    async def long() -> None:
        here.call_soon_threadsafe(begun.set)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with far_loop() as far:
        near = asyncio.ensure_future(Bridge(here, far).function(long)())
        await begun.wait()
        near.cancel()
        assert await asyncio.to_thread(cancelled.wait, 5)


async def test_a_far_coroutine_that_is_cancelled_by_its_own_side_does_not_cancel_the_caller() -> None:
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with far_loop() as far, pytest.raises(CallLostError):
        await Bridge(asyncio.get_running_loop(), far).function(cancels_itself)()


async def test_every_call_to_a_closed_loop_fails() -> None:
    async def never() -> None: ...

    far = asyncio.new_event_loop()
    far.close()
    call = Bridge(asyncio.get_running_loop(), far).function(never)
    for _ in range(3):
        with pytest.raises(CallLostError):
            await call()


async def test_an_answer_to_a_caller_whose_loop_is_closed_is_dropped_quietly() -> None:
    complaints: list[dict] = []
    begun, go_on = threading.Event(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    there = asyncio.get_running_loop()

    async def answer() -> None:
        begun.set()
        await go_on.wait()

    def short_lived() -> None:
        near = asyncio.new_event_loop()
        near.run_until_complete(call(near))
        near.close()

    async def call(near: asyncio.AbstractEventLoop) -> None:
        Bridge(near, there).function(answer)()
        await asyncio.to_thread(begun.wait)
        await near.shutdown_default_executor()

    await asyncio.to_thread(short_lived)
    go_on.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert complaints == []
