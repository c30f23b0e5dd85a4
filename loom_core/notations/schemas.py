"""JSON Schemas of the notations, for editors: made from the models that check the documents.

`python -m loom_core.notations.schemas docs/schemas` writes them as files. A schema says what may stand where;
what refers to what, and whether expressions can be read, is for `parse` to say.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, cast

from pydantic import BaseModel

from loom_core.notations import graph, routes, stages, steps
from loom_core.notations.schema_words import WORDS
from loom_core.wire.json import Json, JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"

type Schema = dict[str, Any]


@cache
def schemas() -> Mapping[str, JsonObject]:
    """JSON Schema 2020-12 by notation: "stages", "steps", "graph", and "pipeline" for any of them."""
    found = {"stages": _stages(), "steps": _steps(), "graph": _graph()}
    pipeline: Schema = {
        "$schema": DIALECT,
        "title": "A Loom pipeline",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in found],
        "$defs": {
            name: _moved({key: value for key, value in schema.items() if key != "$schema"}, name)
            for name, schema in found.items()
        },
    }
    return {**found, "pipeline": pipeline}


def _stages() -> Schema:
    schema = _of("stages", stages.Pipeline, stages.Stage)
    parts = schema["$defs"]
    _put(parts["Stage"], ["activity", "actor", "agent", "pipeline"], _target())
    _put(parts["Stage"], ["compensation"], _ref("Undo"))
    schema["properties"]["stages"]["items"] = _ref("Stage")
    return schema


def _steps() -> Schema:
    schema = _of("steps", steps.Workflow, steps.Step)
    parts = schema["$defs"]
    step = parts["Step"]
    _put(step, ["activity", "name", "agentType", "actor", "pipeline"], _target())
    _put(step, ["compensation"], _ref("Undo"))
    for properties in (schema["properties"], step["properties"]):
        for listed in _lists(properties):
            listed["items"] = _ref("Step")
    parts["Step"] = {
        "description": step["description"],
        "anyOf": [_step(step["properties"], kind) for kind in steps.KEYS],
    }
    return schema


def _step(properties: Schema, kind: str) -> Schema:
    """A step of one type."""
    keys = steps.COMMON | steps.KEYS[kind]
    required = ["type", *(group[0] for group in steps.REQUIRED[kind] if len(group) == 1)]
    choices = [group for group in steps.REQUIRED[kind] if len(group) > 1]
    schema: Schema = {
        "type": "object",
        "title": kind,
        "properties": {
            key: {**value, "const": kind} if key == "type" else value
            for key, value in properties.items()
            if key in keys
        },
        "required": required,
        "additionalProperties": False,
    }
    if choices:
        schema["allOf"] = [{"anyOf": [{"required": [key]} for key in group]} for group in choices]
    return schema


def _graph() -> Schema:
    schema = _of("graph", graph.Graph, graph.Node, graph.Connection, *graph.MODES.values())
    parts = schema["$defs"]
    _put(parts["Node"], ["function", "activity", "actor", "agent", "pipeline"], _target())
    _put(parts["Conditional"], ["condition_func"], _target())
    modes = [_ref(mode.__name__) for mode in graph.MODES.values()]
    _put(parts["Node"], ["metadata"], {"anyOf": [*modes, {"type": "null"}]})
    schema["properties"]["nodes"]["items"] = _ref("Node")
    for listed in _lists(schema["properties"], "connections"):
        listed["items"] = _ref("Connection")
    return schema


def _of(notation: str, root: type[BaseModel], *others: type[BaseModel]) -> Schema:
    """The schema of a document, and in `$defs` those of its parts, each property with what it means."""
    parts: Schema = {}
    for model in (root, *others, routes.Choice, routes.Undo):
        schema = _plain(model.model_json_schema(by_alias=True))
        named: Schema = schema.pop("$defs", {})
        named[model.__name__] = schema
        parts.update({name: _inlined(part, named) for name, part in named.items() if "properties" in part})
    for name, part in parts.items():
        for key, value in part["properties"].items():
            value["description"] = _words(notation, name, key)
    _put(parts["Undo"], ["activity", "actor"], _target())
    schema = parts.pop(root.__name__)
    key = next(key for key in ("stages", "steps", "nodes") if key in schema["properties"])
    return {"$schema": DIALECT, "title": f"A Loom pipeline of {key}", **schema, "$defs": parts}


def _inlined(schema: Schema, named: Schema) -> Schema:
    """With what has a name in the code only, a pattern or a range, written where it is used."""

    def change(part: Schema) -> Schema:
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name not in named or "properties" in named[name]:
            return part
        return change(named[name]) | {key: value for key, value in part.items() if key != "$ref"}

    return _mapped(schema, change)


def _words(notation: str, part: str, key: str) -> str:
    for place in (f"{notation}.{part}.{key}", f"{part}.{key}", key):
        if place in WORDS:
            return WORDS[place]
    raise LookupError(f"no words for {notation}.{part}.{key}")


def _put(part: Schema, keys: Iterable[str], schema: Schema) -> None:
    """Say what a property is that its model leaves open, for it is checked by itself."""
    for key in keys:
        old = part["properties"][key]
        part["properties"][key] = {**schema, "description": old["description"]}


def _lists(schema: Any, key: str = "") -> Iterator[Schema]:
    """The lists, anywhere in a schema or under one key of it, whose items a model leaves open."""
    found: list[Schema] = []

    def look(part: Schema) -> Schema:
        if part.get("type") == "array" and part.get("items") == {} and "maxItems" in part:
            found.append(part)
        return part

    _mapped(schema[key] if key else schema, look)
    yield from found


def _target() -> Schema:
    plain = _plain(routes.Plain.model_json_schema())
    return {"anyOf": [*plain["$defs"].values(), _ref("Choice"), {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _plain(schema: Schema) -> Schema:
    """Without the titles that are but the names of properties, and without the defaults that say nothing."""

    def change(part: Schema) -> Schema:
        noise = {"title": str, "default": type(None)}
        return {key: value for key, value in part.items() if not isinstance(value, noise.get(key, ()))}

    return _mapped(schema, change)


def _moved(schema: Schema, name: str) -> Schema:
    """The same, to stand under `$defs` of a larger one."""

    def change(part: Schema) -> Schema:
        if "$ref" not in part:
            return part
        return {**part, "$ref": part["$ref"].replace("#/$defs/", f"#/$defs/{name}/$defs/")}

    return _mapped(schema, change)


def _mapped(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Every object in a schema changed, from the outside inwards."""
    if isinstance(schema, dict):
        return {key: _mapped(value, change) for key, value in change(cast("Schema", schema)).items()}
    if isinstance(schema, list):
        return [_mapped(value, change) for value in cast("list[Any]", schema)]
    return schema


def written(schema: Json) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        with open(f"{sys.argv[1]}/{name}.json", "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(written(schema))
