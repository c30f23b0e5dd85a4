"""A scatter: which items are called for, and what has become of them."""

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

from loom_core.errors import InvalidError, Problem, StepFailedError, described
from loom_core.expressions.evaluate import kind
from loom_core.pipelines.calls import Calls, Chains, Item, Outcome
from loom_core.pipelines.lanes import INLINE, scatter
from loom_core.pipelines.plan import Scatter, Stage
from loom_core.pipelines.routes import chain, label_of
from loom_core.pipelines.scope import actor_id, evaluate
from loom_core.pipelines.session import Session
from loom_core.wire.commands import Program
from loom_core.wire.json import JsonObject

MAX_ITEMS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Picked:
    """The items of a scatter that are to be called for, by which chains, and what became of the others."""

    items: list[Item]
    chains: Chains
    failures: list[tuple[int, StepFailedError]]
    skipped: int


def scattered(
    session: Session, stage: Stage, how: Scatter, calls: Calls, scope: JsonObject, *, shown: str, again: bool
) -> Program:
    """Call for the items; the result is the stage's output. `shown` is its name in the run's progress."""
    picked = _pick(stage, how, scope, calls.seed)
    failures = picked.failures
    total = len(picked.items) + len(failures)
    yield session.progress.start(shown, total, picked.skipped, len(failures), again=again)
    if failures and stage.on_error == "fail":
        raise failures[0][1]
    calls.chains, calls.run = picked.chains, session.needed_by(picked.chains)
    calls.batch_size, calls.rate, calls.stop = how.batch_size, how.rate, stage.on_error == "fail"
    inline = min(INLINE, session.room)
    session.steps += len(picked.items) if len(picked.items) <= inline else session.room
    report = partial(session.progress.count, shown)
    outcomes: list[Outcome] = yield from scatter(calls, picked.items, how.concurrency, report, inline)
    indices = (item[0] for item in picked.items)
    settled = sorted([*zip(indices, outcomes, strict=True), *failures], key=itemgetter(0))
    return [
        {"error": described(outcome), "item": index} if isinstance(outcome, StepFailedError) else outcome
        for index, outcome in settled
        if stage.on_error == "collect" or not isinstance(outcome, StepFailedError)
    ]


def _pick(stage: Stage, how: Scatter, scope: JsonObject, seed: str) -> _Picked:
    """Evaluate condition, route and input of every item; where that fails, that item alone has failed."""
    found = _items(stage, how, scope)
    items: list[Item] = []
    failures: list[tuple[int, StepFailedError]] = []
    labels: set[str] = set()
    scope = dict(scope)
    call, route = how.call, how.call.route
    is_plain = not route.weights and route.expression is None and call.actor is None
    for index, item in enumerate(found):
        scope[how.item] = item
        try:
            if how.condition is not None and not how.condition.evaluate(scope):
                continue
            taken = item if call.input is None else call.input.evaluate(scope)
            if is_plain:
                items.append((index, taken))
                continue
            label = label_of(route, scope, f"{seed}/{index}")
            items.append((index, taken, label, actor_id(call.actor, scope, f"{stage.path}.actorId")))
            labels.add(label)
        except InvalidError as error:
            failures.append((index, StepFailedError(f"{stage.name}[{index}]", "InvalidError", str(error))))
    chains = {label: chain(route, label) for label in ([""] if is_plain else sorted(labels))}
    return _Picked(items, chains, failures, len(found) - len(items) - len(failures))


def _items(stage: Stage, how: Scatter, scope: JsonObject) -> list[Any]:
    path = f"{stage.path}.scatter.input"
    found = evaluate(how.items, scope, path)
    if not isinstance(found, list) or len(found) > MAX_ITEMS:
        given = f"{len(found):,} items" if isinstance(found, list) else kind(found)
        told = f"gives {given}, but a scatter takes a list of at most {MAX_ITEMS:,}"
        raise InvalidError([Problem(path, told)])
    return found
