import itertools

import pytest

from loom_core.errors import StepFailedError, TimedOutError
from loom_core.testing import Bench
from loom_core.wire.commands import (
    All,
    AnyOf,
    CallActivity,
    CallBatch,
    ContinueAsNew,
    Now,
    Publish,
    RunProgram,
    Sleep,
    WaitEvent,
    Window,
)


def bench(**more):
    return Bench(
        {"echo": lambda value: value, "bad": lambda _value: 1 / 0}, duration=lambda _n, v: float(v), **more
    )


def call(seconds):
    return CallActivity("echo", seconds)


def test_all_gives_the_results_in_order_and_takes_as_long_as_the_longest():
    def program(_payload):
        return (yield All((call(3), call(1), call(2))))

    world = bench()

    assert world.run(program, {}) == [3, 1, 2]
    assert (world.clock, world.peak) == (3, 3)


def test_all_throws_the_first_failure_at_once():
    def program(_payload):
        try:
            yield All((call(9), CallActivity("bad", 1)))
        except StepFailedError as error:
            return [error.step, error.error_type, (yield Now())]

    assert bench().run(program, {}) == ["bad", "ZeroDivisionError", 1]


def test_any_of_gives_the_first_and_abandons_the_rest():
    went_on = []

    def slow():
        yield Sleep(5)
        went_on.append(True)
        yield call(1)

    def program(_payload):
        first = yield AnyOf((slow(), call(2), call(3)))
        yield Sleep(10)
        return first

    world = bench()

    assert world.run(program, {}) == [1, 2]
    assert (went_on, world.clock) == ([], 12)


def test_a_window_takes_its_steps_lazily_and_keeps_its_width():
    taken = []

    def steps():
        for n in range(6):
            taken.append(n)
            yield call(1)

    def program(_payload):
        first = yield AnyOf((Window(steps(), 2), Sleep(1.5)))
        taken.append("late")
        yield Sleep(5)
        return first

    world = bench()

    assert world.run(program, {}, replay=False) == [1, None]
    assert taken == [0, 1, 2, 3, "late"]
    assert world.peak == 2


def test_a_window_may_be_endless_and_stops_at_its_first_failure():
    def program(_payload):
        steps = (CallActivity("bad" if n == 5 else "echo", 1) for n in itertools.count())
        yield Window(steps, 3)

    world = bench()

    with pytest.raises(StepFailedError, match="bad: ZeroDivisionError"):
        world.run(program, {})
    assert len(world.calls) <= 8


def test_a_collecting_window_puts_failures_in_their_place():
    def program(_payload):
        results = yield Window([call(1), CallActivity("bad", 1), call(1)], 1, collect=True)
        return [str(result) for result in results]

    assert bench().run(program, {}) == ["1", "bad: ZeroDivisionError: division by zero", "1"]


def test_a_batch_answers_for_each_input():
    def program(_payload):
        return (yield CallBatch("half", (2, "x")))

    good, bad = Bench({"half": lambda n: n / 2}).run(program, {})

    assert good == {"ok": 1}
    assert bad["error"]["type"] == "TypeError"


@pytest.mark.parametrize("command", [CallActivity("echo", 3, timeout=2), WaitEvent("never", timeout=2)])
def test_a_command_that_takes_too_long_throws(command):
    def program(_payload):
        try:
            yield command
        except TimedOutError:
            return (yield Now())

    assert bench().run(program, {}) == 2


def test_events_are_kept_until_somebody_waits_for_them():
    def program(_payload):
        first = yield WaitEvent("go")
        yield Sleep(5)
        return [first, (yield WaitEvent("go")), (yield WaitEvent("go", timeout=9)), (yield Now())]

    world = bench(events=[(1, "go", "a"), (2, "go", "b"), (8, "go", "c")])

    assert world.run(program, {}) == ["a", "b", "c", 8]


def test_an_event_passes_by_those_who_have_given_up_waiting():
    def program(_):
        yield AnyOf((WaitEvent("go"), Sleep(1)))
        return (yield WaitEvent("go"))

    assert Bench({}, events=[(2, "go", "late")]).run(program, {}) == "late"


def test_an_event_passes_by_who_waited_before_the_program_began_anew():
    def program(payload):
        if not payload.get("again"):
            yield AnyOf((WaitEvent("go"), anew()))
        return (yield WaitEvent("go"))

    def anew():
        yield Sleep(1)
        yield ContinueAsNew({"again": True})

    assert Bench({}, events=[(2, "go", "late")]).run(program, {}) == "late"


def test_an_event_that_never_comes_is_said_instead_of_waited_for():
    def program(_payload):
        yield WaitEvent("never")

    with pytest.raises(AssertionError, match="waits for something that never happens"):
        bench().run(program, {})


def test_a_child_is_a_program_of_its_own_and_its_failure_is_a_failed_step():
    def child(payload):
        if payload["n"] == 2:
            raise ValueError("two")
        return (yield call(payload["n"]))

    def program(_payload):
        results = yield Window([RunProgram("child", {"n": n}) for n in (1, 2)], 2, collect=True)
        return [str(result) for result in results]

    assert bench(programs={"child": child}).run(program, {}) == ["1", "child: ValueError: two"]


def test_a_program_can_begin_anew():
    def program(payload):
        yield call(1)
        if payload["left"]:
            yield ContinueAsNew({"left": payload["left"] - 1})
        return "done"

    world = bench()

    assert world.run(program, {"left": 3}) == "done"
    assert len(world.calls) == 4


def test_published_documents_are_snapshots():
    def program(_payload):
        document = {"n": 0}
        for n in range(3):
            document["n"] = n
            yield Publish(document)

    world = bench()
    world.run(program, {})

    assert world.published == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_replay_that_asks_for_something_else_is_found():
    counter = itertools.count()

    def program(_payload):
        yield call(next(counter))

    with pytest.raises(AssertionError, match="issued"):
        bench().run(program, {})


def test_the_seed_decides_the_order_of_what_ends_at_the_same_moment():
    def program(_payload):
        order = []

        def one(n):
            yield CallActivity("echo", 1)
            order.append(n)

        yield All(tuple(one(n) for n in range(6)))
        return order

    orders = {tuple(bench(seed=seed).run(program, {})) for seed in range(5)}

    assert len(orders) > 1
    assert bench(seed=3).run(program, {}) == bench(seed=3).run(program, {})


def test_a_long_chain_of_instant_steps_needs_no_stack():
    def instant(n):
        yield Publish({"n": n})
        return n

    def program(_payload):
        return sum((yield Window((instant(n) for n in range(5_000)), 3)))

    assert bench().run(program, {}) == sum(range(5_000))


def test_a_program_that_continues_as_new_beside_other_work_does_so_once():
    def program(payload):
        if payload:
            return (yield CallActivity("echo", payload))
        return (yield All((again(1), again(2))))

    def again(n):
        yield ContinueAsNew(n)

    bench = Bench({"echo": lambda n: n})
    assert bench.run(program, 0) == 1
    assert bench.calls == [("echo", 1)]
