"""Pipelines whose stages are served by actors, beside activities or in their place."""

import json

import pytest
from click.testing import CliRunner

from loom_core import Actor
from loom_core.catalogue.names import check
from loom_core.errors import StepFailedError
from loom_core.notations import pipeline_program
from loom_core.testing import Bench, Stage
from loom_local.cli.validate import validate
from tests.actors.conftest import Log, Turn


class Sum(Actor):
    def default_state(self):
        return {"sum": 0}

    def execute(self, message):
        if message == "boom":
            raise ValueError("boom")
        self.update_state(lambda state: state.update(sum=state["sum"] + message))
        return {"sum": self.state["sum"], "as": self.message["metadata"].get("strategy")}


def scatter(**more):
    stage = {"name": "Add", "mode": "scatter", "scatter": {"input": "$.items", "as": "item"}, **more}
    return {"name": "sums", "stages": [{"input": "$.item.n", "config": {"concurrency": 3}, **stage}]}


@pytest.mark.parametrize(
    "which", [{"actor": "Sum", "actorId": "$.item.to"}, {"actor": {"type": "Sum", "key": "$.item.to"}}]
)
def test_a_scatter_goes_to_the_actors_that_its_items_name(which):
    stage = Stage(Sum)
    items = [{"to": "ab"[n % 2], "n": n} for n in range(10)]

    found = stage.pipeline(scatter(**which), {"items": items})

    assert len(found) == 10
    assert (stage.state("Sum/a"), stage.state("Sum/b")) == ({"sum": 20}, {"sum": 25})


def test_without_an_id_every_call_has_an_actor_of_its_own():
    stage = Stage(Sum)

    found = stage.pipeline(scatter(actor="Sum"), {"items": [{"n": 1}, {"n": 2}]})

    assert [one["sum"] for one in found] == [1, 2]
    assert len(stage.bench.cast.kept) == 2


def test_a_scatter_of_very_many_items_reaches_actors_through_its_lanes():
    stage = Stage(Sum)
    items = [{"to": "all", "n": 1} for _ in range(600)]

    stage.pipeline(scatter(actor="Sum", actorId="$.item.to"), {"items": items})

    assert stage.state("Sum/all") == {"sum": 600}


def test_a_chain_falls_back_from_an_activity_to_an_actor():
    choice = {
        "strategies": {"first": "adder", "then": {"actor": "Sum"}},
        "fallback": ["first", "then"],
    }
    stage = Stage(Sum, activities={"adder": lambda _: 1 / 0})

    [found] = stage.pipeline(scatter(activity=choice), {"items": [{"n": 4}]})

    assert (found["sum"], stage.calls) == (4, [("adder", 4)])


def test_an_actor_is_told_the_strategy_of_its_stage():
    stage = Stage(Sum)

    [found] = stage.pipeline(scatter(actor={"type": "Sum", "strategy": "careful"}), {"items": [{"n": 1}]})

    assert found["as"] == "careful"


def test_what_an_actor_raises_fails_the_stage_after_its_attempts():
    stage = Stage(Sum)

    with pytest.raises(StepFailedError, match="boom"):
        stage.pipeline(scatter(actor="Sum", actorId="x"), {"items": [{"n": "boom"}]})

    assert len(stage.journal("Sum/x", "turn_failed")) == 3


def test_a_turn_serves_a_stage_however_long_it_takes():
    stage = Stage(Turn)
    stage.bench.after(3_600, lambda: stage.event("Turn/t", "approval", "yes"))
    definition = {
        "name": "ask",
        "stages": [{"name": "Ask", "actor": "Turn", "actorId": "t", "input": "$.steps"}],
    }

    assert stage.pipeline(definition, {"steps": [["wait", "approval"]]}) == ["yes"]
    assert stage.bench.clock == 3_600


def test_an_actor_undoes_a_stage():
    undo = {"actor": "Sum", "actorId": "a", "input": -5}
    stages = [
        {"name": "Add", "actor": "Sum", "actorId": "a", "input": 5, "compensation": undo},
        {"name": "Fail", "activity": "bad", "input": "$.stages.Add"},
    ]
    stage = Stage(Sum, activities={"bad": lambda _: 1 / 0})

    with pytest.raises(StepFailedError):
        stage.pipeline({"name": "saga", "stages": stages}, {})

    assert stage.state("Sum/a") == {"sum": 0}


def test_steps_and_graphs_call_actors_too():
    steps = {"name": "s", "steps": [{"type": "actor", "actor": "Sum", "actorId": "s", "input": 2}]}
    node = {"nodeId": "n", "actor": "Sum", "actorId": "g", "input": 3}
    stage = Stage(Sum)

    stage.pipeline(steps, {})
    stage.pipeline({"name": "g", "nodes": [node], "connections": []}, {})

    assert (stage.state("Sum/s"), stage.state("Sum/g")) == ({"sum": 2}, {"sum": 3})


def test_actors_of_a_bench_live_beside_scripted_ones():
    bench = Bench({"Scripted": lambda n: {"scripted": n}}, actors=[Sum])
    stages = [
        {"name": "One", "actor": "Sum", "actorId": "a", "input": 1},
        {"name": "Two", "actor": "Scripted", "actorId": "b", "input": "$.stages.One.sum"},
    ]
    payload = {"run": "run-1", "definition": {"name": "p", "stages": stages}, "input": {}}

    assert bench.run(pipeline_program, payload) == {"scripted": 1}


@pytest.mark.parametrize("seed", range(20))
def test_pipelines_over_actors_survive_crashes_and_outages(seed):
    stage = Stage(Sum, Log, seed=seed, crashes=True, outages=True)

    stage.pipeline(
        scatter(actor="Sum", actorId="$.item.to"), {"items": [{"to": "x", "n": n} for n in range(30)]}
    )
    stage.advance(1_000)

    assert stage.state("Sum/x") == {"sum": sum(range(30))}


def test_a_type_that_there_is_not_is_refused_where_it_is_written():
    there = {"activity": {"adder"}, "actor": {"Summe"}}
    definition = scatter(actor={"type": "Somme", "key": "x"})

    _, problems = check(definition, there)

    assert [str(problem) for problem in problems] == [
        "$.stages[0].actor.type: there is no actor type 'Somme'; did you mean 'Summe'?"
    ]
    assert check(scatter(actor="Summe"), there)[1] == []


def test_only_actors_have_an_id_and_one_only():
    both = check(scatter(actor={"type": "Sum", "key": "x"}, actorId="y"), {"actor": {"Sum"}})[1]
    none = check(scatter(activity={"type": "adder", "key": "x"}), {"activity": {"adder"}})[1]

    assert [problem.path for problem in both] == ["$.stages[0].actorId"]
    assert [problem.path for problem in none] == ["$.stages[0].activity.key"]


def test_the_actors_of_an_app_are_known_offline(tmp_path):
    (tmp_path / "actors").mkdir()
    (tmp_path / "activities").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "actors" / "sums.py").write_text(
        "from loom_core import Actor\n\n\nclass Summe(Actor):\n    pass\n"
    )
    for name, kind in (("good", "Summe"), ("bad", "Somme")):
        definition = {**scatter(actor=kind), "name": name}
        (tmp_path / "pipelines" / f"{name}.json").write_text(json.dumps(definition))

    result = CliRunner().invoke(validate, ["--app", str(tmp_path)])

    assert result.exit_code == 1
    assert "$.stages[0].actor: there is no actor type 'Somme'; did you mean 'Summe'?" in result.output
    assert "2 checked, 1 wrong" in result.output
