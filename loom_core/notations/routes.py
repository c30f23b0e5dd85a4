"""What does the work of a stage, as every notation writes it: a name, or a choice among several."""

import re
from collections.abc import Mapping

from pydantic import RootModel

from loom_core.expressions.parse import member
from loom_core.notations.checks import Checks, at
from loom_core.notations.document import Choice, Named, TargetName, Undo
from loom_core.pipelines.plan import Call, Compensation, Kind, Route, Target
from loom_core.wire.json import Json

KINDS: Mapping[str, Kind] = {
    "activity": "activity",
    "actor": "actor",
    "agent": "agent",
    "pipeline": "pipeline",
}
"""The keys that name a target, each with its kind."""
CHOOSERS = ("strategy", "strategyExpression", "weights", "fallback")


class Plain(RootModel[TargetName]):
    """The name of a target, of the kind that its key says."""


def read_call(
    checks: Checks,
    draft: Json,
    path: str,
    waits: set[str],
    *,
    keys: Mapping[str, Kind] = KINDS,
    strategy: Json = None,
) -> Call | None:
    """Read the call of a stage: its target under the first of `keys` that it has, `input` and `actorId`.

    `strategy` is the stage's own, beside the target. All problems are noted; None if there are any here.
    """
    key = next((key for key in keys if at(draft, key) is not None), None)
    route = (
        read_route(checks, draft, path, waits, key=key, kind=keys[key], strategy=strategy) if key else None
    )
    taken = checks.read(draft, path, "input", waits)
    place, actor = f"{path}.actorId", checks.read(draft, path, "actorId", waits)
    within = checks.read(at(draft, key), f"{path}.{key}", "key", waits) if key else None
    if within:
        if actor:
            checks.refuse(place, f"{path}.{key}.key says which actor already")
        place, actor = f"{path}.{key}.key", within
    if route is None:
        return None
    if actor and all(target.kind != "actor" for target in route.names):
        checks.refuse(place, "only an actor has an id")
    return Call(route=route, input=taken, actor=actor)


def read_compensation(checks: Checks, draft: Json, path: str, waits: set[str]) -> Compensation | None:
    """Read what undoes a stage; the stage that it stands in is not among those that it waits for."""
    written, path = at(draft, "compensation"), f"{path}.compensation"
    shape = checks.shape(Undo, written, path) if written is not None else None
    if shape is None:
        return None
    if (shape.activity is None) == (shape.actor is None):
        checks.refuse(f"{path}.activity", "is required: an activity or an actor, and one only")
        return None
    call = read_call(checks, written, path, waits)
    retry = shape.retry and shape.retry.policy
    return call and Compensation(route=call.route, input=call.input, actor=call.actor, retry=retry)


def read_route(
    checks: Checks, draft: Json, path: str, waits: set[str], *, key: str, kind: Kind, strategy: Json = None
) -> Route | None:
    """Read the target of a kind under `key`; `strategy` is a label or an expression that gives one.

    All problems are noted; None if there is nothing to make a route of.
    """
    written, place = at(draft, key), f"{path}.{key}"
    beside = _beside(strategy)
    if not isinstance(written, dict):
        if checks.shape(Plain, written, place) is None:
            return None
        written = {"type": written}
    choice = checks.shape(Choice, written, place)
    expression = checks.read(written, place, "strategyExpression", waits, bare=True)
    if beside and any(at(written, chooser) is not None for chooser in CHOOSERS):
        checks.refuse(f"{path}.strategy", f"{place} says how to choose already")
    elif "strategy_expression" in beside:
        expression = checks.read(draft, path, "strategy", waits, bare=True)
    if choice is None:
        return None
    choice = choice.model_copy(update=beside)
    _check_choosers(checks, choice, place)
    default, targets = _targets(checks, kind, choice, place)
    return Route(
        default=targets.get(choice.strategy or "", default),
        targets=targets,
        expression=expression,
        weights=tuple((choice.weights or {}).items()),
        fallback=tuple(choice.fallback or ()),
        fallback_on=frozenset(choice.fallback_on),
    )


def _beside(strategy: Json) -> dict[str, str]:
    """A stage's own strategy as a choice has it: a plain word is a label, anything else an expression."""
    if not isinstance(strategy, str) or not strategy:
        return {}
    return {"strategy" if re.fullmatch(r"[A-Za-z_][\w-]*", strategy) else "strategy_expression": strategy}


def _check_choosers(checks: Checks, choice: Choice, place: str) -> None:
    written = choice.model_dump(by_alias=True, exclude_none=True)
    first = checks.one_of(written, place, CHOOSERS, double="there is {} already, and one of them chooses")
    if choice.type is None and choice.strategies is None and first in {"", "strategy", "strategyExpression"}:
        checks.refuse(f"{place}.type", "is required")
    if choice.strategies is not None and not first:
        if choice.type is None:
            checks.refuse(f"{place}.strategy", f"is required, or one of {', '.join(CHOOSERS[1:])}")
        else:
            checks.warn(f"{place}.strategies", f"nothing chooses among them; {choice.type!r} does all")
    if choice.weights is not None and not 0 < sum(choice.weights.values()) < float("inf"):
        checks.refuse(f"{place}.weights", "must add up to more than 0")
    if choice.fallback_on and choice.fallback is None:
        checks.refuse(f"{place}.fallbackOn", "needs a fallback")


def _targets(
    checks: Checks, kind: Kind, choice: Choice, place: str
) -> tuple[Target | None, dict[str, Target]]:
    """What does the work unless another is chosen, and targets by label."""
    labels = {member(f"{place}.weights", label): label for label in choice.weights or ()}
    labels |= {f"{place}.fallback[{index}]": label for index, label in enumerate(choice.fallback or ())}
    if choice.strategy is not None:
        labels[f"{place}.strategy"] = choice.strategy
    targets = {
        label: _target(checks, kind, written, member(f"{place}.strategies", label))
        for label, written in (choice.strategies or {}).items()
    }
    if choice.strategies is not None:
        for path, label in labels.items():
            if label not in targets:
                checks.refuse(path, f"{label!r} is none of the strategies: {', '.join(targets)}")
    elif choice.type is None and choice.strategy is None:
        named = {path: label for path, label in labels.items() if checks.shape(Plain, label, path)}
        targets = {label: Target(kind, label) for label in named.values()}
    default = Target(kind, choice.type, choice.strategy or "") if choice.type else None
    return default, targets


def _target(checks: Checks, kind: Kind, written: str | Named, path: str) -> Target:
    if isinstance(written, str):
        return Target(kind, written)
    named = [Target(KINDS[key], name) for key, name in written if name is not None]
    if len(named) != 1:
        checks.refuse(path, f"names one of {', '.join(KINDS)}")
    return named[0] if named else Target(kind, "")
