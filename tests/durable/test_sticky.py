"""Every dispatch of these tests is compared with a full replay: see conftest."""

import threading
from datetime import timedelta

import durabletask.internal.helpers as make
import durabletask.internal.orchestrator_service_pb2 as pb
import pytest
from azure.durable_functions.worker import DurableFunctionsWorker
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import LoomError
from loom_core.sdk import sticky as sdk
from loom_core.sdk.kept import Kept
from loom_core.wire import commands as c

LEAVES = st.one_of(
    st.builds(lambda n: ("call", n), st.integers(0, 9)),
    st.builds(lambda n, s: ("late call", n, s), st.integers(0, 9), st.integers(0, 3)),
    st.builds(lambda n: ("child", n), st.integers(0, 9)),
    st.builds(lambda s: ("sleep", s), st.integers(0, 5)),
    st.builds(lambda n, s: ("event", n, s), st.sampled_from("ab"), st.integers(0, 5)),
    st.sampled_from([("now",), ("publish",)]),
)
STEPS = st.recursive(
    LEAVES,
    lambda steps: st.builds(
        lambda kind, steps: (kind, steps),
        st.sampled_from(["in turn", "all", "any", "window", "collect"]),
        st.lists(steps, min_size=1, max_size=4),
    ),
    max_leaves=10,
)


def in_turn(steps):
    seen = []
    for each in steps:
        try:
            seen.append(repr((yield step(each))))
        except LoomError as error:
            seen.append(repr(error))
        yield c.Publish({"seen": seen[-1][:200]})
    return seen


STEP = {
    "call": lambda n: c.CallActivity("work", n),
    "late call": lambda n, seconds: c.CallActivity("work", n, timeout=seconds),
    "child": lambda n: c.RunProgram("child", n),
    "sleep": c.Sleep,
    "event": lambda name, seconds: c.WaitEvent(name, timeout=seconds),
    "now": c.Now,
    "publish": lambda: c.Publish({"seen": "ok"}),
    "all": lambda steps: c.All(tuple(map(step, steps))),
    "any": lambda steps: c.AnyOf(tuple(map(step, steps))),
    "window": lambda steps: c.Window(map(step, steps), 2),
    "collect": lambda steps: c.Window(map(step, steps), 2, collect=True),
    "in turn": in_turn,
}


def step(spec):
    kind, *given = spec
    return STEP[kind](*given)


def program(payload):
    seen = yield in_turn(payload["steps"])
    if payload["generations"]:
        yield c.ContinueAsNew(payload | {"generations": payload["generations"] - 1})
    return seen


def answer(_kind, payload):
    value = payload.get("input", payload.get("payload"))
    if value % 3 == 0:
        raise ValueError(f"no {value}")
    return value


def happen(backend, random):
    """Let something happen to the run, in any order the world may choose."""
    match random.choice(["work", "work", "work", "event", "pause", "dispatch", "loss", "restart"]):
        case "work" if backend.open:
            backend.complete(random.choice(sorted(backend.open)))
        case "event":
            backend.raise_event(random.choice("ab"), random.randrange(9))
        case "pause":
            backend.inbox.append(random.choice([make.new_suspend_event, make.new_resume_event])())
        case "dispatch":
            backend.dispatch()
        case "loss":
            backend.dispatch(lost=True)
        case "restart":
            backend.restart()


@settings(deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=4), generations=st.integers(0, 1), random=st.randoms())
def test_whatever_happens_a_kept_program_asks_for_what_a_replay_asks_for(backend, steps, generations, random):
    run = backend(program, {"steps": steps, "generations": generations}, answer=answer)
    for _ in range(40):
        happen(run, random)
        if run.status is not None:
            return
    run.inbox.append(make.new_resume_event())
    for _ in range(1_000):
        for number in sorted(run.open):
            run.complete(number)
        run.dispatch()
        if run.status is not None:
            return
    raise AssertionError("the run does not end")


def ten_calls(_):
    results = []
    for n in range(10):
        results += [(yield c.CallActivity("work", n))]
    return results


def after(backend, dispatches):
    """A run of ten calls that has seen so many dispatches, with the next result under way."""
    run = backend(ten_calls)
    for _ in range(dispatches):
        run.dispatch()
        run.complete(*run.open)
    return run


def test_a_waiting_program_goes_on_where_it_was(backend):
    run = backend(ten_calls).play()

    assert (run.output, run.dispatches, run.begun) == (list(range(10)), 11, 1)


def test_a_lost_dispatch_is_replayed(backend):
    run = after(backend, 4)

    run.dispatch(lost=True)
    run.dispatch()

    assert run.begun == 2
    assert run.play().output == list(range(10))


