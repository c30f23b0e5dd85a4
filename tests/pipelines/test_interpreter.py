"""What plans mean, whatever notation they were written in."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import CancelledError, StepFailedError, TimedOutError
from loom_core.expressions.parse import parse, parse_value
from loom_core.pipelines import session
from loom_core.pipelines.lanes import lane_program
from loom_core.pipelines.plan import (
    Call,
    Compensation,
    Gate,
    Gather,
    Loop,
    Parallel,
    Plan,
    Route,
    Scatter,
    Stage,
    Target,
    Value,
    Wait,
)
from loom_core.pipelines.run import pipeline_program
from loom_core.resilience.retry import RetryPolicy
from loom_core.testing import Bench
from loom_core.wire.commands import ContinueAsNew


def expression(value):
    return None if value is None else parse_value(value)


def call(name, taken=None, **route):
    default = None if route.get("targets") else Target("activity", name)
    return Call(route=Route(default=default, **route), input=expression(taken))


def stage(name, work, after=(), **more):
    return Stage(name=name, path=f"$.{name}", work=work, after=frozenset(after), **more)


def value(name, written, after=(), **more):
    return stage(name, Value(value=expression(written)), after, **more)


def undo(name, taken=None):
    return Compensation(
        route=Route(default=Target("activity", name)),
        input=expression(taken),
        retry=RetryPolicy(max_attempts=2),
    )


def plan(*stages, output=None, timeout=None):
    return Plan(
        name="plan",
        version="1",
        description="",
        input_schema=None,
        stages=stages,
        output=expression(output),
        warnings=(),
        timeout=timeout,
    )


class Runner:
    """Runs plans; the definition in a payload is the name of one of them."""

    def __init__(self, activities, *, plans=None, **bench):
        self.plans = plans or {}
        self.program = partial(pipeline_program, self.plans.__getitem__)
        self.bench = Bench(activities, programs={"pipeline": self.program, "lane": lane_program}, **bench)
        self.payload = {"run": "run-1", "definition": "main", "library": {name: name for name in self.plans}}

    def __call__(self, main, taken=None, **payload):
        self.plans["main"] = main
        return self.bench.run(self.program, {**self.payload, "input": taken, **payload})

    @property
    def shown(self):
        return self.bench.published[-1]["stages"]

    @property
    def last(self):
        """The payload that the last execution of the run began with."""
        return [execution for execution in self.bench.executions if execution.is_run][-1]._payload


def double(n):
    return 2 * n


def refuse(_taken):
    raise ValueError("no")


# gates


@pytest.mark.parametrize(("size", "taken"), [(3, "large"), (1, "small")])
def test_a_branching_stage_opens_one_way_and_the_other_is_skipped(size, taken):
    run = Runner({"echo": lambda x: x})
    ways = plan(
        value("big", "$.size > 2", branching=True),
        stage("large", call("echo", "large"), ["big"], gates=(Gate("big", "true"),)),
        stage("small", call("echo", "small"), ["big"], gates=(Gate("big", "false"),)),
        value(
            "end",
            ["$.stages.large", "$.stages.small"],
            ["large", "small"],
            gates=(Gate("large"), Gate("small")),
        ),
    )

    assert run(ways, {"size": size}) == [taken if taken == name else None for name in ("large", "small")]
    assert run.shown["large" if taken == "small" else "small"]["status"] == "skipped"


def test_what_only_a_skipped_stage_leads_to_is_skipped_too():
    run = Runner({})
    ways = plan(
        value("no", "$.never", branching=True),
        value("a", 1, ["no"], gates=(Gate("no", "true"),)),
        value("b", 2, ["a"], gates=(Gate("a"),)),
        value("c", 3, ["b"]),
    )

    assert run(ways, {}) == 3
    assert [run.shown[name]["status"] for name in "abc"] == ["skipped", "skipped", "completed"]


# loops


def test_a_loop_over_items_collects_and_knows_its_index():
    body = (
        stage("Double", call("double", "$.n")),
        value("Pair", ["$.loop.index", "$.stages.Double"], ["Double"]),
    )
    run = Runner({"double": double})
    loop = plan(stage("Each", Loop(body=body, items=expression("$.numbers"), item="n", collect=True)))

    assert run(loop, {"numbers": [5, 6, 7]}) == [[0, 10], [1, 12], [2, 14]]
    shown = run.shown["Double"]
    assert [shown[key] for key in ("status", "done", "total", "failed")] == ["completed", 3, 3, 0]
    assert run.bench.calls == [("double", 5), ("double", 6), ("double", 7)]


def test_an_empty_loop_gives_nothing_and_its_stages_are_skipped():
    run = Runner({})
    loop = plan(stage("Each", Loop(body=(value("x", 1),), items=expression("$.numbers"), collect=True)))

    assert run(loop, {"numbers": []}) == []
    assert run.shown["x"]["status"] == "pending"


def counting(limit, **loop):
    body = (value("n", "$.loop.index + 1"),)
    return plan(stage("Loop", Loop(body=body, limit=limit, **loop)))


def test_a_while_loop_looks_before_each_round_and_the_other_kind_after():
    assert Runner({})(counting(10, condition=parse("$.loop.index < 3"))) == 3
    assert Runner({})(counting(10, condition=parse("$.loop.index > 0"))) is None
    assert Runner({})(counting(10, again=parse("$.stages.n < 4"))) == 4


def test_a_loop_that_goes_beyond_its_limit_fails_if_it_is_strict_and_ends_if_not():
    assert Runner({})(counting(5, strict=False)) == 5
    with pytest.raises(StepFailedError, match=r"exceeded max iterations \(5\)"):
        Runner({})(counting(5))


def test_nested_loops_begin_anew_in_every_round_of_the_outer_one():
    inner = Loop(
        body=(value("cell", ["$.row", "$.column"]),),
        items=expression("$.columns"),
        item="column",
        collect=True,
    )
    outer = Loop(body=(stage("Row", inner),), items=expression("$.rows"), item="row", collect=True)
    run = Runner({})

    assert run(plan(stage("Table", outer)), {"rows": [1, 2], "columns": ["a", "b"]}) == [
        [[1, "a"], [1, "b"]],
        [[2, "a"], [2, "b"]],
    ]


def test_a_round_sees_what_the_round_before_has_left():
    body = (value("sum", "{{ ($.stages.sum ? $.stages.sum : 0) + $.n }}"),)
    loop = Loop(body=body, items=expression("$.numbers"), item="n", collect=True)

    assert Runner({})(plan(stage("L", loop)), {"numbers": [1, 2, 3]}) == [1, 3, 6]


def test_a_long_loop_continues_as_new_and_no_history_is_long(monkeypatch):
    monkeypatch.setattr(session, "LIMIT", 10)
    body = (stage("Double", call("double", "$.loop.index")), value("keep", "$.stages.Double", ["Double"]))
    run = Runner({"double": double})

    assert run(plan(stage("L", Loop(body=body, items=expression("$.n"), collect=True))), {"n": [0] * 55}) == [
        2 * index for index in range(55)
    ]
    assert run.bench.calls == [("double", index) for index in range(55)]
    lives = [execution for execution in run.bench.executions if execution.is_run]
    assert len(lives) == 6
    assert max(len(execution.issued) for execution in lives) < 20
    assert run.shown["Double"]["done"] == 55


@pytest.mark.parametrize("seed", range(8))
def test_branches_wait_for_each_other_before_the_run_continues_as_new(monkeypatch, seed):
    monkeypatch.setattr(session, "LIMIT", 6)
    count = {}

    def work(key):
        count[key] = count.get(key, 0) + 1
        return key

    def loop(name, rounds):
        body = (stage(f"{name}-work", call("work", f"{{{{ '{name}' }}}}-{{{{ $.loop.index }}}}")),)
        return stage(
            name, Loop(body=body, items=expression("$.rounds"), limit=rounds, strict=False, collect=True)
        )

    run = Runner({"work": work}, seed=seed, duration=lambda _name, key: len(key) * 0.7 + seed)
    both = plan(loop("aa", 20), loop("b", 13), value("end", ["$.stages.aa", "$.stages.b"], ["aa", "b"]))

    assert run(both, {"rounds": [0] * 20}) == [[f"aa-{n}" for n in range(20)], [f"b-{n}" for n in range(13)]]
    assert set(count.values()) == {1}


# parallel


def test_branches_end_whatever_becomes_of_the_others_and_the_failures_are_told_together():
    run = Runner(
        {"double": double, "refuse": refuse}, duration=lambda name, _taken: 5.0 if name == "double" else 1.0
    )
    branches = (
        (stage("a", call("double", 1)), stage("a2", call("double", 2), ["a"])),
        (stage("b", call("refuse", 1)), stage("b2", call("double", 9), ["b"])),
        (stage("c", call("refuse", 1)),),
    )

    with pytest.raises(StepFailedError, match="2 of 3 branches failed: b: ValueError: no; c: ValueError: no"):
        run(plan(stage("P", Parallel(branches=branches))))
    assert [taken for name, taken in run.bench.calls if name == "double"] == [1, 2]


def test_branches_give_the_outputs_of_their_last_stages():
    branches = ((stage("a", call("double", 1)),), (value("b", 5), value("b2", "$.stages.b + 1", ["b"])), ())

    assert Runner({"double": double})(plan(stage("P", Parallel(branches=branches)))) == [2, 6, None]


# waits


def wait(name, event=None, seconds=None, **more):
    return stage(name, Wait(event=expression(event), seconds=expression(seconds)), **more)


def test_an_event_is_the_output_of_the_wait():
    run = Runner({}, events=[(50, "approved", {"by": "Ada"})])

    assert run(plan(wait("w", "approved", timeout=60))) == {"by": "Ada"}
    assert run.bench.clock == 50


@pytest.mark.parametrize(("on_timeout", "result"), [("skip", [None, None]), ("branch", [None, "late"])])
def test_a_wait_that_takes_too_long_can_go_on_or_go_another_way(on_timeout, result):
    run = Runner({})
    late = plan(
        wait("w", "approved", timeout=60, on_timeout=on_timeout),
        value("late", "{{ 'late' }}", ["w"], gates=(Gate("w", "timeout"),)),
        value("end", ["$.stages.w", "$.stages.late"], ["late", "w"]),
    )

    assert run(late) == result
    assert run.bench.clock == 60


def test_a_wait_that_takes_too_long_fails_by_default():
    with pytest.raises(TimedOutError, match="w: not done within 60 seconds"):
        Runner({})(plan(wait("w", "approved", timeout=60)))


def test_a_wait_keeps_its_deadline_when_the_run_continues_as_new(monkeypatch):
    monkeypatch.setattr(session, "LIMIT", 5)
    ticks = Loop(
        body=(wait("tick", seconds=7), stage("d", call("double", 1), ["tick"])), limit=10, strict=False
    )
    run = Runner({"double": double})

    assert run(plan(stage("L", ticks), wait("w", "never", timeout=50, on_timeout="skip"))) is None
    assert run.bench.clock == 70
    assert run.shown["w"]["status"] == "skipped"


def test_a_whole_run_can_have_a_deadline():
    run = Runner({"double": double}, duration=lambda _name, _taken: 100.0)

    with pytest.raises(TimedOutError, match="plan: not done within 30 seconds"):
        run(plan(stage("a", call("double", 1)), timeout=30))
    assert run.bench.stopped == ["run-1"]


# ends


def saga(*more):
    return plan(
        stage("a", call("double", 1), compensation=undo("undo", ["{{ 'a' }}", "$.stages.a"])),
        stage(
            "b", call("double", "$.stages.a"), ["a"], compensation=undo("undo", ["{{ 'b' }}", "$.stages.b"])
        ),
        *more,
    )


def test_a_failed_run_is_undone_in_reverse_order_and_says_so():
    run = Runner({"double": double, "undo": lambda taken: taken, "refuse": refuse})

    with pytest.raises(StepFailedError, match="c: ValueError: no"):
        run(saga(stage("c", call("refuse"), ["b"])))
    assert [taken for name, taken in run.bench.calls if name == "undo"] == [["b", 4], ["a", 2]]
    assert run.bench.published[-1]["compensations"] == [
        {"stage": "b", "status": "completed"},
        {"stage": "a", "status": "completed"},
    ]
    assert run.last["state"]["compensated"] is True


def test_a_compensation_is_tried_again_and_one_that_fails_keeps_no_other_from_being_done():
    tries = []

    def flaky(taken):
        tries.append(taken[0])
        if taken[0] == "b" or len(tries) < 4:
            raise ValueError("not now")

    run = Runner({"double": double, "undo": flaky, "refuse": refuse})

    with pytest.raises(StepFailedError):
        run(saga(stage("c", call("refuse"), ["b"])))
    assert tries == ["b", "b", "a", "a"]
    assert [told["status"] for told in run.bench.published[-1]["compensations"]] == ["failed", "completed"]


def test_a_cancelled_run_stops_what_is_under_way_undoes_what_is_done_and_fails_as_cancelled():
    run = Runner(
        {"double": double, "undo": lambda taken: taken},
        duration=lambda _name, taken: 100.0 if taken == 4 else 1.0,
        events=[(10, session.CANCEL, None)],
    )

    with pytest.raises(CancelledError):
        run(saga(stage("c", call("double", 4), ["b"])))
    assert run.bench.stopped == ["run-1"]
    assert [taken for name, taken in run.bench.calls if name == "undo"] == [["b", 4], ["a", 2]]
    assert [run.shown[name]["status"] for name in "abc"] == ["completed", "completed", "cancelled"]


def test_a_failed_run_can_be_taken_up_from_the_stage_that_failed():
    working = []

    def late(taken):
        if not working:
            raise ValueError("not yet")
        return taken

    main = plan(stage("a", call("double", 4)), stage("b", call("late", "$.stages.a"), ["a"]))
    run = Runner({"double": double, "late": late})
    with pytest.raises(StepFailedError, match="b: ValueError: not yet"):
        run(main)
    assert run.shown["b"] | {"at": 0} == run.shown["b"] | {"at": 0, "status": "failed", "failed": 1}

    working.append(True)
    left = {key: kept for key, kept in run.last.items() if key != "failure"}
    again = Runner({"double": double, "late": late})

    assert again(main, **{key: kept for key, kept in left.items() if key != "definition"}) == 8
    assert again.bench.calls == [("late", 8)]
    assert (again.shown["b"]["status"], again.shown["b"]["failed"]) == ("completed", 0)


def test_a_run_that_is_to_stop_ends_its_loops_and_then_itself():
    ticks = Loop(body=(wait("tick", seconds=10), stage("d", call("double", 1), ["tick"])), limit=None)
    run = Runner({"double": double}, events=[(35, session.STOP, None)], duration=lambda _name, _taken: 2.0)

    assert run(plan(stage("L", ticks), value("end", "{{ 'done' }}", ["L"]))) == "done"
    assert run.bench.calls == [("double", 1)] * 3
    assert run.bench.clock == 36


def test_a_round_that_is_under_way_when_the_run_is_to_stop_ends_first():
    ticks = Loop(
        body=(
            wait("tick", seconds=10),
            stage("d", call("double", 1), ["tick"]),
            stage("e", call("double", 2), ["d"]),
        ),
        limit=None,
    )
    run = Runner({"double": double}, events=[(15, session.STOP, None)], duration=lambda _name, _taken: 10.0)

    assert run(plan(stage("L", ticks))) == 4
    assert run.bench.calls == [("double", 1), ("double", 2)]


# routes


def test_a_fallback_is_tried_when_the_one_before_has_failed_for_good():
    route = {
        "targets": {"x": Target("activity", "refuse"), "y": Target("activity", "double")},
        "fallback": ("x", "y"),
    }
    run = Runner({"double": double, "refuse": refuse})

    assert run(plan(stage("a", call("", 3, **route), retry=RetryPolicy(max_attempts=2)))) == 6
    assert [name for name, _ in run.bench.calls] == ["refuse", "refuse", "double"]


def test_a_fallback_is_for_the_errors_it_names():
    targets = {"x": Target("activity", "refuse"), "y": Target("activity", "double")}
    route = {"targets": targets, "fallback": ("x", "y"), "fallback_on": frozenset({"TimedOutError"})}

    with pytest.raises(StepFailedError, match="no"):
        Runner({"double": double, "refuse": refuse})(plan(stage("a", call("", 3, **route))))


def items(work_call, concurrency=4, **more):
    return Scatter(
        call=work_call, items=expression("$.items[*]"), item="item", condition=None,
        concurrency=concurrency, batch_size=1, **more,
    )  # fmt: skip


def test_every_item_goes_the_way_its_strategy_says():
    targets = {"even": Target("activity", "double"), "odd": Target("activity", "minus")}
    route = {"targets": targets, "expression": expression("$.item % 2 === 0 ? 'even' : 'odd'")}
    run = Runner({"double": double, "minus": lambda n: -n})

    assert run(plan(stage("s", items(call("", None, **route)))), {"items": list(range(5))}) == [
        0,
        -1,
        4,
        -3,
        8,
    ]


def test_items_can_go_to_actors_whose_ids_they_tell():
    route = Route(default=Target("actor", "Counter"))
    work = items(Call(route=route, actor=expression("$.item.id")))
    found = Runner({"Counter": lambda item: item["by"] * 2})
    taken = {"items": [{"id": "a", "by": 1}, {"by": 2}, {"id": "b", "by": 3}]}

    output = found(plan(stage("all", work, on_error="collect")), taken)

    assert [output[0], output[2]] == [2, 6]
    assert "the id of an actor is text" in output[1]["error"]["message"]


def test_a_strategy_that_is_none_fails_its_own_item():
    route = {"targets": {"even": Target("activity", "double")}, "expression": expression("$.item")}
    run = Runner({"double": double})
    stages = plan(stage("s", items(call("", 1, **route)), on_error="collect"))

    good, bad = run(stages, {"items": ["even", "odd"]})
    assert (good, bad["error"]["type"]) == (2, "InvalidError")


def test_a_strategy_without_a_target_is_told_to_the_default():
    class Told(Bench):
        def perform(self, command, done):
            told.append(getattr(command, "strategy", None))
            super().perform(command, done)

    told = []
    run = Runner({"store": lambda taken: taken})
    run.bench.__class__ = Told
    run(plan(stage("s", call("store", 1, expression=expression("{{ 'blob' }}")))))
    assert "blob" in told


@given(st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(any), st.integers(0, 10**9))
@settings(max_examples=50)
def test_weights_spread_the_items_and_stay_as_they_are_for_a_run(weights, run_id):
    targets = {f"w{n}": Target("activity", f"w{n}") for n in range(len(weights))}
    route = {"targets": targets, "weights": tuple((f"w{n}", weight) for n, weight in enumerate(weights))}
    activities = {name: (lambda _taken, name=name: name) for name in targets}
    main = plan(stage("s", items(call("", None, **route), concurrency=50)))

    first = Runner(activities)(main, {"items": [0] * 60}, run=f"run-{run_id}")
    again = Runner(activities, seed=1)(main, {"items": [0] * 60}, run=f"run-{run_id}")
    assert first == again
    assert all(weights[int(name[1:])] for name in first)


# gather


def test_gathering_merges_deeply_and_the_last_wins_with_a_warning():
    run = Runner({})
    gather = Gather(sources=(("x", "a"), ("y", "b")), strategy="merge")
    merged = plan(
        value("a", {"k": {"p": 1, "q": 1}, "only": "a"}),
        value("b", {"k": {"q": 2}}),
        stage("g", gather, ["a", "b"]),
        value("end", ["$.stages.g", "$.stages.a"], ["g"]),
    )

    assert run(merged) == [{"k": {"p": 1, "q": 2}, "only": "a"}, {"k": {"p": 1, "q": 1}, "only": "a"}]
    assert run.bench.published[-1]["warnings"] == [
        {"path": "$.g.gather", "message": "$.k.q differs, and is that of y"}
    ]


def test_gathering_keeps_the_order_and_warns_of_other_shapes():
    run = Runner({})
    gather = Gather(sources=(("x", "a"), ("y", "b")), strategy="concat")

    assert run(plan(value("a", [1, 2]), value("b", {"n": 3}), stage("g", gather, ["a", "b"]))) == [
        1,
        2,
        {"n": 3},
    ]
    assert len(run.bench.published[-1]["warnings"]) == 2


# scatters


def test_calls_are_paced():
    run = Runner({"double": double})

    run(plan(stage("s", items(call("double"), concurrency=100, rate=2.0))), {"items": list(range(21))})
    assert run.bench.clock == pytest.approx(10.0)


def test_the_pace_holds_over_all_lanes():
    run = Runner({"double": double})

    run(plan(stage("s", items(call("double"), concurrency=100, rate=50.0))), {"items": list(range(1_000))})
    assert run.bench.children > 1
    assert 19.0 <= run.bench.clock <= 25.0


def test_items_can_be_pipelines_of_their_own():
    inner = plan(stage("twice", call("double", "$.input")), output="$.stages.twice + 1")
    run = Runner({"double": double}, plans={"inner@1": inner})
    work = Call(route=Route(default=Target("pipeline", "inner@1")))

    assert run(plan(stage("s", items(work))), {"items": [1, 2, 3]}) == [3, 5, 7]
    assert run.bench.children == 3


# pipelines within pipelines


def test_a_pipeline_within_runs_as_part_of_the_run_and_is_undone_with_it():
    inner = plan(
        stage("x", call("double", "$.n"), compensation=undo("undo", "$.stages.x")),
        stage("y", call("double", "$.stages.x"), ["x"]),
    )
    run = Runner({"double": double, "undo": lambda taken: taken, "refuse": refuse}, plans={"inner": inner})
    route = Route(default=Target("pipeline", "inner"))
    main = plan(
        stage("sub", Call(route=route, input=expression({"n": "$.n"}))),
        stage("fail", call("refuse", "$.stages.sub"), ["sub"]),
    )

    with pytest.raises(StepFailedError):
        run(main, {"n": 3})
    assert run.bench.calls == [("double", 3), ("double", 6), ("refuse", 12), ("undo", 6)]
    assert run.shown["sub/y"]["status"] == "completed"


def test_a_pipeline_within_goes_on_where_it_was_when_the_run_continues_as_new(monkeypatch):
    monkeypatch.setattr(session, "LIMIT", 3)
    inner = plan(*(stage(f"s{n}", call("double", n), [f"s{n - 1}"] if n else []) for n in range(10)))
    run = Runner({"double": double}, plans={"inner": inner})

    assert run(plan(stage("sub", Call(route=Route(default=Target("pipeline", "inner")))))) == 18
    assert run.bench.calls == [("double", n) for n in range(10)]
    assert any(isinstance(execution.outcome, ContinueAsNew) for execution in run.bench.executions)


def test_captured_values_are_the_same_in_a_replay_and_differ_between_stages():
    run = Runner({"double": double}, duration=lambda _name, _taken: 5.0)
    main = plan(
        value("a", ["$.run.id", "$.run.startedAt", "$.run.now", "$.run.uuid"]),
        stage("d", call("double", 1), ["a"]),
        value("b", ["$.run.id", "$.run.startedAt", "$.run.now", "$.run.uuid"], ["d"]),
        output=["$.stages.a", "$.stages.b"],
    )

    (run_a, started_a, now_a, uuid_a), (run_b, started_b, now_b, uuid_b) = run(main)
    assert run_a == run_b == "run-1"
    assert started_a == started_b == now_a == "1970-01-01T00:00:00.000Z"
    assert now_b == "1970-01-01T00:00:05.000Z"
    assert uuid_a != uuid_b
