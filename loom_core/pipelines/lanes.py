"""Scatters of any size at an exact concurrency, with a short history each.

Up to `INLINE` items run in one window. Of more, lanes take chunks, each of which runs as a durable child with
the lane's share of the concurrency; a chunk too long for one window is handed out by its child in turn. Which
item a lane works on is decided when it is free, and chunks get smaller towards the end. How wide lanes are is
decided by how long a call takes, which the first, small chunk of each tells; see docs/decisions/0006:

* Slow calls are waited for. A window of width w is idle for most of a call's time at the end of its chunk, a
  lane of one place never is: so there are many narrow lanes.
* Quick calls cost what is done for them, which is least where many end together: few wide lanes.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, batched
from typing import Any

from loom_core.errors import CancelledError, StepFailedError
from loom_core.pipelines.calls import Calls, Item, Outcome, Report, call_batch, call_item
from loom_core.pipelines.session import CANCEL
from loom_core.wire import commands
from loom_core.wire.commands import All, CallActivity, Now, Program, RunProgram, Window
from loom_core.wire.json import JsonObject

INLINE = 250
LANE_CALLS, PLACE_CALLS = 125, 40
"""Calls of one lane, and of a slow one per place: where nothing is coalesced, each replays those before."""
WIDE, MAX_LANES = 32, 64
"""Places of a quick lane; slow lanes, which are as narrow as that allows."""
AHEAD = 1.2
"""A slow lane takes all but a sixth of its share of what is left, so it may be a fifth slower than others."""
MAX_CHUNKS, LEAST_SHARE = 128, 32
"""The longest chunks are such a part of all items, the shortest of a lane's share: so there are not many."""
SLOW_SECONDS, NARROW_CALLS = 0.05, 1_000
"""Slow calls take that long, and are not more a second than narrow lanes can make."""


