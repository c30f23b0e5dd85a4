"""The pages' own examples work, and the pages name every key."""

import json
import re
from pathlib import Path

from loom_core.notations import parse, pipeline_program
from loom_core.notations import stages as definition
from loom_core.testing import Bench
from loom_core.wire.expressions import MAX_LENGTH, MAX_NESTING, MAX_NODES, MAX_TEMPLATE, parse_template
from loom_core.wire.expressions import parse as parse_expression
from loom_core.wire.expressions_evaluate import MAX_STEPS

DOCS = Path(__file__).parents[2] / "docs"
PIPELINES = (DOCS / "pipelines.md").read_text()
EXPRESSIONS = (DOCS / "expressions.md").read_text()


def test_the_definitions_on_the_page_are_right_and_run():
    examples = [json.loads(block) for block in re.findall(r"```json\n(\{.*?\})\n```", PIPELINES, re.DOTALL)]
    stage, triage = examples

    assert parse({"name": "page", "stages": [stage]}).warnings == ()
    assert parse(triage).warnings == ()
    bench = Bench({"classify": lambda _doc: "letter", "report": len}, duration=lambda _name, _input: 2.0)
    documents = [
        {"id": 1, "text": "a", "status": "pending"},
        {"id": 2, "text": "b", "status": "pending"},
        {"id": 3},
    ]
    payload = {"run": "run-1", "definition": triage, "input": {"documents": documents}}
    assert bench.run(pipeline_program, payload) == {"report": 2, "count": 2}


def test_every_key_of_a_definition_is_on_the_page():
    models = vars(definition).values()
    parts = [m for m in models if isinstance(m, type) and issubclass(m, definition.Part)]
    keys = {field.alias or name for part in parts for name, field in part.model_fields.items()} - {"actor"}

    assert {key for key in keys if not re.search(rf"[`.\"]{key}\b", PIPELINES)} == set()


def test_the_expressions_on_the_page_parse():
    for source in re.search(r"```\n(.*?)```", EXPRESSIONS, re.DOTALL)[1].splitlines():
        (parse_template if "{{" in source else parse_expression)(source)
    for row in re.findall(r"^\| (`\$.*?) \|", EXPRESSIONS, re.MULTILINE):
        for source in re.findall(r"`([^`]+)`", row):
            parse_expression(source)


def test_the_limits_on_the_page_are_the_limits():
    for limit in (MAX_LENGTH, MAX_TEMPLATE, MAX_NESTING, MAX_NODES, MAX_STEPS):
        assert f"{limit:,}" in EXPRESSIONS
