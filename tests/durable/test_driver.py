import itertools
from datetime import UTC, datetime

import pytest

from loom_core.errors import (
    ConflictError,
    InvalidError,
    SandboxError,
    StepFailedError,
    TimedOutError,
    UnavailableError,
)
from loom_core.wire.commands import (
    All,
    AnyOf,
    CallActivity,
    CallActor,
    CallBatch,
    CallEntity,
    ContinueAsNew,
    Now,
    Publish,
    RunProgram,
    SendEvent,
    Sleep,
    Stop,
    WaitEvent,
    Window,
)

BEGUN = datetime(2027, 1, 1, 0, 0, 0, 1_000, tzinfo=UTC).timestamp()
"""When the first dispatch of a run is."""


def double(kind, payload):
    return payload["input"] * 2


def call(value):
    return CallActivity("double", value)


def test_a_program_is_sent_the_result_of_each_command(play):
    def program(payload):
        first = yield call(payload)
        second = yield call(first)
        return [first, second]

    assert play(program, 1, answer=double).output == [2, 4]


def test_a_program_without_commands_completes_at_once(play):
    def program(payload):
        return payload + 1
        yield

    run = play(program, 1)

    assert (run.output, run.dispatches) == (2, 1)


def test_an_activity_call_carries_the_run_and_a_key_of_its_own(play):
    def program(_):
        yield call(1)
        yield CallBatch("double", (1, 2))

    run = play(program, answer=lambda kind, payload: None)

    (_, one), (_, batch) = run.log
    assert one.pop("at") < batch.pop("at"), "when the orchestration scheduled it"
    assert one == {"activity": "double", "input": 1, "run": "run-1", "key": "run-1:1"}
    assert batch == {
        "activity": "double",
        "inputs": [1, 2],
        "run": "run-1",
        "keys": ["run-1:2/0", "run-1:2/1"],
    }


def test_nested_programs_are_branches(play):
    def inner(value):
        result = yield call(value)
        return result + 1

    def program(_):
        one = yield inner(1)
        both = yield All((inner(2), call(5)))
        return [one, *both]

    assert play(program, answer=double).output == [3, 5, 10]


def test_all_of_nothing_and_a_window_over_nothing_end_at_once(play):
    def program(_):
        return [(yield All(())), (yield Window((), width=3))]

    run = play(program)

    assert (run.output, run.dispatches) == ([[], []], 1)


@pytest.mark.parametrize("width", [1, 3, 250])
def test_a_window_keeps_results_in_order(play, width):
    def program(count):
        return (yield Window((call(i) for i in range(count)), width=width))

    assert play(program, 30, answer=double).output == [2 * i for i in range(30)]


def test_a_window_keeps_exactly_its_width_in_flight(backend):
    def program(_):
        return (yield Window((call(i) for i in range(10)), width=4))

    run = backend(program)
    run.dispatch()
    widths = []
    while run.status is None:
        widths.append(len(run.open))
        run.complete(min(run.open))
        run.dispatch()

    assert widths == [4, 4, 4, 4, 4, 4, 4, 3, 2, 1]


def test_a_window_runs_programs_and_instant_steps_side_by_side(play):
    def instant(value):
        yield Now()
        return value

    def slow(value):
        yield Sleep(1)
        return (yield call(value))

    def program(_):
        return (yield Window((slow(i) if i % 3 else instant(i) for i in range(9)), width=2))

    assert play(program, answer=double).output == [0, 2, 4, 3, 8, 10, 6, 14, 16]


def fail_on(value):
    def answer(kind, payload):
        if payload["input"] == value:
            raise ValueError(f"no {value}")
        return payload["input"]

    return answer


def test_the_first_failure_of_a_window_is_thrown_and_no_further_step_starts(backend):
    def program(_):
        try:
            yield Window((call(i) for i in range(100)), width=3)
        except StepFailedError as error:
            return str(error)

    run = backend(program, answer=fail_on(1)).play()

    assert run.output == "double: ValueError: no 1"
    assert len(run.log) == 4


