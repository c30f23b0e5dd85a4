"""JSON Schemas of the notations, for editors: made from the models that check the documents.

`python -m loom_core.notations.schemas docs/schemas` writes them as files. A schema says what may stand where;
what refers to what, and whether expressions can be read, is for `parse` to say.
"""

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from pydantic import BaseModel

from loom_core.notations.graph import Graph
from loom_core.notations.schema_words import WORDS
from loom_core.notations.stages import Pipeline
from loom_core.notations.steps import Workflow
from loom_core.wire.json import Json, JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOTS: Mapping[str, type[BaseModel]] = {"stages": Pipeline, "steps": Workflow, "graph": Graph}

type Schema = dict[str, Any]


@cache
def schemas() -> Mapping[str, JsonObject]:
    """JSON Schema 2020-12 by notation: "stages", "steps", "graph", and "pipeline" for any of them."""
    found = {name: _schema(name, root) for name, root in ROOTS.items()}
    within = {
        name: _moved({key: value for key, value in schema.items() if key != "$schema"}, name)
        for name, schema in found.items()
    }
    anyway = [{"$ref": f"#/$defs/{name}"} for name in found]
    return {
        **found,
        "pipeline": {"$schema": DIALECT, "title": "A Loom pipeline", "anyOf": anyway, "$defs": within},
    }


def _schema(notation: str, root: type[BaseModel]) -> Schema:
    """The schema of a document, and in `$defs` those of its parts, each property with what it means."""
    schema = _plain(_described(root.model_json_schema(by_alias=True)))
    named: Schema = schema.pop("$defs")
    parts = {name: part for name, part in named.items() if "properties" in part}
    whole = _inlined({**schema, "$defs": parts}, named)
    return {"$schema": DIALECT, "title": f"A Loom pipeline: {notation}", **whole}


def _described(schema: Schema) -> Schema:
    """With a line for every key of every model."""

    def change(part: Schema) -> Schema:
        model = part.get("title")
        if not isinstance(model, str) or "properties" not in part:
            return part
        properties: dict[str, Schema] = part["properties"]
        words = {key: WORDS.get(f"{model}.{key}") or WORDS[key] for key in properties}
        told = {key: {**value, "description": words[key]} for key, value in properties.items()}
        return {**part, "properties": told}

    return _mapped(schema, change)


def _plain(schema: Schema) -> Schema:
    """Without the titles that are but the names of properties, and without the defaults that say nothing."""

    def change(part: Schema) -> Schema:
        noise = {"title": str, "default": type(None)}
        return {key: value for key, value in part.items() if not isinstance(value, noise.get(key, ()))}

    return _mapped(schema, change)


def _inlined(schema: Schema, named: Schema) -> Schema:
    """With what has a name in the code only, a pattern or a range, written where it is used."""

    def change(part: Schema) -> Schema:
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name not in named or "properties" in named[name]:
            return part
        return change(named[name]) | {key: value for key, value in part.items() if key != "$ref"}

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
