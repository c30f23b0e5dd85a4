"""Which target a call goes to: chosen by an expression, by weight, or one after the other."""

import hashlib

from loom_core.errors import InvalidError
from loom_core.expressions.evaluate import kind
from loom_core.pipelines.plan import Route, Target
from loom_core.wire.json import JsonObject


def label_of(route: Route, scope: JsonObject, seed: str) -> str:
    """The label of one call; `""` where the choice is the same for all. Raises InvalidError for no label.

    Weights are drawn by the first 48 bits of the SHA-256 of the seed, so the same call goes the same way in
    every attempt and every replay, and calls with other seeds spread as the weights say.
    """
    if route.expression is not None:
        label = route.expression.evaluate(scope)
        if not isinstance(label, str) or (route.default is None and label not in route.targets):
            given = repr(label[:64]) if isinstance(label, str) else kind(label)
            raise InvalidError(f"the strategy is {given}, not one of {', '.join(route.targets) or 'text'}")
        return label
    drawn = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48
    drawn *= sum(weight for _, weight in route.weights)
    for label, weight in route.weights:
        drawn -= weight
        if drawn < 0:
            return label
    return next((label for label, weight in reversed(route.weights) if weight), "")


def chain(route: Route, label: str) -> tuple[Target, ...]:
    """The targets of a label, in the order in which they are tried."""
    return tuple(_target(route, each) for each in route.fallback or (label,))


def _target(route: Route, label: str) -> Target:
    found = route.targets.get(label) or route.default
    if found is None:
        raise InvalidError(f"no target is called {label!r}")
    if not label or label in route.targets:
        return found
    return Target(found.kind, found.name, label)
