"""What a definition calls, held against what there is."""

from collections.abc import Collection, Iterator
from typing import Final

from loom_core.errors import InvalidError, Problem
from loom_core.notations import parse
from loom_core.pipelines.plan import Plan
from loom_core.wire.expressions import member
from loom_core.wire.json import Json

# How definitions spell who is called, whatever their notation. `function` is a graph's word for an activity.
_KINDS: Final = {
    "activity": "activity",
    "function": "activity",
    "condition_func": "activity",
    "actor": "actor type",
    "agent": "agent",
    "agentType": "agent",
    "pipeline": "pipeline",
}
# Keys that hold an author's data, where `activity` may be a word like any other.
_DATA: Final = frozenset({"input", "inputs", "output", "outputs", "payload", "parameters", "value", "items"})


def check(document: Json, activities: Collection[str]) -> tuple[Plan | None, list[Problem]]:
    """The plan, or None, and everything that is wrong with the definition, calls of what is not there too.

    Pipelines are not among the calls that are looked at: see `closure`.
    """
    try:
        plan = parse(document)
    except InvalidError as error:
        # There is no plan that could tell what is called: the text of the definition tells nearly as well.
        found = [(path, kind, name) for path, kind, name in _written(document, "$") if kind != "pipeline"]
        return None, [*error.problems, *_missing(found, activities)]
    called = [
        (
            place_of(document, path, target.name),
            "actor type" if target.kind == "actor" else target.kind,
            target.name,
        )
        for target, path in plan.targets.items()
        if target.kind != "pipeline"
    ]
    return plan, _missing(called, activities)


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """The sentence that says so, with the name that was perhaps meant."""
    import difflib  # noqa: PLC0415 - only for those who err

    close = difflib.get_close_matches(name, known, 1, 0.7)
    return f"there is no {kind} {name!r}{f'; did you mean {close[0]!r}?' if close else ''}"


def _missing(called: list[tuple[str, str, str]], activities: Collection[str]) -> list[Problem]:
    known: dict[str, Collection[str]] = {"activity": activities}
    return [
        Problem(path, unknown(kind, name, known.get(kind, ())))
        for path, kind, name in called
        if name not in known.get(kind, ())
    ]


def place_of(document: Json, path: str, name: str) -> str:
    """Where below the path of a stage the name is written, or the path itself."""
    found = (place for place, _, one in _written(document, "$") if one == name and place.startswith(path))
    return next(found, path)


def _written(value: Json, path: str) -> Iterator[tuple[str, str, str]]:
    """Every call that a definition spells out: its path, its kind, its name."""
    pending = [(value, path)]
    while pending:
        value, path = pending.pop()
        inner: list[tuple[Json, str]] = []
        if isinstance(value, list):
            inner = [(one, f"{path}[{index}]") for index, one in enumerate(value)]
        elif isinstance(value, dict):
            if value.get("type") == "activity" and isinstance(called := value.get("name"), str):
                yield f"{path}.name", "activity", called
            for key, one in value.items():
                place = member(path, key)
                choice = one.get("type") if isinstance(one, dict) else one
                if key in _KINDS and isinstance(choice, str):
                    yield place if choice is one else f"{place}.type", _KINDS[key], choice
                if key not in _DATA:
                    inner.append((one, place))
        pending += reversed(inner)
