"""Clients of services live as long as the event loop they were made on."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from inspect import AGEN_CLOSED, getasyncgenstate


def close_with_loop(
    close: Callable[[], Awaitable[None]], kept: AsyncGenerator[None] | None = None
) -> AsyncGenerator[None]:
    """Have `close` called when the running loop ends, or when nobody keeps the result any more.

    `kept` is the result of the last call, if any: it is enough as long as its loop goes on.

    Functions on Azure are given no word when their process is to end. But a loop that ends closes the
    asynchronous generators that are still open, in `asyncio.run` and in the hosts alike, and this is one.
    """
    if kept is not None and getasyncgenstate(kept) != AGEN_CLOSED:
        return kept
    life = _live(close)
    with suppress(StopIteration):  # it comes to its `yield` without waiting for anything
        life.__anext__().send(None)
    return life


async def _live(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await close()
