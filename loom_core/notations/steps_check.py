"""What a step may have, and what it may refer to where it stands."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from loom_core.notations.checks import RESERVED, Checks, at, text_at
from loom_core.notations.steps import COMMON, KEYS, REQUIRED
from loom_core.wire.json import Json, JsonObject


@dataclass(slots=True)
class Scope:
    """What is known at a place: outputs and items by name, and the steps that are done before."""

    names: set[str] = field(default_factory=set[str])
    steps: set[str] = field(default_factory=set[str])

    def copy(self) -> "Scope":
        return Scope(set(self.names), set(self.steps))

    def learn(self, *others: "Scope") -> None:
        self.names.update(*(other.names for other in others))
        self.steps.update(*(other.steps for other in others))


@dataclass(slots=True)
class StepChecks(Checks):
    """`names` are bound where the check is, `outputs` anywhere, each with the path of its step.

    `declared` are the fields that the input has by its schema.
    """

    names: Collection[str] = ()
    declared: Collection[str] = ()
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])

    def enter(self, scope: Scope) -> None:
        """What is checked next stands where this is known."""
        self.stages, self.names = scope.steps, scope.names

    def look_up(self, name: str, path: str) -> None:
        if name in self.names or name in self.declared:
            return
        if name in self.outputs:
            self.refuse(path, f"{name!r} is bound by {self.outputs[name]}: later than this, or beside it")
        else:
            self.warn(path, f"{name!r} is not bound here; it is looked up in the run's input")


def check_step(checks: Checks, draft: Json, path: str) -> None:
    """Refuse what belongs to another type of step, and miss what this type needs."""
    kind = text_at(draft, "type")
    if kind not in KEYS or not isinstance(draft, dict):
        return
    known = COMMON.union(*KEYS.values())
    for key in draft.keys() & known - KEYS[kind] - COMMON:
        checks.refuse(f"{path}.{key}", f"does not belong to a step of the type {kind!r}")
    for group in REQUIRED[kind]:
        missing = f"is required{''.join(f', or {key}' for key in group[1:])}"
        checks.one_of(
            draft, path, group, missing=missing, double="there is {} already, and one of them is enough"
        )
    _check_together(checks, draft, path)


def _check_together(checks: Checks, draft: JsonObject, path: str) -> None:
    for key, needed in {"onTimeout": "timeout", "as": "over"}.items():
        if key in draft and at(draft, needed) is None:
            checks.refuse(f"{path}.{key}", f"needs {needed}")
    if at(draft, "times") is not None and "maxIterations" in draft:
        checks.refuse(f"{path}.maxIterations", "times is the limit already")
    for key in ("output", "as"):
        if text_at(draft, key) in RESERVED:
            checks.refuse(f"{path}.{key}", f"{at(draft, key)!r} is taken; choose another name")
    if text_at(draft, "event").startswith("loom:"):
        checks.refuse(f"{path}.event", "names that begin with 'loom:' are Loom's own")
