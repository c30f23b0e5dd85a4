"""How runs end that are failed, cancelled, stopped and taken up again, wherever they are."""

import json

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from loom_core.errors import CancelledError, InvalidError, LoomError, StepFailedError
from loom_core.pipelines import interpreter, session
from loom_core.pipelines.plan import Call, Compensation, Gather, Loop, Parallel, Plan, Route, Target
from loom_core.wire.commands import CallActivity, Stop
from loom_core.wire.json import dump
from tests.pipelines.test_interpreter import (
    Runner,
    call,
    double,
    expression,
    plan,
    refuse,
    stage,
    undo,
    value,
    wait,
)
from tests.pipelines.test_random_plans import Plans, World


def inner(name):
    return Call(route=Route(default=Target("pipeline", name)))


def rewound(run, main, activities, **bench):
    """Take the run up again as a client does: with what its last execution was given."""
    kept = json.loads(json.dumps(run.last))
    assert kept.pop("failure")
    again = Runner(activities, plans=run.plans, **bench)
    del kept["definition"]
    again.bench.clock = run.bench.clock + 100
    return again, again(main, **kept)


# stopping what nobody waits for


def test_what_runs_beside_the_stage_that_ends_a_round_is_stopped_with_it(monkeypatch):
    monkeypatch.setattr(session, "LIMIT", 3)
    body = (stage("slow", call("double", 9)), stage("bad", call("refuse")))
    row = Loop(
        body=(
            stage("inside", Loop(body=body, items=expression([1])), on_error="skip"),
            stage("next", call("double", "$.loop.index"), ["inside"]),
        ),
        items=expression([1, 2, 3]),
        collect=True,
    )
    run = Runner(
        {"double": double, "refuse": refuse}, duration=lambda _name, taken: 1000.0 if taken == 9 else 1.0
    )

    assert run(plan(stage("rounds", row))) == [0, 2, 4]
    assert run.bench.stopped == [f"run-1/slow@{n}.0" for n in range(3)]
    assert run.shown["slow"]["status"] == "cancelled"


def test_a_timeout_stops_exactly_what_runs_in_the_stage():
    main = plan(
        stage("late", inner("sub"), timeout=5, on_timeout="skip"),
        stage("other", call("double", 4)),
    )
    rounds = plan(stage("rounds", Loop(body=main.stages, items=expression([1, 2]))))
    plans = {"sub": plan(stage("a", call("double", 1)), stage("b", call("double", 2)))}
    run = Runner({"double": double}, plans=plans, duration=lambda _name, taken: 4.0 if taken == 4 else 100.0)

    assert run(rounds) == 8
    assert run.bench.stopped == [f"run-1/late/{name}@{n}" for n in range(2) for name in "ab"]
    assert sorted(run.shown) == ["late", "late/a", "late/b", "other", "rounds"]
    assert [run.shown["late/a"][key] for key in ("status", "total", "done")] == ["cancelled", 2, 0]


def test_a_pipeline_within_has_its_own_deadline():
    plans = {"sub": Plan(**{**fields(plan(stage("a", call("double", 1)))), "timeout": 3.0})}
    run = Runner({"double": double}, plans=plans, duration=lambda *_: 100.0)

    assert run(plan(stage("s", inner("sub"), on_error="collect")))["error"]["type"] == "TimedOutError"
    assert (run.bench.clock, run.bench.stopped) == (3.0, ["run-1/s/a"])


def fields(one):
    return {name: getattr(one, name) for name in type(one).__slots__}


@pytest.mark.parametrize("failing", ["bad", "waiting"])
def test_a_branch_that_fails_lets_a_parked_one_go_on_and_is_not_tried_again(monkeypatch, failing):
    monkeypatch.setattr(session, "LIMIT", 1)
    bad = (stage("bad", call("refuse")),)
    if failing == "waiting":
        bad = (wait("waiting", seconds=3), value("bad", "$.loop.index - 'x'", ["waiting"]))
    good = (stage("a", call("double", 1)), stage("b", call("double", 2), ["a"]))
    run = Runner({"double": double, "refuse": refuse}, duration=lambda name, _: 1.0 + (name == "refuse"))
    main = plan(stage("P", Parallel(branches=(bad, good)), on_error="collect"))

    assert "1 of 2 branches failed: " in run(main)["error"]["message"]
    assert [name for name, _ in run.bench.calls if name == "refuse"] == ["refuse"] * (failing == "bad")
    assert [taken for name, taken in run.bench.calls if name == "double"] == [1, 2]


