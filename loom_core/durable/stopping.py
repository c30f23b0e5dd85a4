"""The `stop_work` activity: asks what a run does not wait for any more to stop."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import grpc
import grpc.aio
from azure.durable_functions import DurableFunctionsClient

from loom_core.activities.stops import Stops
from loom_core.pipelines.session import CANCEL

_PAUSES = (0.1, 0.5, None)
_PATIENCE = 5.0
_WHILE = 0.2
_log = logging.getLogger(__name__)


async def stop_work(client: DurableFunctionsClient, stops: Stops, work: dict[str, Any]) -> None:
    """Serve `{"run", "scope", "children": [{"id", "graceful"}]}`: end the children, tell running activities.

    Asking is best effort and never fails the run: what could not be asked in several attempts is logged, and
    comes to its own end.
    """
    graceful = [child["id"] for child in work["children"] if child["graceful"]]
    ended = [child["id"] for child in work["children"] if not child["graceful"]]
    await _all(partial(_end, client, child) for child in ended)
    # A child that cancels itself is told before its activities; what it then starts to undo things is later.
    asked = time.time()
    await _all(partial(client.raise_orchestration_event, child, CANCEL) for child in graceful)
    await _insist(partial(stops.ask, work["run"], work["scope"], asked))
    if ended and not graceful:
        # Lanes of lanes end a little later than their parents, and may have begun something.
        await asyncio.sleep(_WHILE)
        await _insist(partial(stops.ask, work["run"], work["scope"]))


async def _end(client: DurableFunctionsClient, child: str) -> None:
    """Terminate a child and wait for it: as long as it goes on, it begins new work where old work ends."""
    await client.terminate_orchestration(child)
    with contextlib.suppress(TimeoutError):
        await client.wait_for_orchestration_completion(child, fetch_payloads=False, timeout=_WHILE * 10)


async def _all(asking: Iterable[Callable[[], Awaitable[None]]]) -> None:
    await asyncio.gather(*map(_insist, asking))


async def _insist(ask: Callable[[], Awaitable[None]]) -> None:
    for pause in _PAUSES:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must go on
            if _has_ended(error):
                return None
            if pause is None:
                _log.warning("not asked to stop: %s: %s", ask, error)
            else:
                await asyncio.sleep(pause)
    return None


def _has_ended(error: Exception) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.FAILED_PRECONDITION