def test_a_collecting_window_puts_failures_in_their_place(play):
    def program(_):
        results = yield Window((call(i) for i in range(4)), width=2, collect=True)
        return [str(r) if isinstance(r, StepFailedError) else r for r in results]

    assert play(program, answer=fail_on(2)).output == [0, 1, "double: ValueError: no 2", 3]


def test_all_throws_the_first_failure_while_others_are_still_running(backend):
    def program(_):
        try:
            yield All((call(1), call(2), Sleep(3600)))
        except StepFailedError as error:
            return error.error_type

    run = backend(program, answer=fail_on(1))
    run.dispatch()
    run.complete(min(run.open))
    run.dispatch()

    assert (run.status, run.output) == ("completed", "ValueError")


def test_late_results_of_abandoned_branches_start_nothing(backend):
    def slow(value):
        yield call(value)
        yield call("never")

    def program(_):
        index, _result = yield AnyOf((call(1), slow(2)))
        yield Sleep(1)
        return index

    run = backend(program, answer=lambda kind, payload: None).play(coalesced=True)

    assert run.output == 0
    assert [payload["input"] for kind, payload in run.log if kind == "activity"] == [1, 2]


def test_an_abandoned_wait_does_not_take_the_event(backend):
    def program(_):
        yield AnyOf((WaitEvent("go"), call(1)))
        return (yield WaitEvent("go"))

    run = backend(program)
    run.dispatch()
    run.complete(min(run.open))
    run.dispatch()
    run.raise_event("go", "second")
    run.dispatch()

    assert run.output == "second"


def test_a_failing_program_fails_the_run_with_its_error(play):
    def program(_):
        yield call(1)

    run = play(program, answer=fail_on(1))

    assert run.status == "failed"
    assert run.failure.errorType == "loom_core.errors.StepFailedError"
    assert run.failure.errorMessage == "double: ValueError: no 1"


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (ValueError("x"), True),
        (InvalidError("x"), False),
        (SandboxError("x"), False),
        (TimedOutError("x"), True),
    ],
)
def test_the_class_of_an_error_says_whether_a_retry_can_help(play, error, retryable):
    def program(_):
        try:
            yield call(1)
        except StepFailedError as failed:
            return [failed.step, failed.error_type, failed.can_retry]

    def answer(kind, payload):
        raise error

    assert play(program, answer=answer).output == ["double", type(error).__name__, retryable]


def test_a_users_error_class_of_the_same_name_is_not_ours(play):
    class ConflictError(Exception):
        pass

    def program(_):
        try:
            yield call(1)
        except StepFailedError as failed:
            return failed.can_retry

    def answer(kind, payload):
        raise ConflictError

    assert play(program, answer=answer).output is True


def test_a_timeout_throws_timed_out_error(backend):
    def program(_):
        try:
            yield CallActivity("slow", 1, timeout=5)
        except TimedOutError as error:
            return str(error)

    run = backend(program)
    run.dispatch()
    timer = next(n for n, (kind, *_) in run.open.items() if kind == "timer")
    run.complete(timer)
    run.dispatch()

    assert run.output == "slow took longer than 5 s"


def test_a_call_that_makes_it_in_time_ignores_its_timer(backend):
    def program(_):
        first = yield CallActivity("quick", 1, timeout=5)
        yield Sleep(60)
        return first

    run = backend(program)
    run.dispatch()
    run.complete(min(run.open))
    run.dispatch()
    while run.status is None:
        run.complete(min(run.open))
        run.dispatch()

    assert run.output == 1


def test_sleeps_and_now_follow_the_durable_clock(play):
    def program(_):
        before = yield Now()
        yield Sleep(90)
        return (yield Now()) - before

    assert play(program).output == pytest.approx(90, abs=1)


def test_an_event_that_came_early_is_waiting(backend):
    def program(_):
        yield call(1)
        return (yield WaitEvent("go"))

    run = backend(program)
    run.raise_event("go", {"ok": True})

    assert run.play().output == {"ok": True}


@pytest.mark.parametrize("seconds", [0, 3])
def test_waiting_for_an_event_times_out(play, seconds):
    def program(_):
        try:
            yield WaitEvent("go", timeout=seconds)
        except TimedOutError:
            return "late"

    assert play(program).output == "late"