def scatter(
    calls: Calls,
    items: Sequence[Item],
    concurrency: int,
    report: Report | None,
    inline: int = INLINE,
    *,
    slow: bool | None = None,
    patience: float = 0.0,
) -> Program:
    """Call for every item with at most `concurrency` items in flight; the result is their outcomes in order.

    `slow` says whether a call takes long, if that is known, and `patience` how many seconds are not long in
    the scatter that this is a part of, for all its calls wait for each other. Raises StepFailedError at the
    first failure if `calls.stop`.
    """
    width = max(1, concurrency // calls.batch_size)
    if len(items) > inline:
        work = _Work(items, calls.batch_size, width, report)
        work.slow = max(work.slow, patience)
        yield from _lanes(work, calls, width, slow=True if width == 1 else slow)
        return work.outcomes
    if calls.batch_size > 1:
        parts = batched(items, calls.batch_size, strict=False)
        batches = (call_batch(calls, part, report) for part in parts)
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
    concurrency, slow = given["concurrency"], given.get("slow")
    inline = _leaf(concurrency // calls.batch_size, slow, calls.batch_size) * calls.batch_size
    began: float = yield Now()
    try:
        patience = given["patience"]
        work = scatter(calls, given["items"], concurrency, None, inline, slow=slow, patience=patience)
        if calls.graceful:
            work = _unless_cancelled(work, calls.seed)
        outcomes: list[Outcome] = yield from work
    except StepFailedError as error:
        return {"failed": _to_json(error)}
    seconds = (yield Now()) - began
    failed = [[at, *_to_json(o)] for at, o in enumerate(outcomes) if isinstance(o, StepFailedError)]
    results = [None if isinstance(outcome, StepFailedError) else outcome for outcome in outcomes]
    return {"results": results, "failures": failed, "seconds": seconds, "following": calls.following}


def _unless_cancelled(work: Program, scope: str) -> Program:
    first, result = yield commands.AnyOf((commands.WaitEvent(CANCEL), work))
    if first == 0:
        yield commands.Stop(scope)
        raise CancelledError("the run was cancelled")
    return result


def _leaf(width: int, slow: bool | None, batch_size: int) -> int:
    """Calls that run in one window."""
    return max(1, min(INLINE // batch_size, LANE_CALLS, PLACE_CALLS * width if slow else LANE_CALLS))


class _Work:
    """The items of a scatter: those that no lane has taken yet, and the outcomes of the others."""

    def __init__(self, items: Sequence[Item], batch_size: int, places: int, report: Report | None) -> None:
        self.items, self.report = items, report
        self.narrow, self.slow = -(-places // MAX_LANES), max(SLOW_SECONDS, places / NARROW_CALLS)
        self.outcomes: list[Outcome] = [None] * len(items)
        self._batch_size, self._places = batch_size, places
        self._calls, self._taken = -(-len(items) // batch_size), 0

    def take(self, width: int, slow: bool | None, part: float) -> tuple[int, int]:
        """The first of the next items for a lane of this width, and the one after its last."""
        first, self._taken = self._taken, min(self._calls, self._taken + self._size(width, slow, part))
        return first * self._batch_size, min(len(self.items), self._taken * self._batch_size)

    def _size(self, width: int, slow: bool | None, part: float) -> int:
        leaf = _leaf(width, slow, self._batch_size)
        if slow is None:
            return min(width, leaf)
        size = max(leaf, -(-self._calls // MAX_CHUNKS))
        if width < self._places:
            share = width / self._places
            left = (self._calls - self._taken) * share / (AHEAD if slow else 1)
            size = max(width, int(self._calls * share / LEAST_SHARE), min(size, int(left)))
        return max(1, int(size * part))


def _lanes(work: _Work, calls: Calls, places: int, *, slow: bool | None, narrowed: bool = False) -> Program:
    """Share these places out to lanes, and let them work until nothing is left.

    A lane has its part of the rate. The first calls follow each other at the whole of it, and the first
    chunks of slow lanes differ in length, so that they do not all report at once ever after.
    """
    lanes = -(-places // (work.narrow if slow else WIDE))
    each, more = divmod(places, lanes)
    widths = [each + (lane < more) for lane in range(lanes)]
    own = [calls] * lanes
    if calls.rate is not None:
        following = max(calls.following, (yield Now()))
        own = [
            replace(calls, rate=calls.rate * width / places, following=following + before / calls.rate)
            for width, before in zip(widths, accumulate(widths, initial=0), strict=False)
        ]
    parts = [(lane + 1) / lanes if slow else 1.0 for lane in range(lanes)]
    shares = zip(own, widths, parts, strict=True)
    yield All(tuple(_lane(work, *share, slow=slow, narrowed=narrowed) for share in shares))


def _lane(
    work: _Work, calls: Calls, width: int, part: float, *, slow: bool | None, narrowed: bool
) -> Program:
    """Take chunks until there are none; a lane that was `narrowed` ends when calls are quick again."""
    while (chunk := work.take(width, slow, part))[0] < chunk[1]:
        part = 1.0
        calls, seconds = yield from _chunk(work, calls, width, chunk, slow=slow)
        if slow and narrowed and seconds < work.slow / 2 and calls.rate is None:
            return
        if not slow and seconds > work.slow:
            # A machine that was busy for a moment is no reason to be slow: a short chunk has to say so again.
            slow = slow is None or None
        elif not slow:
            slow = False
        if slow and width > work.narrow:
            yield from _lanes(work, calls, width, slow=True, narrowed=True)
            slow = False


def _chunk(work: _Work, calls: Calls, width: int, chunk: tuple[int, int], *, slow: bool | None) -> Program:
    """Run a chunk as a child; the result is the calls to go on with, and the seconds that one has taken."""
    first, end = chunk
    pace: JsonObject = {"concurrency": width * calls.batch_size, "slow": slow, "patience": work.slow}
    payload: JsonObject = {"calls": calls.to_json(), "items": work.items[first:end], **pace}
    answer = yield RunProgram("lane", payload, calls.seed, calls.graceful)
    if "failed" in answer:
        if work.report is not None:
            yield work.report(0, 1)
        raise StepFailedError(*answer["failed"])
    work.outcomes[first:end] = answer["results"]
    for at, *failure in answer["failures"]:
        work.outcomes[first + at] = StepFailedError(*failure)
    if work.report is not None:
        failed = len(answer["failures"])
        yield work.report(end - first - failed, failed)
    if calls.rate is not None:
        calls = replace(calls, following=answer["following"])
    return calls, answer["seconds"] * width * calls.batch_size / (end - first)


def _to_json(error: StepFailedError) -> list[str]:
    return [error.step, error.error_type, error.message]
