import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.catalogue.names import targets
from loom_core.errors import InvalidError
from loom_core.notations import parse

AUDIT = {
    "name": "audit",
    "description": "Classify pages.",
    "input": {"type": "object", "properties": {"path": {"type": "string"}}},
    "stages": [
        {"name": "SplitFiles", "activity": "split", "input": {"path": "$.path"}},
        {
            "name": "ClassifyPages",
            "mode": "scatter",
            "activity": "classify@2",
            "scatter": {
                "input": "$.stages.SplitFiles.*",
                "as": "page",
                "condition": "$.page.language === 'en'",
            },
            "input": {"text": "$.page.text", "label": "page of {{ path }}"},
            "config": {
                "concurrency": 20,
                "timeout": 30,
                "retryPolicy": {"maxAttempts": 3, "backoffMs": [1000, 2000, 4000]},
            },
            "executorConfig": {"maxParallel": 8, "batchSize": 4},
            "onError": "collect",
        },
        {"name": "Report", "mode": "gather", "gather": {"stage": "ClassifyPages"}, "activity": "report"},
    ],
    "output": {"report": "$.stages.Report"},
}


def problems(document):
    with pytest.raises(InvalidError) as caught:
        parse(document)
    return {(problem.path, problem.message) for problem in caught.value.problems}


def changed(path, value):
    """The good definition with one place changed; None as the value takes the place away."""
    document = copy.deepcopy(AUDIT)
    *way, last = path
    target = document
    for key in way:
        target = target.setdefault(key, {}) if isinstance(target, dict) else target[key]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return document


def test_a_definition_becomes_a_plan():
    plan = parse(AUDIT)
    split, classify, report = plan.stages

    assert (plan.name, plan.warnings, plan.input_schema) == ("audit", (), AUDIT["input"])
    assert {target.name for target in targets(plan)} == {"split", "classify@2", "report"}
    assert [sorted(stage.after) for stage in plan.stages] == [[], ["SplitFiles"], ["ClassifyPages"]]
    assert (classify.work.item, classify.work.concurrency, classify.work.batch_size) == (
        "page",
        8,
        4,
    )
    assert classify.retry.backoff_ms == (1000, 2000, 4000)
    assert (classify.timeout, classify.on_error) == (30, "collect")
    assert (split.path, report.work.strategy) == ("$.stages[0]", "concat")


def test_the_version_is_the_content_whatever_the_order_of_the_keys():
    turned = dict(reversed(AUDIT.items()))

    assert parse(turned).version == parse(AUDIT).version
    assert parse(changed(["description"], "Other.")).version != parse(AUDIT).version


@pytest.mark.parametrize(
    ("path", "value", "place", "message"),
    [
        (["name"], None, "$.name", "is required"),
        (["name"], "a b", "$.name", "String should match"),
        (["stages"], [], "$.stages", "at least 1 item"),
        (["stages"], "x", "$.stages", "should be a valid list"),
        (["colour"], "red", "$.colour", "is not a known key"),
        (["stages", 0], "x", "$.stages[0]", "should be"),
        (["stages", 0, "name"], None, "$.stages[0].name", "is required"),
        (["stages", 0, "name"], 7, "$.stages[0].name", "should be a valid string"),
        (["stages", 0, "activity"], None, "$.stages[0].activity", "is required"),
        (["stages", 0, "actor"], "Splitter", "$.stages[0].actor", "there is activity already"),
        (["stages", 0, "mode"], "twice", "$.stages[0].mode", "should be 'single', 'scatter' or 'gather'"),
        (
            ["stages", 0, "scatter"],
            {"input": "$.x"},
            "$.stages[0].scatter",
            "needs the mode 'scatter', not 'single'",
        ),
        (["stages", 1, "scatter"], None, "$.stages[1].scatter", "is required, for the mode is 'scatter'"),
        (["stages", 1, "scatter", "input"], None, "$.stages[1].scatter.input", "is required"),
        (["stages", 1, "scatter", "input"], "$.a ===", "$.stages[1].scatter.input", "ends too early"),
        (["stages", 1, "scatter", "as"], "stages", "$.stages[1].scatter.as", "is taken"),
        (
            ["stages", 1, "scatter", "condition"],
            "$.page.f()",
            "$.stages[1].scatter.condition",
            "cannot call anything",
        ),
        (["stages", 1, "input", "text"], "$.stages.Nope.x", "$.stages[1].input", "there is no stage 'Nope'"),
        (["stages", 1, "input", "label"], "{{ 1 + }}", "$.stages[1].input.label", "ends too early"),
        (["stages", 1, "input"], "$", "$.stages[1].input", "$ must go on with a name"),
        (["stages", 1, "input"], "$..text", "$.stages[1].input", "$ must go on with a name"),
        (["stages", 1, "input"], "$.stages.*", "$.stages[1].input", "must go on with the name of a stage"),
        (["stages", 1, "input"], "$.run.clock", "$.stages[1].input", "a run has id, now, startedAt, uuid"),
        (
            ["stages", 1, "config", "concurrency"],
            0,
            "$.stages[1].config.concurrency",
            "greater than or equal to 1",
        ),
        (
            ["stages", 1, "config", "concurrency"],
            "8",
            "$.stages[1].config.concurrency",
            "should be a valid integer",
        ),
        (
            ["stages", 1, "config", "concurrency"],
            True,
            "$.stages[1].config.concurrency",
            "should be a valid integer",
        ),
        (["stages", 1, "config", "timeout"], 0, "$.stages[1].config.timeout", "greater than 0"),
        (
            ["stages", 1, "config", "retryPolicy", "backoffMs"],
            "1s",
            "$.stages[1].config.retryPolicy.backoffMs",
            "should",
        ),
        (
            ["stages", 1, "config", "retryPolicy", "jitter"],
            2,
            "$.stages[1].config.retryPolicy.jitter",
            "less than",
        ),
        (["stages", 0, "config"], {"concurrency": 2}, "$.stages[0].config.concurrency", "only a scatter"),
        (["stages", 0, "executorConfig"], {"batchSize": 2}, "$.stages[0].executorConfig", "only a scatter"),
        (["stages", 1, "onError"], "panic", "$.stages[1].onError", "should be 'fail', 'skip' or 'collect'"),
        (["stages", 2, "gather"], None, "$.stages[2].gather", "is required"),
        (["stages", 2, "gather", "stage"], "Nope", "$.stages[2].gather.stage", "there is no stage 'Nope'"),
        (
            ["stages", 2, "gather", "strategy"],
            "mix",
            "$.stages[2].gather.strategy",
            "should be 'concat', 'object', 'merge' or 'custom'",
        ),
        (["stages", 2, "after"], ["SplitFiles", "Nope"], "$.stages[2].after[1]", "there is no stage 'Nope'"),
        (["stages", 2, "name"], "SplitFiles", "$.stages[2].name", "is the name of $.stages[0] already"),
        (["output", "report"], "$.stages.Nope", "$.output", "there is no stage 'Nope'"),
    ],
)
def test_a_fault_is_named_at_its_place(path, value, place, message):
    found = problems(changed(path, value))

    assert any(where == place and message in what for where, what in found), found


