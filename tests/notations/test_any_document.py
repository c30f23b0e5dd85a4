"""Whatever is written: a plan, or problems at places that the document has."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import InvalidError
from loom_core.notations import NOTATIONS, parse
from loom_core.notations.stages import Pipeline
from loom_core.notations.steps import Workflow

HERE = Path(__file__).parent
EXAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
TOKEN = re.compile(r"\.(\w+)|\[(\d+)\]|\[(\".*?(?<!\\)\")\]")

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "$", "$.x", "$.stages.Store", "{{", "{{ x }}", "x y", "item", "parallel", "name@1", "e(" * 40]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "input", "steps", "as", "activity", "x y", "if"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


def places(value, way=()):
    yield way
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*way, key))


def value_at(document, way):
    for key in way:
        document = document[key]
    return document


def changed(data, document):
    """The document with one place taken away, exchanged for junk, or copied to another place."""
    document = copy.deepcopy(document)
    ways = list(places(document))
    *way, last = data.draw(st.sampled_from(ways[1:]))
    holder = value_at(document, way)
    match data.draw(st.sampled_from(["drop", "junk", "copy", "add"])):
        case "drop":
            del holder[last]
        case "junk":
            holder[last] = data.draw(JUNK)
        case "copy":
            holder[last] = copy.deepcopy(value_at(document, data.draw(st.sampled_from(ways))))
        case "add":
            other = data.draw(st.sampled_from(ways[1:]))
            target = holder if isinstance(holder, dict) else document
            target[str(other[-1])] = copy.deepcopy(value_at(document, other))
    return document


def is_place(document, path):
    """Whether the document has this place, or an object or list that lacks its last key."""
    assert path.startswith("$"), path
    keys = [name or (int(index) if index else json.loads(text)) for name, index, text in TOKEN.findall(path)]
    assert "$" + "".join(match[0] for match in TOKEN.finditer(path)) == path, path
    try:
        value_at(document, keys[:-1])
    except (KeyError, IndexError, TypeError):
        return False
    return True


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_right(name):
    assert parse(EXAMPLES[name]).name == name.replace("_", "-")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_schema_for_editors_knows_the_examples(name):
    model = {"stages": Pipeline, "steps": Workflow}[
        next(key for key in ("stages", "steps") if key in EXAMPLES[name])
    ]

    jsonschema_rs.validate(model.model_json_schema(), EXAMPLES[name])


@pytest.mark.parametrize(
    "step",
    [
        {"type": "activity", "activity": 7},
        {"type": "activity"},
        {"type": "activity", "activity": "a", "branches": []},
        {"type": "wait", "event": "e", "duration": 5},
        {"type": "loop", "times": 1, "steps": [{"type": "activity", "activity": {"colour": 1}}]},
    ],
)
def test_the_schema_for_editors_knows_what_belongs_to_a_step(step):
    assert not jsonschema_rs.is_valid(Workflow.model_json_schema(), {"name": "x", "steps": [step]})


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_document_gives_a_plan_or_problems_at_places_it_has(name, data):
    document = EXAMPLES[name]
    for _ in range(data.draw(st.integers(1, 3))):
        document = changed(data, document)
        if len(document) < 2:
            break
    problems = []
    try:
        plan = parse(document)
    except InvalidError as error:
        problems = error.problems
        assert problems
    else:
        assert {stage.name for stage in plan.every_stage()}

    assert [str(problem) for problem in problems if not is_place(document, problem.path)] == []


@pytest.mark.parametrize("key", NOTATIONS)
@pytest.mark.parametrize(
    "value", [None, 7, "x", {}, [], [None], [[]], [{}], {"a": 1}, [{"type": "loop"}] * 3]
)
def test_whatever_stands_for_the_stages_is_refused_in_words(key, value):
    with pytest.raises(InvalidError) as caught:
        parse({"name": "x", key: value})

    assert all(is_place({"name": "x", key: value}, problem.path) for problem in caught.value.problems)


@pytest.mark.parametrize("key", NOTATIONS)
@pytest.mark.parametrize("depth", [15, 40, 400, 2_000, 20_000])
def test_a_document_nested_without_end_is_refused(key, depth):
    deep = []
    for _ in range(depth):
        deep = [{"type": "condition", "if": "x", "then": deep, "activity": "a", "name": "A"}]

    with pytest.raises(InvalidError):
        parse({"name": "deep", key: deep})


def test_a_document_says_what_it_is_written_in():
    for document in ({"name": "x"}, {"name": "x", "stages": [], "steps": []}):
        with pytest.raises(InvalidError, match="a pipeline has"):
            parse(document)


def test_a_notation_is_imported_when_something_is_written_in_it():
    script = (
        "import sys; from loom_core.notations import parse; before = {*sys.modules};"
        "parse({'name': 'x', 'stages': [{'name': 'A', 'activity': 'a'}]});"
        "found = (name for name in sys.modules if name.startswith('loom_core.notations.'));"
        "print('pydantic' in before, *found)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, *modules = done.stdout.split()

    assert before == "False"
    assert "loom_core.notations.stages" in modules
    assert [name for name in modules if "steps" in name or "graph" in name] == []