def test_waits_side_by_side_do_not_keep_each_other_from_going_on(monkeypatch):
    monkeypatch.setattr(session, "LIMIT", 1)
    waits = [wait(f"w{n}", seconds=n) for n in range(5)]

    run = Runner({})
    run(plan(*waits))
    assert run.bench.clock == 4


# rounds that ask for nothing


def test_a_loop_that_asks_nothing_of_the_world_leaves_room_for_events_now_and_then():
    run = Runner({})

    run(plan(stage("L", Loop(body=(value("x", 1),), limit=4 * session.LIMIT, strict=False))))
    assert len(run.bench.executions) == 4


def test_what_a_run_carries_along_does_not_grow_with_its_rounds(monkeypatch):
    monkeypatch.setattr(session, "LIMIT", 20)
    gather = Gather(sources=(("a", "a"), ("b", "b")), strategy="concat")
    body = (
        value("a", 1),
        value("b", {"n": 2}),
        stage("odd", gather, ["a", "b"]),
        stage("skips", call("refuse"), ["odd"], timeout=9, on_error="skip"),
        stage("sub", inner("sub"), ["skips"], on_error="skip"),
        stage("late", inner("waits"), ["sub"], timeout=3, on_timeout="skip"),
    )
    plans = {
        "sub": plan(stage("x", call("double", 1)), stage("y", call("refuse"), ["x"])),
        "waits": plan(wait("w", "never", timeout=7), stage("z", Loop(body=(wait("v", seconds=9),)))),
    }
    run = Runner({"refuse": refuse, "double": double}, plans=plans)
    loop = Loop(body=body, condition=expression("$.loop.index < 200"))

    assert run(plan(stage("L", loop))) is None
    lives = [execution for execution in run.bench.executions if execution.is_run]
    sizes = [len(json.dumps(execution._payload)) for execution in lives[2:]]
    assert len(lives) > 20
    assert max(sizes) - min(sizes) < 400
    assert run.bench.clock == 600


def test_more_to_undo_than_can_be_carried_along_fails_the_run_which_is_undone(monkeypatch):
    monkeypatch.setattr(interpreter, "MAX_SAGA", 5)
    body = (stage("a", call("double", "$.loop.index"), compensation=undo("undo", "$.loop.index")),)
    run = Runner({"double": double, "undo": lambda taken: taken})

    with pytest.raises(InvalidError, match=r"\$\.a\.compensation: there are more than 5 stages to undo"):
        run(plan(stage("L", Loop(body=body, limit=None))))
    assert [taken for name, taken in run.bench.calls if name == "undo"] == [5, 4, 3, 2, 1, 0]


def test_progress_is_shown_however_many_stages_there_are_and_however_long_their_errors():
    long = "x" * 44
    stages = [
        stage(
            f"{long}{n:03}",
            call("refuse", n),
            [f"{long}{n - 1:03}"] if n else [],
            **({} if n == 149 else {"on_error": "collect"}),
        )
        for n in range(150)
    ]

    def refuse(_taken):
        raise ValueError("é" * 100_000)

    run = Runner({"refuse": refuse})
    with pytest.raises(StepFailedError):
        run(plan(*stages))
    assert max(len(dump(each)) for each in run.bench.published) <= 16_384
    assert run.shown[f"{long}149"]["status"] == "failed"
    assert len(run.shown) + run.bench.published[-1]["more"] == 150
    assert len(run.shown) > 75


# undoing


def test_a_stage_that_failed_is_not_undone_though_the_run_went_on():
    run = Runner({"refuse": refuse, "undo": lambda taken: taken, "double": double})
    stages = (
        stage("a", call("refuse"), on_error="collect", compensation=undo("undo", "{{ 'a' }}")),
        stage("b", call("double", 1), ["a"], compensation=undo("undo", "{{ 'b' }}")),
        stage("c", call("refuse"), ["b"]),
    )

    with pytest.raises(StepFailedError):
        run(plan(*stages))
    assert [taken for name, taken in run.bench.calls if name == "undo"] == ["b"]


