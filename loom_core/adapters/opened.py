"""A client of a service: made at the first call, and closed with the event loop it was made on."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager


class Opened[T]:
    """The one client that `make` makes, once somebody asks for it.

    Functions on Azure are given no word when their process ends, but its loop closes the asynchronous
    generators that are still open, as every `asyncio.run` does. The client lives in one.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make = make
        self._opening = asyncio.Lock()
        self._open: tuple[AsyncGenerator[T], T] | None = None

    async def get(self) -> T:
        """The client. Raises what making it raises, and then tries again at the next call."""
        if self._open is None:
            async with self._opening:
                if self._open is None:
                    living = self._live()
                    self._open = living, await anext(living)
        return self._open[1]

    async def aclose(self) -> None:
        """Close it if it was made; whoever asks later gets a new one."""
        if self._open is not None:
            (living, _), self._open = self._open, None
            await living.aclose()

    async def _live(self) -> AsyncGenerator[T]:
        async with self._make() as client:
            yield client
