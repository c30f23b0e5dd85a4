import contextlib
import json
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings

from loom_core.errors import InvalidError
from loom_core.notations import parse
from loom_core.notations.schemas import WORDS, schemas, written
from tests.notations.test_graph_properties import GRAPHS, WHOLE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHIPPED = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "pipelines").glob("*.json")
}
EXAMPLES = {
    **SHIPPED,
    **{path.stem: json.loads(path.read_text(encoding="utf-8")) for path in HERE.glob("*.json")},
    "graph": WHOLE,
}
KEYS = {"stages": "stages", "steps": "steps", "nodes": "graph"}


def notation(document):
    return next(name for key, name in KEYS.items() if key in document)


def validator(name):
    return jsonschema_rs.Draft202012Validator(schemas()[name])


def objects(document):
    """Every object of a document that is a part of the definition, with its own keys."""
    if isinstance(document, dict):
        yield document
        for key, value in document.items():
            if key not in {"input", "output", "strategies", "weights", "from"}:
                yield from objects(value)
    elif isinstance(document, list):
        for value in document:
            yield from objects(value)


@pytest.mark.parametrize("name", ["stages", "steps", "graph", "pipeline"])
def test_the_files_are_those_of_the_models(name):
    file = ROOT / "docs" / "schemas" / f"{name}.json"

    assert file.read_text(encoding="utf-8") == written(schemas()[name]), (
        "run: python -m loom_core.notations.schemas docs/schemas"
    )
    assert {path.stem for path in file.parent.iterdir()} == {*schemas()}
    jsonschema_rs.meta.validate(schemas()[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pipeline_that_can_run_has_the_shape_of_its_notation(name):
    document = EXAMPLES[name]

    parse(document)
    for schema in (notation(document), "pipeline"):
        assert [str(error) for error in validator(schema).iter_errors(document)] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_key_that_does_not_exist_has_no_place_anywhere(name):
    document = EXAMPLES[name]
    checks = [validator(notation(document)), validator("pipeline")]

    for part in objects(document):
        part["colour"] = "red"
        try:
            assert not any(check.is_valid(document) for check in checks), part
        finally:
            del part["colour"]


@settings(deadline=None)
@given(GRAPHS)
def test_a_graph_that_is_not_refused_has_the_shape_of_one(document):
    with contextlib.suppress(InvalidError):
        parse(document)
        assert [str(error) for error in validator("graph").iter_errors(document)] == []


def test_every_key_has_a_line_of_its_own():
    def described(schema):
        if isinstance(schema, dict):
            is_model = schema.get("additionalProperties") is False
            for key, value in schema["properties"].items() if is_model else ():
                assert value["description"], key
                yield value["description"]
            for value in schema.values():
                yield from described(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from described(value)

    assert set(WORDS.values()) - {*described(dict(schemas()))} == set()