def test_a_child_program_runs_as_a_sub_orchestration_with_an_id_of_its_own(play):
    def program(_):
        return (yield All(tuple(RunProgram("lane", i) for i in range(2))))

    run = play(program, answer=lambda kind, payload: payload["payload"])

    assert run.output == [0, 1]
    assert run.log == [
        (
            "child",
            {"program": "lane", "payload": i, "run": "run-1", "at": BEGUN, "instance": f"sub-1-{i + 1}"},
        )
        for i in range(2)
    ]


def test_all_work_of_a_child_counts_as_scheduled_with_it_unless_it_is_graceful(backend):
    def program(_):
        child = yield RunProgram("lane", 1)
        graceful = yield RunProgram("lane", 1, graceful=True)
        return [child.get("at"), graceful.get("at")]

    assert backend(program, answer=lambda kind, payload: payload).play().output == [BEGUN, None]

    def lane(_):
        yield Sleep(60)
        yield AnyOf((call(1), RunProgram("lane", 2), WaitEvent("go")))

    run = backend(lane, at=5.0)
    run.dispatch()
    run.complete(next(iter(run.open)))
    run.dispatch()

    assert [payload["at"] for kind, payload in run.log if kind != "timer"] == [5.0, 5.0]


def test_the_failure_of_a_childs_step_is_reported_as_that_step(play):
    def program(_):
        try:
            yield RunProgram("lane", 1)
        except StepFailedError as failed:
            return [failed.step, failed.error_type, failed.message, failed.can_retry]

    def answer(kind, payload):
        raise StepFailedError("parse", "SandboxError", "out: of fuel")

    assert play(program, answer=answer).output == ["parse", "SandboxError", "out: of fuel", False]


def test_ids_of_deep_descendants_stay_within_the_backends_limit():
    from loom_core.durable.driver import child_id

    name = "run-" + "a" * 26
    for depth in range(50):
        parent, name = name, child_id(f"{name}:{depth}")

        assert len(name) <= 100
        assert name.startswith("sub-")
        assert name != parent


def test_the_last_published_status_is_part_of_every_dispatch(backend):
    def program(_):
        yield Publish({"seq": 1})
        yield call(1)
        yield Publish({"seq": 2})
        yield WaitEvent("go")

    run = backend(program)
    run.dispatch()
    seen = [run.custom]
    run.complete(min(run.open))
    run.dispatch()
    seen.append(run.custom)
    run.raise_event("nobody waits for this", 1)
    run.dispatch()
    seen.append(run.custom)

    assert seen == [{"seq": 1}, {"seq": 2}, {"seq": 2}]


def test_continue_as_new_starts_over_with_an_empty_history(backend):
    def program(n):
        result = yield call(n)
        if n < 3:
            yield ContinueAsNew(n + 1)
            raise AssertionError("nothing runs after it")
        return result

    run = backend(program, 0, answer=double).play()

    assert (run.output, run.generations) == (6, 4)
    assert [payload["key"] for _, payload in run.log] == ["run-1:1", "run-1:2", "run-1:3", "run-1:4"]


def test_continue_as_new_from_within_branches_ends_all_of_them(backend):
    def branch(n, index):
        yield call(index)
        if n == 0:
            yield ContinueAsNew(1)
        return index

    def program(n):
        return (yield All(tuple(branch(n, index) for index in range(3))))

    for coalesced in (False, True):
        run = backend(program, 0).play(coalesced=coalesced)

        assert (run.output, run.generations) == ([0, 1, 2], 2)


def test_continue_as_new_as_the_first_command_carries_events_over(backend):
    def program(n):
        if n == 0:
            yield ContinueAsNew(1)
        return (yield WaitEvent("go"))

    run = backend(program, 0)
    run.raise_event("go", "carried")

    assert run.play().output == "carried"


