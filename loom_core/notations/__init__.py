"""Notations: the ways to write a pipeline, each checked and compiled to the same kind of plan."""

import json
from collections.abc import Callable
from functools import lru_cache, partial

from loom_core.errors import InvalidError
from loom_core.pipelines import lanes, run
from loom_core.pipelines.plan import Plan
from loom_core.wire.json import Json, JsonObject, dump

MAX_BYTES = 256 * 1024
"""Of one definition, without its white space."""
MAX_DEPTH = 128
MAX_VALUES = 20_000
"""Of all objects, lists and what is in them, together."""


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
        size = len(text.encode())  # half a surrogate pair is no text that could be stored
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"a definition is a JSON document: {error}") from None
    if size > MAX_BYTES:
        raise InvalidError(f"a definition has at most {MAX_BYTES} bytes, this one has {size}")
    return (_parse_small if size <= MAX_SMALL else _parse_large)(text)


def _parse(text: str) -> Plan:
    document: Json = json.loads(text)
    refuse_vast(document)
    if not isinstance(document, dict):
        raise InvalidError("a pipeline is an object")
    document.pop("$schema", None)  # that is for editors
    match [key for key in NOTATIONS if key in document]:
        case [key]:
            return NOTATIONS[key](document)
        case []:
            raise InvalidError(f"a pipeline has {' or '.join(NOTATIONS)}; this has none of them")
        case several:
            raise InvalidError(
                f"a pipeline has one of {', '.join(NOTATIONS)}; this has {' and '.join(several)}"
            )


# A run carries its definition, and every replay of it compiles it again: the caches make that a lookup. A
# plan takes many times the memory of its text, so each is bounded to 4 MiB of text, not to a count alone.
MAX_SMALL = 16 * 1024
_parse_small = lru_cache(maxsize=256)(_parse)
_parse_large = lru_cache(maxsize=16)(_parse)


def refuse_vast(document: Json) -> None:
    """Refuse a document that is nested too deep or has too much in it, before anything looks closer."""
    depth, values, level = 0, 0, [document]
    while level:
        depth, values = depth + 1, values + len(level)
        if depth > MAX_DEPTH:
            raise InvalidError(f"a definition is nested at most {MAX_DEPTH} deep")
        if values > MAX_VALUES:
            raise InvalidError(f"a definition has at most {MAX_VALUES:,} values in it")
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]


pipeline_program = partial(run.pipeline_program, parse)
PROGRAMS = {"pipeline": pipeline_program, "lane": lanes.lane_program}

__all__ = ["MAX_BYTES", "NOTATIONS", "PROGRAMS", "parse", "pipeline_program", "refuse_vast"]
