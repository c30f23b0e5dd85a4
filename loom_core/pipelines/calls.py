"""Calls of activities as programs: one item or one batch at a time, tried again as the policy says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from loom_core.errors import StepFailedError
from loom_core.resilience.retry import RetryPolicy, delay
from loom_core.wire.commands import CallActivity, CallBatch, Program, Publish, Sleep
from loom_core.wire.json import Json, JsonObject

type Item = tuple[int, Json]
"""An item's place in the scatter's list, and the input of its call."""

type Outcome = Json | StepFailedError

type Report = Callable[[int, int], Publish]
"""Takes how many more items are done and how many more have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What the calls of one scatter have in common.

    `seed` begins their keys, which differ from those of other stages and runs. With `stop` the first failure
    ends the scatter, else failures are outcomes.
    """

    stage: str
    seed: str
    activity: str
    batch_size: int
    retry: RetryPolicy | None
    stop: bool


def call(activity: str, taken: Json, retry: RetryPolicy | None, key: str) -> Program:
    """Call an activity until it succeeds or may not be tried again. Raises its last StepFailedError.

    `key` makes this call's retries differ from those of others, and is every attempt's idempotency key.
    """
    failures = 0
    while True:
        try:
            return (yield CallActivity(activity, taken, key=key))
        except StepFailedError as error:
            failures += 1
            wait = delay(retry, failures, key) if retry is not None and error.can_retry else None
            if wait is None:
                raise
        yield Sleep(wait)


def call_item(calls: Calls, item: Item, report: Report | None) -> Program:
    """Call for one item; the result is its outcome."""
    index, taken = item
    try:
        outcome: Outcome = yield from call(calls.activity, taken, calls.retry, f"{calls.seed}/{index}")
    except StepFailedError as error:
        outcome = _failure(calls, index, _described(error))
    return (yield from _settled(calls, [outcome], report))[0]


def call_batch(calls: Calls, items: Sequence[Item], report: Report | None) -> Program:
    """Call for several items at once, then for those worth another try; the result is their outcomes."""
    outcomes: dict[int, Outcome] = {}
    left = items
    for failures in count(1):
        wait = None if calls.retry is None else delay(calls.retry, failures, f"{calls.seed}/{items[0][0]}")
        outcomes |= yield from _answers(calls, left)
        left = [item for item in left if isinstance(e := outcomes[item[0]], StepFailedError) and e.can_retry]
        if wait is None or not left:
            break
        yield Sleep(wait)
    return (yield from _settled(calls, [outcomes[index] for index, _ in items], report))


def _answers(calls: Calls, items: Sequence[Item]) -> Program:
    try:
        inputs, keys = (
            tuple(taken for _, taken in items),
            tuple(f"{calls.seed}/{index}" for index, _ in items),
        )
        answers: Any = yield CallBatch(calls.activity, inputs, keys=keys)
    except StepFailedError as error:
        answers = [{"error": _described(error)}] * len(items)
    return {
        index: answer["ok"] if "ok" in answer else _failure(calls, index, answer["error"])
        for (index, _), answer in zip(items, answers, strict=True)
    }


def _settled(calls: Calls, outcomes: list[Outcome], report: Report | None) -> Program:
    failures = [outcome for outcome in outcomes if isinstance(outcome, StepFailedError)]
    if report is not None:
        yield report(len(outcomes) - len(failures), len(failures))
    if calls.stop and failures:
        raise failures[0]
    return outcomes


def _described(error: StepFailedError) -> JsonObject:
    return {"type": error.error_type, "message": error.message, "retryable": error.can_retry}


def _failure(calls: Calls, index: int, error: Mapping[str, Any]) -> StepFailedError:
    step = f"{calls.stage}[{index}]"
    return StepFailedError(step, error["type"], error["message"], retryable=error["retryable"])