def test_a_dispatch_that_another_process_did_is_caught_up_with(backend):
    run = after(backend, 4)
    here, run._worker = run._worker, DurableFunctionsWorker()
    run.dispatch()
    run.complete(*run.open)
    begun, run._worker = run.begun, here
    run.dispatch()

    assert run.begun == begun
    assert run.play().output == list(range(10))


def test_a_history_that_was_rewritten_is_replayed(backend):
    run = after(backend, 4)
    run.past[-3] = make.new_orchestrator_started_event(run.now + timedelta(seconds=1))

    run.dispatch()

    assert run.begun == 2


def test_a_rewound_history_is_replayed_although_its_end_is_as_it_was(backend):
    run = after(backend, 4)
    run.inbox.append(pb.HistoryEvent(eventId=-1, genericEvent=pb.GenericEvent()))

    run.dispatch()

    assert run.begun == 2
    assert run.play().output == list(range(10))


def test_the_same_instance_in_another_execution_begins_anew(backend):
    run = after(backend, 4)
    run.past[1].executionStarted.orchestrationInstance.executionId.value = "another"

    run.dispatch()

    assert run.begun == 2


def test_a_suspended_program_is_not_kept(backend):
    run = after(backend, 4)
    run.inbox.insert(0, make.new_suspend_event())
    run.dispatch()
    assert not run.open
    run.inbox.append(make.new_resume_event())
    run.dispatch()
    assert run.begun == 3

    run.play()

    assert (run.output, run.begun) == (list(range(10)), 3)


def test_a_program_that_is_suspended_twice_is_resumed_by_one_resume(backend):
    run = after(backend, 4)
    run.inbox[:0] = [make.new_suspend_event(), make.new_suspend_event()]
    run.dispatch()
    run.inbox.append(make.new_resume_event())

    assert run.play().output == list(range(10))


def test_a_program_that_has_ended_is_let_go(backend, monkeypatch):
    kept = Kept(100, 1 << 20)
    monkeypatch.setattr(sdk.StickyExecutor, "kept", kept)
    run = after(backend, 4)
    assert len(kept) > 0
    registry = run._worker._registry

    run.play()

    assert kept.take((registry, run.instance)) is None


@pytest.mark.parametrize("bounds", [(0, 1 << 20), (100, 0)])
def test_without_room_every_dispatch_is_a_replay(backend, monkeypatch, bounds):
    monkeypatch.setattr(sdk.StickyExecutor, "kept", Kept(*bounds))
    run = backend(ten_calls).play()

    assert (run.output, run.begun) == (list(range(10)), 11)


def test_orchestrators_that_are_no_programs_are_replayed():
    begun = []

    def orchestrator(context, _):
        begun.append(1)
        return (yield context.call_activity("work"))

    worker = DurableFunctionsWorker()
    started = make.new_execution_started_event("orchestrator", "run-1", None)
    started.executionStarted.orchestrationInstance.executionId.value = "one"
    past = [make.new_orchestrator_started_event(), started]
    worker._run_orchestration(orchestrator, pb.OrchestratorRequest(instanceId="run-1", newEvents=past))
    past.append(make.new_task_scheduled_event(1, "work"))
    new = [make.new_orchestrator_started_event(), make.new_task_completed_event(1, "2")]
    request = pb.OrchestratorRequest(instanceId="run-1", pastEvents=past, newEvents=new)
    response = worker._run_orchestration(orchestrator, request)

    assert response.actions[0].completeOrchestration.result.value == "2"
    assert len(begun) == 2


class Thing:
    def __init__(self, size):
        self.size = size


def test_what_is_kept_stays_within_its_bounds_and_the_longest_unused_goes_first():
    kept = Kept(count=3, size=100)
    for name in "abcd":
        kept.put(name, Thing(10))
    assert kept.take("a") is None
    kept.put("b", kept.take("b"))
    kept.put("e", Thing(85))

    assert [name for name in "abcde" if kept.take(name)] == ["b", "e"]
    assert len(kept) == 0
    kept.put("large", Thing(101))
    assert kept.take("large") is None


def test_what_was_taken_is_nobody_elses():
    kept = Kept(count=8, size=100)
    taken = []

    def take():
        for n in range(1_000):
            thing = kept.take("one")
            if thing is not None:
                taken.append(n)
                thing.users += 1
                assert thing.users == 1
                thing.users -= 1
                kept.put("one", thing)

    thing = Thing(1)
    thing.users = 0
    kept.put("one", thing)
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert taken
    assert kept.take("one") is thing
