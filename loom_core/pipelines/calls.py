"""Calls of activities, actors, agents and pipelines as programs: tried again as the plan says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, Self

from loom_core.errors import StepFailedError
from loom_core.pipelines.plan import Target
from loom_core.resilience.retry import RetryPolicy, delay
from loom_core.wire import commands
from loom_core.wire.commands import Command, Program
from loom_core.wire.json import Json, JsonObject, digest

type Chains = Mapping[str, Sequence[Target]]
"""The targets to try one after the other, by label."""

type Item = Sequence[Any]
"""An item's place in the scatter's list and the input of its call; then, perhaps, its label and its actor."""

type Outcome = Json | StepFailedError

type Report = Callable[[int, int], commands.Publish]
"""Takes how many more items are done and how many more have failed."""


@dataclass(slots=True, kw_only=True)
class Calls:
    """What the calls of one stage have in common.

    `seed` begins their keys, which differ from those of other stages and runs. `on` is Route's `fallback_on`.
    `run` has what called pipelines need: the run's id and the library. With `stop` the first failure ends a
    scatter, else failures are outcomes. `rate` is how many calls may start in a second, `following` when the
    next may, in seconds of the epoch.
    """

    stage: str
    seed: str
    chains: Chains
    on: Sequence[str] = ()
    retry: RetryPolicy | None = None
    run: JsonObject = field(default_factory=dict[str, Json])
    batch_size: int = 1
    stop: bool = False
    rate: float | None = None
    following: float = 0.0

    @property
    def activity(self) -> str | None:
        """The activity that all calls go to, if that is so and nothing else is to be observed."""
        chain = self.chains.get("", ())
        plain = len(self.chains) == len(chain) == 1 and chain[0].kind == "activity"
        return chain[0].name if plain and not chain[0].strategy else None

    @property
    def graceful(self) -> bool:
        """Whether what is called has to make things good when it is cancelled, as pipelines have."""
        return "library" in self.run

    def to_json(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        retry: Any = given["retry"] and RetryPolicy(**given["retry"])
        chains: Any = {label: [Target(**one) for one in chain] for label, chain in given["chains"].items()}
        return cls(**{**given, "retry": retry, "chains": chains})

    def pace(self) -> Program:
        """Wait for the next call's turn."""
        if self.rate is not None:
            now: float = yield commands.Now()
            turn = max(now, self.following)
            self.following = turn + 1 / self.rate
            if turn > now:
                yield commands.Sleep(turn - now)


def goes_on(on: Sequence[str], error: StepFailedError) -> bool:
    """Whether the next target of a chain is tried after this error."""
    return error.error_type in on if on else error.error_type not in {"InvalidError", "CancelledError"}


def call(calls: Calls, taken: Json, key: str, label: str = "", actor: str | None = None) -> Program:
    """Call until a target succeeds, or none may be tried any more. Raises its last StepFailedError.

    `key` makes this call's retries differ from those of others, and is every attempt's idempotency key.
    """
    chain = calls.chains[label]
    for place, target in enumerate(chain):
        own = f"{key}/~{place}" if place else key
        try:
            return (yield from _attempts(calls, _command(calls, target, taken, own, actor), own))
        except StepFailedError as error:
            if place + 1 == len(chain) or not goes_on(calls.on, error):
                raise
    return None


def _attempts(calls: Calls, command: Command, key: str) -> Program:
    for failures in count(1):
        yield from calls.pace()
        try:
            return (yield command)
        except StepFailedError as error:
            wait = delay(calls.retry, failures, key) if calls.retry is not None and error.can_retry else None
            if wait is None:
                raise
        yield commands.Sleep(wait)
    return None


def _command(calls: Calls, target: Target, taken: Json, key: str, actor: str | None) -> Command:
    match target.kind:
        case "activity":
            return commands.CallActivity(target.name, taken, key=key, strategy=target.strategy)
        case "actor":
            return commands.CallActor(target.name, actor or digest(key)[:26], taken, key, target.strategy)
        case "agent":
            return commands.RunProgram("agent", {"agent": target.name, "input": taken, "key": key}, key)
        case "pipeline":
            library: Any = calls.run["library"]
            given = {**calls.run, "definition": library[target.name], "input": taken, "key": key}
            return commands.RunProgram("pipeline", given, key, graceful=True)


def call_item(calls: Calls, item: Item, report: Report | None) -> Program:
    """Call for one item; the result is its outcome."""
    index, taken, *others = item
    try:
        outcome: Outcome = yield from call(calls, taken, f"{calls.seed}/{index}", *others)
    except StepFailedError as error:
        outcome = error.of(f"{calls.stage}[{index}]")
    return (yield from _settled(calls, [outcome], report))[0]


def call_batch(calls: Calls, items: Sequence[Item], report: Report | None) -> Program:
    """Call for several items at once, then for those worth another try; the result is their outcomes."""
    outcomes: dict[int, Outcome] = {}
    left = items
    for failures in count(1):
        wait = None if calls.retry is None else delay(calls.retry, failures, f"{calls.seed}/{items[0][0]}")
        yield from calls.pace()
        outcomes |= yield from _answers(calls, left)
        left = [item for item in left if isinstance(e := outcomes[item[0]], StepFailedError) and e.can_retry]
        if wait is None or not left:
            break
        yield commands.Sleep(wait)
    return (yield from _settled(calls, [outcomes[item[0]] for item in items], report))


def _answers(calls: Calls, items: Sequence[Item]) -> Program:
    """Call once; the result is what became of each item, by its index."""
    inputs, keys = tuple(item[1] for item in items), tuple(f"{calls.seed}/{item[0]}" for item in items)
    try:
        answers: Any = yield commands.CallBatch(calls.chains[""][0].name, inputs, keys=keys)
    except StepFailedError as error:
        return {item[0]: error.of(f"{calls.stage}[{item[0]}]") for item in items}
    return {
        item[0]: answer["ok"] if "ok" in answer else _failure(f"{calls.stage}[{item[0]}]", answer["error"])
        for item, answer in zip(items, answers, strict=True)
    }


def _failure(step: str, error: Mapping[str, Any]) -> StepFailedError:
    return StepFailedError(step, error["type"], error["message"], retryable=error["retryable"])


def _settled(calls: Calls, outcomes: list[Outcome], report: Report | None) -> Program:
    failures = [outcome for outcome in outcomes if isinstance(outcome, StepFailedError)]
    if report is not None:
        yield report(len(outcomes) - len(failures), len(failures))
    if calls.stop and failures:
        raise failures[0]
    return outcomes
