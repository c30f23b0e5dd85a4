"""What does the work of a stage, as every notation writes it: a name, or a choice among several."""

import re
from typing import Annotated, Any

from pydantic import Field, RootModel, SkipValidation, StringConstraints

from loom_core.expressions.parse import Expression, member
from loom_core.notations.checks import Checks, at
from loom_core.notations.parts import Part, Retry
from loom_core.pipelines.plan import Call, Compensation, Kind, Route, Target
from loom_core.wire.json import Json

KINDS: tuple[Kind, ...] = ("activity", "actor", "agent", "pipeline")
CHOOSERS = ("strategy", "strategyExpression", "weights", "fallback")

type TargetName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9_.+-]+)?$", max_length=128)
]
type Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Named(Part):
    """The name of a target, of one kind."""

    activity: TargetName | None = None
    actor: TargetName | None = None
    agent: TargetName | None = None
    pipeline: TargetName | None = None


class Choice(Part):
    """A target that is chosen for each call."""

    type: TargetName | None = None
    strategies: Annotated[dict[Label, TargetName | Named], Field(min_length=1, max_length=32)] | None = None
    strategy: Label | None = None
    strategy_expression: str | None = None
    weights: Annotated[dict[Label, Annotated[float, Field(ge=0)]], Field(max_length=32)] | None = None
    fallback: Annotated[list[Label], Field(min_length=1, max_length=32)] | None = None
    fallback_on: Annotated[list[Label], Field(max_length=32, default_factory=list)]


type Worker = SkipValidation[TargetName | Choice]
"""What a key that names a target holds; `read_route` checks it, and the schema for editors knows it."""


class Undo(Part):
    """A compensation."""

    activity: Worker | None = None
    actor: Worker | None = None
    actor_id: Any = None
    input: Any = None
    retry: Retry | None = None


class Plain(RootModel[TargetName]):
    """The name of a target, of the kind that its key says."""


def read_call(
    checks: Checks,
    draft: Json,
    path: str,
    waits: set[str],
    *,
    kind: Kind,
    key: str = "",
    strategy: Json = None,
) -> Call | None:
    """Read the call of a stage: its target under `key` (or the kind), `input` and `actorId`.

    `strategy` is the stage's own, beside the target. All problems are noted; None if there are any here.
    """
    route = read_route(checks, draft, path, waits, kind=kind, key=key, strategy=strategy)
    taken = checks.read(at(draft, "input"), f"{path}.input", waits)
    actor = checks.read(at(draft, "actorId"), f"{path}.actorId", waits)
    if route is None:
        return None
    if actor and all(target.kind != "actor" for target in route.names):
        checks.refuse(f"{path}.actorId", "only an actor has an id")
    return Call(route=route, input=taken, actor=actor)


def read_compensation(checks: Checks, written: Json, path: str, waits: set[str]) -> Compensation | None:
    """Read what undoes a stage; the stage that it stands in is not among those that it waits for."""
    if written is None:
        return None
    shape = checks.shape(Undo, written, path)
    named: list[Kind] = [kind for kind in KINDS if at(written, kind) is not None]
    if shape is None or len(named) != 1:
        if shape is not None:
            checks.refuse(f"{path}.activity", "is required: an activity or an actor, and one only")
        return None
    call = read_call(checks, written, path, waits, kind=named[0])
    retry = shape.retry.policy if shape.retry else None
    return call and Compensation(route=call.route, input=call.input, actor=call.actor, retry=retry)


def read_route(
    checks: Checks,
    draft: Json,
    path: str,
    waits: set[str],
    *,
    kind: Kind,
    key: str = "",
    strategy: Json = None,
) -> Route | None:
    """Read the target under `key` (or the kind); `strategy` is a label or an expression that gives one.

    All problems are noted; None if there is nothing to make a route of.
    """
    written, place = at(draft, key or kind), f"{path}.{key or kind}"
    beside = _beside(strategy)
    if not isinstance(written, dict):
        if checks.shape(Plain, written, place) is None:
            return None
        written = {"type": written}
    choice = checks.shape(Choice, written, place)
    expression = checks.read(
        at(written, "strategyExpression"), f"{place}.strategyExpression", waits, bare=True
    )
    if beside and any(at(written, chooser) is not None for chooser in CHOOSERS):
        checks.refuse(f"{path}.strategy", f"{place} says how to choose already")
    elif "strategy_expression" in beside:
        expression = checks.read(strategy, f"{path}.strategy", waits, bare=True)
    return choice and _route(checks, kind, choice.model_copy(update=beside), expression, place)


def _beside(strategy: Json) -> dict[str, str]:
    """A stage's own strategy as a choice has it: a plain word is a label, anything else an expression."""
    if not isinstance(strategy, str) or not strategy:
        return {}
    return {"strategy" if re.fullmatch(r"[A-Za-z_][\w-]*", strategy) else "strategy_expression": strategy}


def _route(checks: Checks, kind: Kind, choice: Choice, expression: Expression | None, place: str) -> Route:
    default = Target(kind, choice.type) if choice.type else None
    targets = {
        label: _target(checks, kind, written, member(f"{place}.strategies", label))
        for label, written in (choice.strategies or {}).items()
    }
    labels = _labels(choice, place)
    _check_choosers(checks, choice, place)
    if choice.strategies is not None:
        for path, label in labels:
            if label not in targets:
                checks.refuse(path, f"{label!r} is none of the strategies: {', '.join(targets)}")
    elif default is None and choice.strategy is None:
        targets = {label: Target(kind, label) for path, label in labels if checks.shape(Plain, label, path)}
    if choice.strategy is not None and default is not None:
        default = Target(kind, default.name, choice.strategy)
    return Route(
        default=targets.get(choice.strategy or "", default),
        targets=targets,
        expression=expression,
        weights=tuple((choice.weights or {}).items()),
        fallback=tuple(choice.fallback or ()),
        fallback_on=frozenset(choice.fallback_on),
    )


def _target(checks: Checks, kind: Kind, written: str | Named, path: str) -> Target:
    if isinstance(written, str):
        return Target(kind, written)
    named: list[tuple[Kind, str]] = [
        (other, name) for other in KINDS if (name := getattr(written, other)) is not None
    ]
    if len(named) != 1:
        checks.refuse(path, f"names one of {', '.join(KINDS)}")
    return Target(*named[0]) if named else Target(kind, "")


def _labels(choice: Choice, place: str) -> list[tuple[str, str]]:
    """Every label that is written down, with its path."""
    return [
        *([(f"{place}.strategy", choice.strategy)] if choice.strategy is not None else []),
        *((member(f"{place}.weights", label), label) for label in choice.weights or {}),
        *((f"{place}.fallback[{index}]", label) for index, label in enumerate(choice.fallback or [])),
    ]


def _check_choosers(checks: Checks, choice: Choice, place: str) -> None:
    written = choice.model_dump(by_alias=True, exclude_none=True)
    first, *others = [chooser for chooser in CHOOSERS if chooser in written] or [""]
    for other in others:
        checks.refuse(f"{place}.{other}", f"there is {first} already, and one of them chooses")
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
