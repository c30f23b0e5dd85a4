"""A run's progress as server-sent events.

Every publication of a run's progress has a number, and each stage says at which one it started, moved and
finished. So what happened after any number can be told from the latest document alone: a client that
reconnects with Last-Event-ID misses no start and no end, and gets the newest counts instead of all of them.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from loom_core.clients.run import Run
from loom_core.clients.runs import Runs
from loom_core.http.documents import document
from loom_core.wire.json import Json, JsonObject, dump

END: Final = "end"
HEARTBEAT: Final = 10.0
FASTEST, SLOWEST = 0.05, 1.0


def events(run: Run, seen: int) -> Iterator[tuple[int, str, dict[str, Json]]]:
    """What happened after publication `seen`, in order: (number, name, data).

    Each data of a `stage.*` has one stage, in the form of a run's progress: merging them keeps a copy of it
    up to date. A graph's nodes are also told as `node_executed` and `execution_error`, by their ids.
    """
    found: list[tuple[int, int, str, dict[str, Json]]] = []
    for name, stage in run.stages.items():
        counts: dict[str, Json] = {
            key: stage.get(key) for key in ("status", "done", "total", "skipped", "failed")
        }
        if stage.get("error") is not None:
            counts["error"] = stage["error"]
        data: dict[str, Json] = {"stages": {name: counts}}
        started, moved, finished = (_number(stage.get(key)) for key in ("started", "at", "finished"))
        if started > seen:
            found.append((started, 0, "stage.started", data))
        if max(seen, started) < moved != finished:
            found.append((moved, 1, "stage.progress", data))
        if finished > max(seen, started):  # what a loop started again has not finished
            found.append((finished, 2, "stage.finished", data))
            if run.is_graph:
                found.append((finished, 3, *_signal(name, stage)))
    found.sort(key=lambda event: event[:2])
    return ((number, name, data) for number, _, name, data in found)


def _signal(node: str, stage: JsonObject) -> tuple[str, dict[str, Json]]:
    """What a graph's node is said to have done at its end."""
    status, at = stage.get("status"), stage.get("finished")
    if status == "failed":
        return "execution_error", {"nodeId": node, "error": stage.get("error"), "at": at}
    return "node_executed", {"nodeId": node, "status": status, "at": at}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


async def follow(
    runs: Runs, run: Run, seen: int, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[str]:
    """Encode what happens to the run after publication `seen`, until it is finished."""
    yield "retry: 1000\n\n"
    sent, pause = clock(), FASTEST
    while True:
        text, seen = _encode(run, seen)
        if text:
            sent, pause = clock(), FASTEST
            yield text
        if run.is_finished:
            yield f"id: {END}\nevent: run.finished\ndata: {dump(document(run, brief=True))}\n\n"
            return
        if clock() - sent > HEARTBEAT:
            sent = clock()
            yield ": still here\n\n"
        run = await runs.wait(run.id, pause)
        pause = min(pause * 1.5, SLOWEST)


def _encode(run: Run, seen: int) -> tuple[str, int]:
    """The events after `seen`; only the last of a number has the id, so that no half of them is lost."""
    happened = list(events(run, seen))
    lines: list[str] = []
    for index, (number, name, data) in enumerate(happened):
        is_last = index + 1 == len(happened) or happened[index + 1][0] != number
        lines.append(f"{f'id: {number}\n' if is_last else ''}event: {name}\ndata: {dump(data)}\n\n")
    return "".join(lines), max(seen, happened[-1][0] if happened else 0)