def test_what_undoes_a_stage_has_fallbacks_and_errors_of_its_own():
    route = Route(
        targets={"x": Target("activity", "refuse"), "y": Target("activity", "undo")}, fallback=("x", "y")
    )
    how = Compensation(route=route, input=None, retry=None)
    picky = Call(route=Route(default=Target("activity", "double"), fallback_on=frozenset({"Other"})))
    run = Runner({"refuse": refuse, "undo": lambda taken: taken, "double": double})

    with pytest.raises(StepFailedError):
        run(plan(stage("a", picky, compensation=how), stage("b", call("refuse"), ["a"])), 4)
    assert run.bench.calls[-1] == ("undo", 8)


def test_an_actor_needs_an_id():
    work = Call(route=Route(default=Target("actor", "Counter")), actor=expression("$.nobody"))

    with pytest.raises(InvalidError, match=r"\$\.a\.actorId: gives null, but the id of an actor is text"):
        Runner({"Counter": double})(plan(stage("a", work)))


# taking up again


def flaky(working):
    def work(taken):
        if not working:
            raise ValueError("not yet")
        return taken

    return work


@pytest.mark.parametrize("limit", [1, 5, 400])
def test_a_run_is_taken_up_in_loops_branches_and_pipelines_within(monkeypatch, limit):
    monkeypatch.setattr(session, "LIMIT", limit)
    working = []

    def work(taken):
        if taken == [1, "y"] and not working:
            raise ValueError("not yet")
        return taken

    plans = {
        "sub": plan(stage("x", call("work", ["$.n", "x"])), stage("y", call("work", ["$.n", "y"]), ["x"]))
    }
    branch = (stage("sub", Call(route=inner("sub").route, input=expression({"n": "$.loop.index"}))),)
    other = (stage("other", call("work", "{{ 'other' }}")),)
    body = (stage("both", Parallel(branches=(branch, other))),)
    main = plan(stage("rounds", Loop(body=body, items=expression([7, 8, 9]), collect=True)))
    activities = {"work": work}
    run = Runner(activities, plans=plans)
    with pytest.raises(StepFailedError):
        run(main)
    twice, failed = Runner(activities, plans=plans), json.loads(json.dumps(run.last))
    del failed["failure"], failed["definition"]
    with pytest.raises(StepFailedError):
        twice(main, **failed)
    working.append(True)

    again, output = rewound(twice, main, activities)

    assert output == [[[n, "y"], "other"] for n in range(3)]
    calls = [taken for bench in (run.bench, twice.bench, again.bench) for _, taken in bench.calls]
    assert calls.count([1, "x"]) == 1
    assert calls.count([1, "y"]) == 3
    assert len(calls) == 9 + 2
    for name in ("both", "sub", "sub/x", "sub/y", "other"):
        assert [again.shown[name][key] for key in ("status", "done", "total", "failed")] == [
            "completed",
            3,
            3,
            0,
        ]


def test_deadlines_begin_anew_when_a_run_is_taken_up():
    working = []
    body = (wait("w", seconds=30), stage("f", call("flaky", 1), ["w"]))
    plans = {"sub": plan(stage("L", Loop(body=body, items=expression([1, 2]))))}
    main = plan(stage("sub", inner("sub"), timeout=70))
    run = Runner({"flaky": flaky(working)}, plans=plans)
    with pytest.raises(StepFailedError):
        run(main)
    working.append(True)
    again, output = rewound(run, main, {"flaky": flaky(working)}, duration=lambda *_: 15.0)

    assert output == 1
    assert again.bench.clock == run.bench.clock + 100 + 60


# stopping gracefully


def test_what_stands_beside_a_wait_that_is_cut_short_ends_first():
    body = (
        stage("a", call("double", 1)),
        wait("w", "never", after=["a"]),
        stage("b", call("double", 2), ["a"]),
        stage("c", call("double", 3), ["b"]),
        stage("d", call("double", 4), ["w"]),
    )
    run = Runner({"double": double}, events=[(5, session.STOP, None)], duration=lambda *_: 10.0)

    run(plan(stage("L", Loop(body=body, limit=None)), value("end", 1, ["L"])))
    assert [taken for _, taken in run.bench.calls] == [1, 2, 3]
    assert run.bench.stopped == []
    assert run.shown["w"]["status"] == "skipped"


