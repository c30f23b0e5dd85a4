"""Scatters of any size at an exact concurrency, with a short history each.

Up to `INLINE` items run in one window. More are cut into chunks, each of which runs as a durable child, a
lane; a chunk of more than `LANE_CALLS` calls is cut again by its lane. The arithmetic behind the sizes:

* A replay costs some 15 us per event of the history, so an item costs about 15 us times the calls of its
  lane. 64 calls cost 1 ms an item where every completion is replayed alone, 250 would cost 4 ms.
* A window loses half its width at the lane's end, so a lane of 4 calls per place leaves an eighth of them
  idle on average. 16 calls per place would lose 3 %, but their narrow lanes are replayed for four results
  at a time: measured, an item then costs 510 us among 10,000 instead of 323 (and 322 among 1,000).
* Who cuts reads all its items anew at every replay, 2 to 3 us each, and is replayed once a chunk. With 16
  chunks that is 50 us an item at every level, and 100,000 items take three levels. (Carrying the rest of
  the items through continue-as-new would read all of them once a lane, and grow with the square.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, batched
from typing import Any

from loom_core.errors import StepFailedError
from loom_core.pipelines.calls import Calls, Item, Outcome, Report, call_batch, call_item
from loom_core.wire.commands import All, CallActivity, Program, RunProgram, Window
from loom_core.wire.json import JsonObject

INLINE = 250
LANE_CALLS = 64
CALLS_PER_PLACE = 4
MAX_CHUNKS = 16
BRANCH_CALLS = 256


def cut(items: int, concurrency: int, batch_size: int) -> tuple[list[int], list[int]]:
    """Decide the number of items of each chunk, and of those that each lane may have in flight.

    Lanes keep their windows full and end together: sizes and widths differ by one batch at most, and the
    widths add up to the concurrency, rounded down to whole batches.
    """
    calls, places = -(-items // batch_size), max(1, concurrency // batch_size)
    size = _lane_calls(batch_size)
    if calls > size * MAX_CHUNKS:
        size = max(-(-calls // MAX_CHUNKS), BRANCH_CALLS // batch_size)
    chunks = -(-calls // size)
    lanes = min(chunks, places, -(-places // max(1, size // CALLS_PER_PLACE)))
    chunks = min(calls, lanes * -(-chunks // lanes))
    sizes = [share * batch_size for share in _share(calls, chunks)]
    sizes[-1] -= calls * batch_size - items
    return sizes, [share * batch_size for share in _share(places, lanes)]


def _lane_calls(batch_size: int) -> int:
    return min(LANE_CALLS, INLINE // batch_size)


def _share(total: int, parts: int) -> list[int]:
    each, more = divmod(total, parts)
    return [each + (part < more) for part in range(parts)]


def scatter(
    calls: Calls, items: Sequence[Item], concurrency: int, report: Report | None, inline: int = INLINE
) -> Program:
    """Call for every item with at most `concurrency` items in flight; the result is their outcomes in order.

    Raises StepFailedError at the first failure if `calls.stop`.
    """
    if len(items) > inline:
        return (yield from _lanes(calls, items, concurrency, report))
    width = max(1, concurrency // calls.batch_size)
    if calls.batch_size > 1:
        batches = (
            call_batch(calls, batch, report) for batch in batched(items, calls.batch_size, strict=False)
        )
        return [outcome for batch in (yield Window(batches, width)) for outcome in batch]
    activity = calls.activity
    if activity and calls.retry is None and report is None and not calls.stop and calls.rate is None:
        seed = calls.seed
        plain = (CallActivity(activity, taken, key=f"{seed}/{index}") for index, taken in items)
        return (yield Window(plain, width, collect=True))
    return (yield Window((call_item(calls, item, report) for item in items), width))


def lane_program(payload: JsonObject) -> Program:
    """Run one chunk of a scatter; its failures are part of its result, so that they keep their names."""
    given: Any = payload
    calls = Calls.from_json(given["calls"])
    try:
        outcomes: list[Outcome] = yield from scatter(
            calls,
            given["items"],
            given["concurrency"],
            None,
            _lane_calls(calls.batch_size) * calls.batch_size,
        )
    except StepFailedError as error:
        return {"failed": _to_json(error)}
    failed = [[at, *_to_json(o)] for at, o in enumerate(outcomes) if isinstance(o, StepFailedError)]
    results = [None if isinstance(outcome, StepFailedError) else outcome for outcome in outcomes]
    return {"results": results, "failures": failed}


def _lanes(calls: Calls, items: Sequence[Item], concurrency: int, report: Report | None) -> Program:
    """Hand the chunks out, each to the lane that is free first."""
    sizes, widths = cut(len(items), concurrency, calls.batch_size)
    starts = accumulate(sizes, initial=0)
    chunks = enumerate(items[start : start + size] for start, size in zip(starts, sizes, strict=False))
    answers: list[list[Outcome]] = [[] for _ in sizes]
    yield All(
        tuple(
            _lane(calls, chunks, width=width, concurrency=concurrency, answers=answers, report=report)
            for width in widths
        )
    )
    return [outcome for answer in answers for outcome in answer]


def _lane(
    calls: Calls,
    chunks: Iterator[tuple[int, Sequence[Item]]],
    *,
    width: int,
    concurrency: int,
    answers: list[list[Outcome]],
    report: Report | None,
) -> Program:
    rate = None if calls.rate is None else calls.rate * width / concurrency
    own = replace(calls, rate=rate).to_json()
    for place, chunk in chunks:
        answer = yield RunProgram("lane", {"calls": own, "items": chunk, "concurrency": width}, calls.seed)
        if "failed" in answer:
            if report is not None:
                yield report(0, 1)
            raise StepFailedError(*answer["failed"])
        outcomes = answers[place] = list(answer["results"])
        for at, *failure in answer["failures"]:
            outcomes[at] = StepFailedError(*failure)
        if report is not None:
            yield report(len(outcomes) - len(answer["failures"]), len(answer["failures"]))


def _to_json(error: StepFailedError) -> list[str]:
    return [error.step, error.error_type, error.message]
