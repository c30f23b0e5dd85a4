"""Where replay runs: on the host's loop while it is quick, on a thread when it is not.

The Durable SDK hands every orchestrator replay and entity batch to a thread. A hop costs about as much as
the replay of a short history, so functions that have been quick run inline; but what user code does in
them is not ours to know, so a function earns its place on the loop with a row of quick runs on a thread,
and loses it with the first slow one. A function that blocks therefore never stalls HTTP: it is never
quick, or it stalls it once.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

from loom_core.errors import LoomError

QUICK_SECONDS = 0.02
RUNS_TO_EARN_THE_LOOP = 8


class Pace:
    """Keeps, per function, how many runs in a row were quick. Reads the clock it is given, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._quick_runs: dict[Any, int] = {}

    def is_quick(self, key: Any) -> bool:
        return self._quick_runs.get(key, 0) >= RUNS_TO_EARN_THE_LOOP

    def timed[T](self, key: Any, run: Callable[[], T]) -> T:
        """Run it and count it."""
        start = self._clock()
        try:
            return run()
        finally:
            quick = self._clock() - start < QUICK_SECONDS
            self._quick_runs[key] = self._quick_runs.get(key, 0) + 1 if quick else 0


def install(pace: Pace) -> None:
    """Make the Durable SDK of this process ask `pace` where to run. Raises LoomError on an unknown SDK."""
    from azure.durable_functions import worker  # noqa: PLC0415  cold start

    sdk: Any = worker
    to_thread = getattr(sdk, "run_sync", None)
    if to_thread is None:
        raise LoomError("the installed azure-functions-durable is not 2.0.0rc3: its worker has no run_sync")
    if isinstance(to_thread, functools.partial):
        to_thread = to_thread.args[1]
    sdk.run_sync = functools.partial(_run, pace, to_thread)


async def _run(pace: Pace, to_thread: Any, function: Callable[..., Any], *args: Any) -> Any:
    user_function = args[0]
    run = functools.partial(function, *args)
    if pace.is_quick(user_function):
        return pace.timed(user_function, run)
    return await to_thread(pace.timed, user_function, run)
