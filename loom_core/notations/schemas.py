"""JSON Schemas of the notations, for editors: made from the models that check the documents.

`python -m loom_core.notations.schemas docs/schemas` writes them as files. A schema says what may stand where;
what refers to what, and whether expressions can be read, is for `parse` to say.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, cast

from loom_core.notations.document import Document, Part
from loom_core.notations.graph import Graph
from loom_core.notations.stages import Pipeline
from loom_core.notations.steps import Workflow
from loom_core.wire.json import Json, JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROOTS: Mapping[str, type[Document]] = {"stages": Pipeline, "steps": Workflow, "graph": Graph}

type Schema = dict[str, Any]


def _words(model: type[Part]) -> Iterator[tuple[str, str]]:
    """What each key of a model means, by its docstring and those of the models that it derives from."""
    for base in reversed(model.__mro__):
        if issubclass(base, Part):
            yield from re.findall(r"^ *(\w+): (.+)$", base.__doc__ or "", re.MULTILINE)


def _models(base: type[Part]) -> Iterator[type[Part]]:
    for model in base.__subclasses__():
        yield from (model, *_models(model))


WORDS = {f"{model.__name__}.{key}": words for model in _models(Part) for key, words in _words(model)}
"""What every key of every part of a document means, in a line."""


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


def _schema(notation: str, root: type[Document]) -> Schema:
    """The schema of a document, and in `$defs` those of its parts, each property with what it means."""
    schema = _mapped(_mapped(root.model_json_schema(by_alias=True), _described), _plain)
    named: Schema = schema.pop("$defs")
    parts = {name: part for name, part in named.items() if "properties" in part}

    def inlined(part: Schema) -> Schema:
        """With what has a name in the code only, a pattern or a range, written where it is used."""
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name not in named or name in parts:
            return part
        return inlined(named[name]) | {key: value for key, value in part.items() if key != "$ref"}

    whole = _mapped({**schema, "$defs": parts}, inlined)
    whole["properties"]["$schema"] = {"type": "string", "description": "Where editors find this schema."}
    return {"$schema": DIALECT, "title": f"A Loom pipeline: {notation}", **whole}


def _described(part: Schema) -> Schema:
    """A model with a line for each of its keys, beside the line that says what it is."""
    model = part.get("title")
    if not isinstance(model, str) or "properties" not in part:
        return part
    properties: dict[str, Schema] = part["properties"]
    told = {key: {**value, "description": WORDS[f"{model}.{key}"]} for key, value in properties.items()}
    return {**part, "description": part["description"].partition("\n\n")[0], "properties": told}


def _plain(part: Schema) -> Schema:
    """Without the titles that are but the names of properties, and without the defaults that say nothing."""
    noise = {"title": str, "default": type(None)}
    return {key: value for key, value in part.items() if not isinstance(value, noise.get(key, ()))}


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
