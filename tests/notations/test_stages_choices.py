"""What a stage can say beyond one activity: who does the work, how it is gathered, how fast."""

import json
from pathlib import Path

import pytest

from loom_core.errors import InvalidError
from loom_core.notations import parse
from loom_core.pipelines.plan import Target

EVERY = json.loads((Path(__file__).parent / "every_stage.json").read_text())
FOUNDING = '$.metadata.size > 1000000 ? "blob_storage" : "cosmos_db"'


def stages(*written, **more):
    filled = [{"name": f"S{index}", **stage} for index, stage in enumerate(written)]
    return parse({"name": "p", "stages": filled, **more})


def route(stage):
    return stages(stage).stages[0].work.route


def problems(*written):
    with pytest.raises(InvalidError) as caught:
        stages(*written)
    return [(problem.path.removeprefix("$.stages"), problem.message) for problem in caught.value.problems]


def scatter(**more):
    return {"mode": "scatter", "scatter": {"input": "$.items"}, **more}


def activity(name, strategy=""):
    return Target("activity", name, strategy)


# ---- who does the work


@pytest.mark.parametrize("kind", ["activity", "actor", "agent", "pipeline"])
def test_a_stage_names_an_activity_an_actor_an_agent_or_a_pipeline(kind):
    assert route({kind: "work@1.2"}).default == Target(kind, "work@1.2")


def test_a_plain_strategy_beside_a_name_is_told_to_the_target():
    assert route({"actor": "StorageActor", "strategy": "blob_storage"}).default == Target(
        "actor", "StorageActor", "blob_storage"
    )


@pytest.mark.parametrize(
    "stage",
    [
        {"actor": "StorageActor", "strategy": FOUNDING},
        {"actor": {"type": "StorageActor", "strategyExpression": FOUNDING}},
        {"actor": {"type": "StorageActor", "strategyExpression": "{{ " + FOUNDING + " }}"}},
    ],
)
def test_an_expression_gives_the_label(stage):
    found = route(stage)

    assert found.default == Target("actor", "StorageActor")
    assert found.expression.evaluate({"metadata": {"size": 2_000_000}}) == "blob_storage"
    assert found.expression.evaluate({"metadata": {"size": 5}}) == "cosmos_db"


def test_a_label_of_the_strategies_is_a_target_of_its_own():
    strategies = {"blob": "BlobActor", "cosmos": {"activity": "store-in-cosmos"}}

    static = route({"actor": {"strategies": strategies, "strategy": "cosmos"}})
    chosen = route({"actor": {"strategies": strategies}, "strategy": FOUNDING})

    assert static.default == activity("store-in-cosmos")
    assert chosen.default is None
    assert chosen.targets == {"blob": Target("actor", "BlobActor"), "cosmos": activity("store-in-cosmos")}
    assert chosen.names == {Target("actor", "BlobActor"), activity("store-in-cosmos")}


def test_labels_without_strategies_are_names_or_told_to_the_type():
    names = route({"activity": {"weights": {"classify@1": 90, "classify@2": 10}}})
    told = route({"activity": {"type": "classify", "weights": {"small": 1, "large": 3}}})

    assert names.targets == {name: activity(name) for name in ("classify@1", "classify@2")}
    assert names.weights == (("classify@1", 90), ("classify@2", 10))
    assert (told.default, told.targets, told.weights) == (
        activity("classify"),
        {},
        (("small", 1), ("large", 3)),
    )


def test_a_fallback_lists_labels_and_the_errors_that_lead_to_the_next():
    found = route({"activity": {"fallback": ["fast", "safe"], "fallbackOn": ["UnavailableError"]}})

    assert (found.fallback, found.fallback_on) == (("fast", "safe"), {"UnavailableError"})
    assert found.targets == {"fast": activity("fast"), "safe": activity("safe")}


def test_strategies_that_nothing_chooses_among_are_a_warning_if_a_type_does_the_work():
    plan = stages({"actor": {"type": "StrategyActor", "strategies": {"a": "A", "b": "B"}}})

    assert plan.stages[0].work.route.default == Target("actor", "StrategyActor")
    assert [warning.path for warning in plan.warnings] == ["$.stages[0].actor.strategies"]