def test_a_wait_in_a_pipeline_within_a_loop_is_cut_short_too():
    plans = {"sub": plan(wait("w", "never"))}
    run = Runner({}, plans=plans, events=[(5, session.STOP, None), (6, session.STOP, None)])

    assert run(plan(stage("L", Loop(body=(stage("s", inner("sub")),), limit=None)))) is None
    assert run.bench.clock == 5


def test_a_branch_that_fails_is_told_though_another_is_cut_short():
    body = (stage("P", Parallel(branches=((wait("w", "never"),), (stage("bad", call("refuse")),)))),)
    run = Runner({"refuse": refuse}, events=[(5, session.STOP, None)], duration=lambda *_: 10.0)

    with pytest.raises(StepFailedError, match="1 of 2 branches failed"):
        run(plan(stage("L", Loop(body=body, limit=None))))


# keys


def test_undoing_a_pipeline_within_has_another_key_than_its_stages():
    plans = {"sub": plan(stage("undo", call("double", 1)))}
    run = Runner({"double": double, "undo": lambda taken: taken, "refuse": refuse}, plans=plans)
    main = plan(stage("a", inner("sub"), compensation=undo("undo")), stage("b", call("refuse"), ["a"]))

    with pytest.raises(StepFailedError):
        run(main)
    keys = [one.key for each in run.bench.executions for one in each.issued if isinstance(one, CallActivity)]
    assert len(set(keys)) == len(keys) == 3


# whatever the plan


@settings(max_examples=80, deadline=None)
@given(
    random=st.randoms(use_true_random=False),
    seed=st.integers(0, 99),
    limit=st.sampled_from([1, 3, 400]),
    when=st.floats(0, 40),
)
def test_a_run_that_is_cancelled_at_any_moment_is_undone_and_begins_nothing_more(random, seed, limit, when):
    plans = Plans(random)
    main = plans.plan()
    note(plans.told(main))
    world = World(plans, main, seed=seed, events=[(when, session.CANCEL, None)] * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "LIMIT", limit)
        try:
            world.run()
        except CancelledError:
            pass
        else:
            return
    names = [name for name, _ in world.bench.calls]
    first = names.index("undo") if "undo" in names else len(names)
    assert set(names[first:]) <= {"undo"}
    assert {count for (_, key), count in world.keys.items() if key.endswith("/!undo")} <= {1}
    order = undone(world)
    assert order == sorted(order, reverse=True)
    assert "running" not in {stage["status"] for stage in world.bench.published[-1]["stages"].values()}
    state = [execution for execution in world.bench.executions if execution.is_run][-1]._payload["state"]
    assert not state["saga"]


def undone(world):
    """When the stages were done that are undone, in the order of their undoing; those that ran but once."""
    last = world.bench.published[-1]
    stages = [last["stages"][told["stage"]] for told in last.get("compensations", ())]
    return [stage["finished"] for stage in stages if stage["total"] == 1]


@settings(max_examples=80, deadline=None)
@given(
    random=st.randoms(use_true_random=False), seed=st.integers(0, 99), limit=st.sampled_from([1, 3, 400]),
    parts=st.lists(st.floats(0, 20), min_size=1, max_size=3),
)  # fmt: skip
def test_a_run_that_is_cancelled_and_taken_up_ends_as_if_it_never_had_been(random, seed, limit, parts):
    plans = Plans(random, undoes=False)
    main = plans.plan()
    note(plans.told(main))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "LIMIT", limit)
        world = World(plans, main, seed=seed)
        output, counts, keys = world.run(), world.counts, set(world.keys)
        more, seen = {}, set()
        for when in [*parts, None]:
            events = [] if when is None else [(when, session.CANCEL, None)]
            world = World(plans, main, seed=seed, events=events)
            try:
                result = world.run(**more)
                break
            except LoomError:
                more = json.loads(json.dumps(world.bench.executions[-1]._payload))
                del more["failure"]
                seen |= {key for key in world.keys if key[0] == "CallActivity"}
    assert (result, world.counts) == (output, counts)
    assert set(world.keys) | seen >= {key for key in keys if key[0] == "CallActivity"}
    assert all(not isinstance(one, Stop) for one in world.bench.executions[-1].issued) or seen
