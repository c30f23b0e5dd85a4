"""Notations: the ways to write a pipeline, each checked and compiled to the same kind of plan."""

import json
from collections.abc import Callable
from functools import lru_cache, partial

from loom_core.errors import InvalidError
from loom_core.pipelines import lanes, run
from loom_core.pipelines.plan import Plan
from loom_core.wire.json import Json, JsonObject, dump


# Each is imported when the first document is written in it: its models take time to build.
def _stages(document: JsonObject) -> Plan:
    from loom_core.notations import stages_compile  # noqa: PLC0415

    return stages_compile.compile_stages(document)


def _steps(document: JsonObject) -> Plan:
    from loom_core.notations import steps_compile  # noqa: PLC0415

    return steps_compile.compile_steps(document)


def _graph(document: JsonObject) -> Plan:
    from loom_core.notations import graph_compile  # noqa: PLC0415

    return graph_compile.compile_graph(document)


NOTATIONS: dict[str, Callable[[JsonObject], Plan]] = {
    "stages": _stages,
    "steps": _steps,
    "nodes": _graph,
}
"""How a document is compiled, by the key that tells what it is written in."""


def parse(document: Json) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    try:
        text = dump(document)
        text.encode()  # half a surrogate pair is no text that could be stored
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"a definition is a JSON document: {error}") from None
    return _parse(text)


# A run carries its definition, and every replay of it compiles it again: the cache makes that a lookup.
@lru_cache(maxsize=256)
def _parse(text: str) -> Plan:
    try:
        document: Json = json.loads(text)
    except RecursionError:
        raise InvalidError("a definition is nested too deep") from None
    if not isinstance(document, dict):
        raise InvalidError("a pipeline is an object")
    match [key for key in NOTATIONS if key in document]:
        case [key]:
            return NOTATIONS[key](document)
        case []:
            raise InvalidError(f"a pipeline has {' or '.join(NOTATIONS)}; this has none of them")
        case several:
            raise InvalidError(
                f"a pipeline has one of {', '.join(NOTATIONS)}; this has {' and '.join(several)}"
            )


pipeline_program = partial(run.pipeline_program, parse)
PROGRAMS = {"pipeline": pipeline_program, "lane": lanes.lane_program}

__all__ = ["NOTATIONS", "PROGRAMS", "parse", "pipeline_program"]
