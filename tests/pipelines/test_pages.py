"""The pages' own examples work, and the pages name every key."""

import json
import re
from pathlib import Path

import pytest

from loom_core.expressions.evaluate import MAX_STEPS
from loom_core.expressions.parse import MAX_LENGTH, MAX_NESTING, MAX_NODES, MAX_TEMPLATE, parse_template
from loom_core.expressions.parse import parse as parse_expression
from loom_core.notations import document, parse, pipeline_program, steps
from loom_core.notations import stages as definition
from loom_core.notations.document import Part
from loom_core.testing import Bench

DOCS = Path(__file__).parents[2] / "docs"
PIPELINES = (DOCS / "pipelines.md").read_text()
STEPS = (DOCS / "steps.md").read_text()
EXPRESSIONS = (DOCS / "expressions.md").read_text()


def examples(page):
    return [json.loads(block) for block in re.findall(r"```json\n([{\[].*?[}\]])\n```", page, re.DOTALL)]


def complete(written):
    """A definition around stages that stand alone on the page, with those that they gather from."""
    stages = written if isinstance(written, list) else [written]
    named = json.dumps(stages)
    others = [
        {"name": name, "activity": "a"}
        for name in ("ClassifyWithAi", "ClassifyByRules", "Result")
        if name in named
    ]
    return {"name": "page", "stages": [*others, *stages]}


def test_the_definitions_on_the_page_are_right_and_run():
    *alone, triage = sorted(examples(PIPELINES), key=lambda example: "stages" in example)

    assert [parse(complete(written)).warnings for written in alone] == [()] * 4
    assert parse(triage).warnings == ()
    bench = Bench({"classify": lambda _doc: "letter", "report": len}, duration=lambda _name, _input: 2.0)
    documents = [
        {"id": 1, "text": "a", "status": "pending"},
        {"id": 2, "text": "b", "status": "pending"},
        {"id": 3},
    ]
    payload = {"run": "run-1", "definition": triage, "input": {"documents": documents}}
    assert bench.run(pipeline_program, payload) == {"report": 2, "count": 2}


@pytest.mark.parametrize("approved", [True, False])
def test_the_steps_on_the_page_run(approved):
    (order,) = examples(STEPS)
    activities = {
        "reserve-stock": lambda items: {"id": 7, "total": 600 * len(items)},
        "remind": lambda _id: None,
        "charge": lambda bill: bill["total"],
        "pack": lambda item: f"parcel of {item}",
    }
    bench = Bench(activities, events=[(1, "approved", "yes")] if approved else [])
    output = bench.run(pipeline_program, {"run": "r", "definition": order, "input": {"items": ["a", "b"]}})

    assert output == {"receipt": 1200, "parcels": ["parcel of a", "parcel of b"]}
    assert ("remind" in [name for name, _ in bench.calls]) is not approved


def keys_of(*modules):
    models = [model for module in modules for model in vars(module).values() if isinstance(model, type)]
    parts = [model for model in models if issubclass(model, Part)]
    return {field.alias or name for part in parts for name, field in part.model_fields.items()}


@pytest.mark.parametrize(
    ("page", "modules"), [(PIPELINES, (definition, document)), (STEPS, (steps,))], ids=["stages", "steps"]
)
def test_every_key_of_a_definition_is_on_the_page(page, modules):
    assert {key for key in keys_of(*modules) if not re.search(rf"[`.\"]{key}\b", page)} == set()


def test_every_type_of_step_is_on_the_page_and_every_key_belongs_to_one():
    keys = {field.alias for field in steps.Step.model_fields.values()}

    assert {kind for kind in steps.KEYS if f"`{kind}`" not in STEPS} == set()
    assert keys == steps.COMMON.union(*steps.KEYS.values())


def test_the_expressions_on_the_page_parse():
    for source in re.search(r"```\n(.*?)```", EXPRESSIONS, re.DOTALL)[1].splitlines():
        (parse_template if "{{" in source else parse_expression)(source)
    for row in re.findall(r"^\| (`\$.*?) \|", EXPRESSIONS, re.MULTILINE):
        for source in re.findall(r"`([^`]+)`", row):
            parse_expression(source)


def test_the_limits_on_the_page_are_the_limits():
    for limit in (MAX_LENGTH, MAX_TEMPLATE, MAX_NESTING, MAX_NODES, MAX_STEPS):
        assert f"{limit:,}" in EXPRESSIONS
