"""Follow a run to its end, through restarts of the host and broken connections."""

import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any

from loom_local.cli.api import Api, RefusedError, UnreachableError, segment
from loom_local.cli.sse import Event, StreamError

ENDED = frozenset({"completed", "failed", "cancelled"})
PATIENCE = 60.0  # seconds without a host before we give up; the run goes on once the host is back
UNAVAILABLE = 503


def follow(
    api: Api,
    run_id: str,
    *,
    last_id: str = "",
    patience: float = PATIENCE,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Event]:
    """Yield the run's events after `last_id` until it ends, each once; reconnect whenever the stream breaks.

    Raises UnreachableError when no host answers for `patience` seconds, RefusedError for an unknown run.
    """
    path = f"/api/runs/{segment(run_id)}"
    since, attempt = now(), 0
    while True:
        try:
            for event in api.events(f"{path}/events", last_id=last_id):
                last_id, since, attempt = event.id, now(), 0
                yield event
            if _ended(api.get(path)):
                return
            since = now()
        except (UnreachableError, OSError, HTTPException, StreamError):
            if now() - since > patience:
                raise
        except RefusedError as error:
            if error.status != UNAVAILABLE or now() - since > patience:
                raise
        sleep(min(0.05 * 2**attempt, 2.0))
        attempt = min(attempt + 1, 6)


def _ended(document: Any) -> bool:
    return document["status"] in ENDED