@pytest.mark.parametrize(
    ("stage", "place", "message"),
    [
        ({}, ".activity", "is required, or one of actor, agent, pipeline"),
        ({"activity": "a", "agent": "b"}, ".agent", "there is activity already"),
        ({"activity": "a b"}, ".activity", "should match"),
        ({"activity": ""}, ".activity", "should match"),
        ({"activity": {}}, ".activity.type", "is required"),
        ({"activity": {"strategies": {"x": "a"}}}, ".activity.strategy", "is required, or one of"),
        (
            {"activity": {"strategies": {"x": "a"}, "strategy": "y"}},
            ".activity.strategy",
            "'y' is none of the strategies: x",
        ),
        ({"activity": {"strategies": {"x": {}}, "strategy": "x"}}, ".activity.strategies.x", "names one of"),
        (
            {"activity": {"strategies": {"x": "a"}, "weights": {"x": 1, "z": 1}}},
            ".activity.weights.z",
            "'z' is none",
        ),
        (
            {"activity": {"strategies": {"x": "a"}, "fallback": ["x", "z"]}},
            ".activity.fallback[1]",
            "'z' is none",
        ),
        ({"activity": {"weights": {"a": 0, "b": 0}}}, ".activity.weights", "must add up to more than 0"),
        ({"activity": {"weights": {"a": -1}}}, ".activity.weights.a", "greater than or equal to 0"),
        ({"activity": {"weights": {"a b": 1}}}, '.activity.weights["a b"]', "should match"),
        ({"activity": {"strategyExpression": "$.x"}}, ".activity.type", "is required"),
        (
            {"activity": {"type": "a", "strategyExpression": "$.pick()"}},
            ".activity.strategyExpression",
            "cannot call anything",
        ),
        (
            {"activity": {"type": "a", "strategy": "x", "fallback": ["y"]}},
            ".activity.fallback",
            "there is strategy already",
        ),
        (
            {"activity": {"type": "a", "strategy": "x"}, "strategy": "y"},
            ".strategy",
            "says how to choose already",
        ),
        ({"activity": {"type": "a", "fallbackOn": ["X"]}}, ".activity.fallbackOn", "needs a fallback"),
        ({"activity": {"type": "a", "colour": 1}}, ".activity.colour", "is not a known key"),
        ({"activity": "a", "strategy": "$.x ==="}, ".strategy", "ends too early"),
        ({"activity": "a", "actorId": "x"}, ".actorId", "only an actor has an id"),
        ({"activity": "a", "onTimeout": "skip"}, ".onTimeout", "needs a config.timeout"),
        ({"activity": "a", "compensation": {"input": 1}}, ".compensation.activity", "is required"),
        (
            {"activity": "a", "compensation": {"activity": "b", "actor": "c"}},
            ".compensation.activity",
            "one only",
        ),
        (scatter(activity="a", compensation={"activity": "b"}), ".compensation", "only a single stage"),
        ({"activity": "a", "config": {"rateLimit": 5}}, ".config.rateLimit", "only a scatter"),
        (scatter(activity="a", config={"rateLimit": 0}), ".config.rateLimit", "greater than 0"),
        (
            scatter(activity="a", config={"rateLimit": {"calls": 5, "per": "hour"}}),
            ".config.rateLimit.per",
            "should be 'second' or 'minute'",
        ),
        (
            scatter(actor="A", config={"concurrency": 9}, executorConfig={"batchSize": 2}),
            ".executorConfig.batchSize",
            "only activities take several",
        ),
        (
            scatter(activity="a", strategy="$.item.x + 'y'", executorConfig={"batchSize": 2}),
            ".executorConfig.batchSize",
            "each item chooses its own",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_is_named_at_its_place(stage, place, message):
    found = problems(stage)

    assert any(where == f"[0]{place}" and message in what for where, what in found), found


# ---- gather


def gathered(gather, **more):
    sources = [{"name": "A", "activity": "a"}, {"name": "B", "activity": "b"}]
    return stages(*sources, {"name": "G", "mode": "gather", "gather": gather, **more}).stages[2]


def test_a_gather_takes_stages_in_the_order_they_are_written_in():
    stage = gathered({"stages": ["B", "A"]})

    assert stage.work.sources == (("B", "B"), ("A", "A"))
    assert (stage.work.strategy, stage.after) == ("concat", {"A", "B"})


def test_named_sources_become_an_object_unless_something_else_is_said():
    assert gathered({"from": {"x": "A", "y": "B"}}).work.sources == (("x", "A"), ("y", "B"))
    assert gathered({"from": {"x": "A"}}).work.strategy == "object"
    assert gathered({"from": {"x": "A"}, "strategy": "concat"}).work.strategy == "concat"
    assert gathered({"stage": "A", "combine": "merge"}).work.strategy == "merge"


def test_a_custom_gather_has_a_reducer_or_a_call():
    reduced = gathered({"stages": ["A", "B"], "strategy": "custom", "reducer": "best"}).work
    called = gathered({"stages": ["A", "B"], "strategy": "custom"}, actor="Judge").work

    assert (reduced.reducer, reduced.call) == ("best", None)
    assert (called.reducer, called.call.route.default) == (None, Target("actor", "Judge"))


@pytest.mark.parametrize(
    ("gather", "place", "message"),
    [
        ({}, ".stage", "is required, or one of stages, from"),
        ({"stage": "A", "from": {"x": "A"}}, ".from", "there is stage already"),
        ({"stages": ["A", "Nope"]}, ".stages[1]", "there is no stage 'Nope'"),
        ({"stages": ["A", "A"]}, ".stages[1]", "'A' is gathered already"),
        ({"stages": []}, ".stages", "at least 1 item"),
        ({"from": {"x y": "A"}}, '.from["x y"]', "should match"),
        ({"from": {"x": "Nope"}}, ".from.x", "there is no stage 'Nope'"),
        (
            {"stage": "A", "strategy": "concat", "combine": "merge"},
            ".combine",
            "is another word for strategy",
        ),
        ({"stage": "A", "strategy": "custom"}, ".reducer", "is required, or an activity"),
        ({"stage": "A", "reducer": "best"}, ".reducer", "needs the strategy 'custom', not 'concat'"),
    ],
)
def test_a_gather_that_cannot_be_is_named_at_its_place(gather, place, message):
    found = problems({"name": "A", "activity": "a"}, {"name": "G", "mode": "gather", "gather": gather})

    assert any(where == f"[1].gather{place}" and message in what for where, what in found), found


# ---- limits, time, what undoes


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        (50, 50),
        (0.5, 0.5),
        ({"calls": 90, "per": "minute"}, 1.5),
        ({"calls": 90, "per": "second"}, 90),
        ({"calls": 2}, 2),
    ],
)
def test_a_rate_limit_is_calls_a_second(written, rate):
    plan = stages(scatter(activity="a", config={"rateLimit": written}))

    assert (plan.stages[0].work.rate, plan.warnings) == (rate, ())


def test_a_pipeline_has_a_label_and_a_time_of_its_own():
    plan = parse(EVERY)

    assert (plan.label, plan.timeout, plan.notation) == ("2.1.0", 3600, "stages")
    assert [stage.on_timeout for stage in plan.stages][:2] == ["fail", "skip"]
    assert plan.warnings == ()


def test_a_compensation_sees_the_output_of_its_stage_and_waits_for_others():
    reserve = parse(EVERY).stages[0]
    later = stages(
        {
            "name": "A",
            "activity": "a",
            "compensation": {"actor": "L", "actorId": "$.x", "input": "$.stages.B"},
        },
        {"name": "B", "activity": "b"},
    ).stages[0]

    assert reserve.compensation.route.default == activity("release")
    assert reserve.compensation.retry.max_attempts == 5
    assert reserve.compensation.input.evaluate({"stages": {"Reserve": {"id": 7}}}) == {"id": 7}
    assert (reserve.after, later.after) == (frozenset(), {"B"})
    assert later.compensation.actor.evaluate({"x": "main"}) == "main"


def test_a_field_that_a_closed_input_lacks_is_a_warning():
    closed = {"type": "object", "properties": {"documents": {}}, "additionalProperties": False}
    written = scatter(
        activity="a", input="{{ item.x }} {{ docs }} {{ $.input.dox }}", config={"concurrency": 1}
    )

    assert {str(warning) for warning in stages(written, input=closed).warnings} == {
        "$.stages[0].input: the input's schema has no 'docs'",
        "$.stages[0].input: the input's schema has no 'dox'",
        "$.stages[0].scatter.input: the input's schema has no 'items'",
    }
    assert stages(written, input={**closed, "additionalProperties": True}).warnings == ()


def test_there_are_at_most_a_hundred_stages():
    assert len(stages(*[{"activity": "a"}] * 100).stages) == 100
    assert problems(*[{"activity": "a"}] * 101) == [
        ("", "List should have at most 100 items after validation, not 101")
    ]
