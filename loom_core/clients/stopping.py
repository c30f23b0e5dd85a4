"""The `stop_work` activity: asks what a run does not wait for any more to stop."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from loom_core.durable.hub import Hub
from loom_core.errors import ConflictError
from loom_core.pipelines.session import CANCEL
from loom_core.stops import Stops

_PAUSES = (0.1, 0.5, None)
_PATIENCE = 5.0
_log = logging.getLogger(__name__)


async def stop_work(hub: Hub, stops: Stops, work: dict[str, Any]) -> None:
    """Serve `{"run", "scope", "children": [{"id", "graceful"}]}`: end the children, tell running activities.

    Asking is best effort and never fails the run: what could not be asked in several attempts is logged, and
    comes to its own end.
    """
    asked = time.time()  # what a child that cancels itself does once it has heard is later, and not meant

    async def end(child: dict[str, Any]) -> None:
        with contextlib.suppress(ConflictError):  # it has ended
            if child["graceful"]:
                await hub.raise_event(child["id"], CANCEL)
            else:
                await hub.terminate(child["id"])

    # The children first: whoever cancels itself is to learn why its activities end.
    await asyncio.gather(*(_insist(partial(end, child)) for child in work["children"]))
    # In a run that was asked as a whole, such a child may have learnt it from them, and be undoing things.
    is_graceful = any(child["graceful"] for child in work["children"])
    ask = stops.ask_once if is_graceful else stops.ask
    await _insist(partial(ask, work["run"], work["scope"], asked))


async def _insist(ask: Callable[[], Awaitable[None]]) -> None:
    for pause in _PAUSES:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must go on
            if pause is None:
                _log.warning("not asked to stop: %s", error)
            else:
                await asyncio.sleep(pause)
    return None
