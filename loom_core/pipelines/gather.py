"""What several stages gave, made one: in the order of the stages, then of the items."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from loom_core.errors import InvalidError
from loom_core.expressions.evaluate import kind
from loom_core.expressions.parse import member
from loom_core.pipelines.plan import Strategy
from loom_core.wire.json import Json, JsonObject, dump

type Reducer = Callable[[dict[str, Any]], Any]

SAMPLE = 100
"""How many results of a stage are looked at to tell what it gives."""

REDUCERS: dict[str, Reducer] = {}


def reducer[F: Reducer](name: str) -> Callable[[F], F]:
    """Register a pure function of `{label: output}` for the gather strategy `custom`.

    It runs within the orchestration and again in every replay: it must give the same for the same, and read
    no clock, no file and no network. Raises InvalidError for a name that is taken.
    """

    def register(function: F) -> F:
        if REDUCERS.setdefault(name, function) is not function:
            raise InvalidError(f"there is a reducer {name!r} already")
        return function

    return register


def combine(
    strategy: Strategy, outputs: Sequence[tuple[str, Json]], reduce: str | None
) -> tuple[Json, list[str]]:
    """The outputs as one, and what is odd about them. `outputs` are pairs of label and output.

    Raises InvalidError where there is no such reducer, and for a merge of anything but objects.
    """
    if strategy == "object" or (strategy == "custom" and reduce is None):
        return dict(outputs), []
    if strategy == "custom":
        if reduce not in REDUCERS:
            raise InvalidError(f"there is no reducer {reduce!r}")
        return json.loads(dump(REDUCERS[reduce](json.loads(dump(dict(outputs)))))), []
    results = [(label, each) for label, output in outputs for each in _results(output)]
    if strategy == "concat":
        return [each for _, each in results], _mismatches(outputs)
    merged: dict[str, Any] = {}
    conflicts: list[str] = []
    for label, each in results:
        if not isinstance(each, dict):
            raise InvalidError(f"only objects can be merged, and {label} gives {kind(each)}")
        conflicts += (f"{path} differs, and is that of {label}" for path in _merge(merged, each, "$"))
    return merged, conflicts


def _results(output: Json) -> Sequence[Json]:
    if output is None:
        return ()
    return output if isinstance(output, list) else (output,)


def _merge(into: dict[str, Any], more: JsonObject, path: str) -> Iterator[str]:
    """Merge, and give the paths of what was there and differs."""
    for key, value in more.items():
        place, old = member(path, key), into.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            into[key] = dict(cast("JsonObject", old))
            yield from _merge(into[key], value, place)
            continue
        if key in into and old != value:
            yield place
        into[key] = value


def _mismatches(outputs: Sequence[tuple[str, Json]]) -> list[str]:
    """Where stages give results of different shapes, what each gives."""
    shapes = {label: _shape(_results(output)) for label, output in outputs}
    known = {label: shape for label, shape in shapes.items() if shape}
    if len(set(known.values())) <= 1:
        return []
    return [f"{label} gives {shape}" for label, shape in known.items()]


def _shape(results: Sequence[Json]) -> str:
    sample = results[:SAMPLE]
    keys = sorted({key for each in sample if isinstance(each, dict) for key in each})
    kinds = sorted({kind(each) for each in sample})
    return " or ".join(kinds) + (f" with {', '.join(keys)}" if keys else "")