def test_long_chains_of_instant_commands_do_not_recurse(play):
    def leaf():
        yield Now()
        return 1

    def program(_):
        total = 0
        for i in range(5000):
            yield Publish({"seq": i})
            total += yield leaf()
            total += len((yield All((leaf(), leaf()))))
        wide = yield Window((leaf() for _ in range(5000)), width=2)
        return total + len(wide)

    run = play(program)

    assert (run.output, run.dispatches) == (20000, 1)


def test_deeply_nested_programs_do_not_recurse(play):
    def nested(depth):
        if depth:
            return (yield nested(depth - 1)) + 1
        return (yield call(0))

    def program(_):
        return (yield nested(3000))

    assert play(program, answer=double).output == 3000


def test_what_is_not_json_is_refused_where_it_is_yielded(play):
    def program(_):
        refused = []
        for value in ({1, 2}, object(), b"x"):
            try:
                yield call(value)
            except InvalidError:
                refused.append(type(value).__name__)
        return refused

    assert play(program).output == ["set", "object", "bytes"]


@pytest.mark.parametrize("output", [{1, 2}, float("nan")])
def test_an_output_that_is_not_json_fails_the_run(play, output):
    def program(_):
        yield Now()
        return output

    assert play(program).status == "failed"


@pytest.mark.parametrize(
    "step", ["not a command", AnyOf(()), Window((), width=0), Sleep(float("nan")), Sleep(1e300)]
)
def test_nonsense_is_thrown_into_the_program_that_yielded_it(play, step):
    def program(_):
        try:
            yield step
        except (TypeError, InvalidError):
            return "refused"

    assert play(program).output == "refused"


def test_an_unknown_program_fails_the_run(backend):
    run = backend(lambda _: iter(()))
    run.inbox[0].executionStarted.input.value = '{"program": "other", "payload": null}'
    run.dispatch()

    assert (run.status, run.failure.errorMessage) == ("failed", "$: no program is called 'other'")


def test_the_status_outlives_continue_as_new(backend):
    def program(n):
        if n == 0:
            yield Publish({"seq": 7})
            yield ContinueAsNew(1)
        yield WaitEvent("go")

    run = backend(program, 0)
    run.dispatch()
    run.dispatch()

    assert (run.generations, run.custom) == (2, {"seq": 7})


def test_a_status_that_is_too_large_is_left_out_and_says_so(backend):
    def program(_):
        yield Publish({"text": "x" * 20_000})

    run = backend(program)
    run.dispatch()

    assert run.custom == {"omitted": "20011 characters"}


def test_another_version_of_the_sdk_is_refused_with_the_supported_one():
    from loom_core.sdk import versions as sdk

    with pytest.raises(RuntimeError, match=r"durabletask==1.12.0 and .*installed: durabletask==1.13.0"):
        sdk.check({**sdk.SUPPORTED, "durabletask": "1.13.0"})


def test_an_activity_is_told_its_strategy(play):
    def program(_):
        yield CallActivity("double", 1, strategy="fast")
        yield CallActivity("double", 1)

    run = play(program)

    assert [payload.get("strategy") for _, payload in run.log] == ["fast", None]


def calls_an_actor(_):
    try:
        return (yield CallActor("Agent", "a", 1, key="k"))
    except StepFailedError as error:
        return [error.step, error.error_type, error.message]


def test_calling_an_actor_delivers_a_message_and_gives_its_answer(play):
    run = play(
        calls_an_actor, answer=lambda _kind, _asked: [{"messageId": "k", "status": "done", "result": 7}]
    )

    [(kind, asked)] = run.log
    [message] = asked["input"]["messages"]
    assert (kind, asked["to"], asked["operation"], run.output) == ("entity", "@agent@a", "deliver", 7)
    assert (message["messageId"], message["actorId"], message["payload"]) == ("k", "Agent/a", 1)
    assert message["metadata"]["sender"] == "run-1"


def test_an_actor_that_takes_its_time_answers_with_an_event(backend):
    run = backend(calls_an_actor, answer=lambda _kind, _asked: [{"messageId": "k", "status": "accepted"}])
    run.dispatch()
    [(number, (_, asked, _))] = run.open.items()
    run.complete(number)
    run.dispatch()
    assert run.status is None
    reply = asked["input"]["messages"][0]["metadata"]["replyTo"]
    assert reply["instance"] == "run-1"
    run.raise_event(reply["event"], {"status": "done", "result": 8})
    run.dispatch()

    assert run.output == 8