def test_all_problems_are_reported_at_once_wherever_they_are():
    document = {
        "name": "broken",
        "colour": "red",
        "stages": [
            {"name": "A", "activity": "a", "input": "$.stages.B", "speed": 3},
            {"name": "B", "activity": "b", "input": {"x": "$.stages.A.x", "y": "$.("}},
            {"name": "B", "mode": "scatter", "activity": "b", "config": {"concurrency": 0}},
            {"name": "list-files", "actor": 7},
            {"name": "E", "activity": "e", "input": "$.stages.list-files", "after": ["E"]},
            7,
        ],
        "output": "$.stages.Z",
    }

    assert {place for place, _ in problems(document)} == {
        "$.colour",
        "$.stages[0].speed",
        "$.stages[1].input.y",
        "$.stages[2].name",
        "$.stages[2].scatter",
        "$.stages[2].config.concurrency",
        "$.stages[3].actor",
        "$.stages[4].input",
        "$.stages[4]",
        "$.stages[5]",
        "$.stages[5].activity",
        "$.output",
    }
    assert ("$.stages[4]", "waits for itself: E -> E") in problems(document)
    assert any("$.stages['list-files']" in message for _, message in problems(document))


def test_every_circle_of_stages_is_refused():
    stages = [
        {"name": name, "activity": "a", "after": [after]} for name, after in ["AB", "BC", "CA", "DE", "ED"]
    ]

    assert problems({"name": "round", "stages": stages}) == {
        ("$.stages[0]", "waits for itself: A -> B -> C -> A"),
        ("$.stages[3]", "waits for itself: D -> E -> D"),
    }


@pytest.mark.parametrize("document", [None, 7, "x", [], [1], {"name": float("nan")}, {"name": object()}])
def test_what_is_no_document_is_refused(document):
    with pytest.raises(InvalidError):
        parse(document)


def test_a_document_nested_without_end_is_refused():
    deep: list = []
    for _ in range(5_000):
        deep = [deep]

    with pytest.raises(InvalidError):
        parse({"name": "deep", "stages": [{"name": "A", "activity": "a", "input": deep}]})


def test_a_scatter_without_concurrency_is_a_warning_and_runs_eight_at_a_time():
    plan = parse({"name": "p", "stages": [_scatter({})]})

    assert [(warning.path, warning.message) for warning in plan.warnings] == [
        ("$.stages[0].config.concurrency", "no concurrency is set; 8 items run at a time")
    ]
    assert plan.stages[0].work.concurrency == 8


def test_a_batch_is_cut_to_the_concurrency_with_a_warning():
    plan = parse(
        {
            "name": "p",
            "stages": [_scatter({"config": {"concurrency": 3}, "executorConfig": {"batchSize": 9}})],
        }
    )

    assert plan.stages[0].work.batch_size == 3
    assert [warning.path for warning in plan.warnings] == ["$.stages[0].executorConfig.batchSize"]


def _scatter(more):
    return {"name": "S", "mode": "scatter", "activity": "a", "scatter": {"input": "$.items"}, **more}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.sampled_from(["", "$", "$.x", "$.stages.A", "A", "{{", "single", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "input", "stage", "as", "x y"]), inner)
    ),
    max_leaves=6,
)
KEYS = [
    "name",
    "mode",
    "activity",
    "actor",
    "input",
    "scatter",
    "gather",
    "after",
    "config",
    "executorConfig",
    "onError",
]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["name", "input", "output", "other"]), JSON),
    st.lists(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON, max_size=3) | JSON,
)
def test_any_document_gives_a_plan_or_problems_with_paths(document, stages):
    found = []
    try:
        parse(document | {"stages": stages})
    except InvalidError as error:
        found = [problem.path for problem in error.problems]

    assert all(path.startswith("$") for path in found)
