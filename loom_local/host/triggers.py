"""What timers, queues and blobs share: how they call a function, and how their tasks begin and end."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Protocol

from loom_local.host.function import Function

_log = logging.getLogger(__name__)

CANCELLATION = 0.5
"""Seconds a function has to end once it is cancelled; one that will not is left behind."""


class Invoke(Protocol):
    """See `FunctionApp.invoke`: calls a function with its trigger's value and binding data.

    Raises HandlerError if the function raised.
    """

    async def __call__(
        self,
        function: Function,
        value: Any,
        *,
        kind: str,
        metadata: Mapping[str, tuple[Any, str]] | None = None,
    ) -> object: ...


def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run a coroutine on the calling loop; should it fail, say so at once."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(_report)
    return task


async def finish(tasks: Collection[asyncio.Task[None]], grace: float) -> None:
    """Let tasks end within `grace` seconds, then cancel them."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CANCELLATION)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s stopped", task.get_name(), exc_info=error)
