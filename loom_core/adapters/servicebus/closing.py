"""Closing without waiting: the SDK takes up to a second for each."""

import asyncio
import logging
from typing import Protocol

_log = logging.getLogger(__name__)


class _Handler(Protocol):
    async def close(self) -> None: ...


class Closing:
    """What was opened and is closing."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self, handler: _Handler) -> None:
        """Detach at once, so that what the handler has locked is free; let the rest take its time."""
        task = asyncio.get_running_loop().create_task(_close(handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _close(handler: _Handler) -> None:
    try:
        await handler.close()
    except Exception as error:  # noqa: BLE001 - the link is gone either way
        _log.debug("a link to Service Bus did not close: %s", type(error).__name__)