def test_what_an_actor_could_not_do_fails_the_step(play):
    error = {"type": "ValueError", "message": "no", "retryable": False}
    answer = [{"messageId": "k", "status": "failed", "error": error}]

    assert play(calls_an_actor, answer=lambda _kind, _asked: answer).output == ["Agent/a", "ValueError", "no"]


def test_an_entity_whose_store_is_out_is_asked_again_and_any_other_failure_is_thrown(play):
    errors = itertools.cycle([UnavailableError("out"), UnavailableError("out"), ConflictError("no")])

    def answer(kind, _asked):
        if kind == "entity":
            raise next(errors)

    def program(_):
        try:
            yield CallEntity("Agent", "a", "turn", {})
        except StepFailedError as error:
            return error.error_type

    run = play(program, answer=answer)

    assert run.output == "ConflictError"
    assert [kind for kind, _ in run.log] == ["entity", "timer", "entity", "timer", "entity"]


def test_an_event_is_sent_to_another_instance_and_not_waited_for(play):
    def program(_):
        return (yield SendEvent("run-2", "hello", {"n": 1}))

    run = play(program)

    assert (run.sent, run.output) == ([("run-2", "hello", {"n": 1})], None)


@pytest.mark.parametrize(
    ("scope", "asked"), [("", ["a", "a/1", "ab", ""]), ("a", ["a", "a/1"]), ("a/1", ["a/1"]), ("b", [])]
)
def test_a_stop_names_the_children_of_its_scope_that_go_on(backend, scope, asked):
    keys = ["a", "a/1", "ab", "", "a/2"]

    def program(_):
        work = All(tuple(RunProgram("lane", key, key=key) for key in keys))
        yield AnyOf((work, RunProgram("lane", "a/2 too"), WaitEvent("go")))
        yield Stop(scope)
        return "stopped"

    run = backend(program)
    run.dispatch()
    names = {payload["instance"]: payload["payload"] for _, payload, _ in run.open.values()}
    run.complete(next(n for n, (_, payload, _) in run.open.items() if payload["payload"] == "a/2"))
    run.dispatch()
    run.complete(next(n for n, (_, payload, _) in run.open.items() if payload["payload"] == "a/2 too"))
    run.dispatch()
    (work,) = [payload for kind, payload in run.log if kind == "activity"]
    run.complete(next(n for n, (kind, _, _) in run.open.items() if kind == "activity"))
    run.dispatch()

    assert (work["run"], work["scope"], run.output) == ("run-1", scope, "stopped")
    assert [names[child["id"]] for child in work["children"]] == asked
    assert not any(child["graceful"] for child in work["children"])


def test_a_wait_that_begins_where_one_for_the_same_event_ends_hears_of_the_next(backend):
    def program(_):
        return [(yield WaitEvent("go")), (yield WaitEvent("go")), (yield WaitEvent("go"))]

    run = backend(program)
    run.dispatch()
    for number in (1, 2, 3):
        run.raise_event("go", number)
        run.dispatch()

    assert run.output == [1, 2, 3]


def test_an_event_may_end_others_that_wait_for_it(backend):
    def fails():
        yield WaitEvent("go")
        raise InvalidError("what came is wrong")

    def program(_):
        try:
            yield All((fails(), WaitEvent("go")))
        except InvalidError as error:
            return str(error)

    run = backend(program)
    run.dispatch()
    run.raise_event("go", None)
    run.dispatch()

    assert run.output == "$: what came is wrong"


def test_a_graceful_child_is_to_cancel_itself(backend):
    def program(_):
        graceful = RunProgram("any", 1, key="a", graceful=True)
        yield AnyOf((graceful, RunProgram("lane", 2, key="a"), WaitEvent("go")))
        yield Stop("a")

    run = backend(program)
    run.dispatch()
    run.raise_event("go", None)
    run.dispatch()

    assert [child["graceful"] for child in run.log[-1][1]["children"]] == [True, False]
