"""Steps: what they become, and how they run."""

import json
from pathlib import Path

import pytest

from loom_core.errors import InvalidError, StepFailedError, TimedOutError
from loom_core.notations import parse, pipeline_program
from loom_core.pipelines.plan import Call, Gate, Loop, Parallel, Target, Wait
from loom_core.testing import Bench

HERE = Path(__file__).parent
ONBOARDING = json.loads((HERE / "customer_onboarding.json").read_text())
EVERY = json.loads((HERE / "every_step.json").read_text())


def echo(value=None, **more):
    return {"type": "activity", "activity": "echo", "input": value, **more}


def compiled(*steps, **more):
    return parse({"name": "p", "steps": list(steps), **more})


def ran(*steps, given=None, events=(), activities=None, **more):
    """The run's output, and what the activities were called with."""
    bench = Bench({"echo": lambda value: value, **(activities or {})}, events=events)
    payload = {"run": "run-1", "definition": {"name": "p", "steps": list(steps), **more}, "input": given}
    output = bench.run(pipeline_program, payload)
    return output, [taken for _, taken in bench.calls]


def problems(*steps, **more):
    with pytest.raises(InvalidError) as caught:
        compiled(*steps, **more)
    return [(problem.path.removeprefix("$.steps"), problem.message) for problem in caught.value.problems]


def warned(*steps, **more):
    return [str(warning) for warning in compiled(*steps, **more).warnings]


# ---- the founding example


def test_the_onboarding_example_is_a_plan():
    plan = parse(ONBOARDING)
    info, account, agent, wait, notify = plan.stages

    assert (plan.name, plan.label, plan.notation, plan.warnings) == (
        "customer-onboarding",
        "1.0.0",
        "steps",
        (),
    )
    assert [stage.name for stage in plan.every_stage()] == [
        "collect-info",
        "create-account",
        "send-verification",
        "wait-verification",
        "notify-success",
        "step-6",
        "step-7",
    ]
    assert [stage.after for stage in plan.stages[1:]] == [
        {"collect-info"},
        {"create-account"},
        {"send-verification"},
        {"wait-verification"},
    ]
    assert account.work.input.evaluate({"userInfo": {"email": "a@b"}}) == {"email": "a@b"}
    assert account.compensation.route.default == Target("activity", "delete-user-account")
    assert account.compensation.input.evaluate({"account": {"userId": 7}}) == 7
    assert (info.output, account.output) == ("userInfo", "account")
    assert agent.work.route.default == Target("agent", "email-verification-agent")
    assert (wait.work.event.evaluate({}), wait.timeout) == ("email_verified", 3600)
    assert [[stage.name for stage in branch] for branch in notify.work.branches] == [["step-6"], ["step-7"]]


def test_every_type_of_step_has_its_work():
    plan = parse(EVERY)
    stages = {stage.name: stage for stage in plan.every_stage()}
    works = {name: type(stage.work) for name, stage in stages.items()}

    assert (works["stock"], works["each"], works["tell"], works["pause"]) == (Call, Loop, Parallel, Wait)
    assert stages["pay"].work.route.default == Target("actor", "Ledger")
    assert stages["pay"].work.actor.evaluate({"orders": [{"customer": "c1"}]}) == "c1"
    assert stages["pay"].compensation.actor.evaluate({"orders": [{"customer": "c1"}]}) == "c1"
    assert stages["ship"].work.route.default == Target("pipeline", "shipping@1.0.0")
    assert (stages["stock"].timeout, stages["stock"].on_timeout) == (5, "skip")
    assert stages["stock"].retry.backoff_ms == (100, 200)
    assert (stages["poll"].work.limit, stages["each"].work.limit) == (None, 500)
    assert plan.timeout == 86_400
    assert plan.warnings == ()


# ---- one after the other


def test_steps_run_one_after_the_other_and_the_last_ones_output_is_the_runs():
    output, taken = ran(echo({"n": 1}, output="first"), echo("{{ first }}"), echo("n is {{ first.n }}"))

    assert taken == [{"n": 1}, {"n": 1}, "n is 1"]
    assert output == "n is 1"


def test_an_output_mapping_is_what_the_run_gives():
    output, _ = ran(echo(1, output="a"), echo(2, id="B"), output={"a": "{{ a }}", "b": "$.stages.B"})

    assert output == {"a": 1, "b": 2}


def test_names_of_steps_are_their_place_in_the_document_unless_they_have_an_id():
    plan = compiled(echo(), {"type": "parallel", "branches": [[echo(id="named")], [echo()]]}, echo())

    assert [stage.name for stage in plan.every_stage()] == ["step-1", "step-2", "named", "step-4", "step-5"]


# ---- conditions


def check(**more):
    return {
        "type": "condition",
        "id": "check",
        "if": "amount > 10",
        "then": [echo("big"), echo("{{ amount }} is big", output="word")],
        "else": [echo("small", output="word")],
        **more,
    }


@pytest.mark.parametrize(
    ("amount", "word", "calls"), [(11, "11 is big", ["big", "11 is big"]), (9, "small", ["small"])]
)
def test_a_condition_runs_one_way_and_goes_on(amount, word, calls):
    output, taken = ran(check(output="way"), echo("{{ way }}/{{ word }}"), given={"amount": amount})

    assert output == f"{word}/{word}"
    assert taken == [*calls, output]


@pytest.mark.parametrize("test", ["amount > 10", "$.amount > 10", "{{ amount > 10 }}", " {{amount > 10}} "])
def test_a_condition_is_written_with_or_without_braces(test):
    assert ran(check(**{"if": test}), given={"amount": 11})[0] == "11 is big"


def test_conditions_within_conditions_skip_what_is_not_reached():
    outer = {"type": "condition", "if": "amount > 0", "then": [check(), echo("end")], "else": []}

    assert ran(outer, given={"amount": 11}) == ("end", ["big", "11 is big", "end"])
    assert ran(outer, given={"amount": 1}) == ("end", ["small", "end"])
    assert ran(outer, given={"amount": 0}) == (None, [])


def test_a_failed_step_that_is_skipped_does_not_end_its_branch():
    def fail(_value):
        raise ValueError

    steps = [{"type": "activity", "activity": "fail", "onError": "skip"}, echo("on")]
    taken = {"type": "condition", "if": "true", "then": steps}

    assert ran(taken, activities={"fail": fail})[0] == "on"


@pytest.mark.parametrize(("big", "bound"), [(True, "yes"), (False, "no")])
def test_a_name_that_both_ways_bind_has_what_the_way_that_was_taken_gave(big, bound):
    yes, no = echo("yes", output="x"), echo("no", output="x")
    steps = {"type": "condition", "if": "big", "then": [yes], "else": [no]}, echo("{{ x }}")

    assert ran(*steps, given={"big": big}) == (bound, [bound, bound])


@pytest.mark.parametrize(("at", "bound"), [(1, "early"), (3, "late")])
def test_a_name_keeps_what_it_was_if_the_step_that_would_bind_it_again_is_skipped(at, bound):
    again = wait(onTimeout="fail", output="x")
    steps = wait(onTimeout=[again], output="x"), echo("{{ x }}")

    assert ran(*steps, events=[(at, "approved", bound)])[0] == bound


def test_the_plan_of_a_condition_has_a_gate_for_each_way():
    first, yes, no, end = compiled(
        {"type": "condition", "if": "$.input", "then": [echo()], "else": [echo()], "output": "way"}
    ).stages

    assert first.branching
    assert (yes.gates, no.gates) == ((Gate("step-1", "true"),), (Gate("step-1", "false"),))
    assert (end.after, end.hidden, end.output, end.gates) == ({"step-1", "step-2", "step-3"}, True, "way", ())


# ---- waits and timeouts


def wait(**more):
    return {"type": "wait", "event": "approved", "timeout": 2_000, **more}


def test_a_wait_gives_the_events_payload():
    assert (
        ran(wait(output="answer"), echo("{{ answer.by }}"), events=[(1, "approved", {"by": "me"})])[0] == "me"
    )


@pytest.mark.parametrize("steps", [[], [echo("asked again", output="word")]])
def test_what_runs_out_of_time_goes_on_or_takes_other_steps(steps):
    late = wait(onTimeout=steps or "continue", output="answer")

    assert ran(late, echo("{{ answer }}!"))[0] == "!"
    assert ran(late)[0] == ("asked again" if steps else None)
    assert ran(late, events=[(1, "approved", "yes")]) == ("yes", [])


def test_what_runs_out_of_time_fails_unless_it_says_otherwise():
    with pytest.raises(TimedOutError, match="not done within 2 seconds"):
        ran(wait())


@pytest.mark.parametrize("duration", [1_500, "{{ seconds * 1000 }}", "seconds * 1000"])
def test_a_wait_lasts_milliseconds(duration):
    bench = Bench({})
    document = {"name": "p", "steps": [{"type": "wait", "duration": duration}]}
    bench.run(pipeline_program, {"run": "r", "definition": document, "input": {"seconds": 1.5}})

    assert bench.clock == 1.5


# ---- loops


def loop(*steps, **more):
    return {"type": "loop", "steps": list(steps), **more}


def test_a_loop_over_items_gives_the_list_of_its_rounds():
    inner = loop(echo("{{ doc }}{{ letter }}{{ $.loop.index }}"), over=["a", "b"], **{"as": "letter"})

    assert ran(loop(inner, over="docs", **{"as": "doc"}), given={"docs": [1, 2]})[0] == [
        ["1a0", "1b1"],
        ["2a0", "2b1"],
    ]
    assert ran(loop(echo("{{ item }}"), over="{{ docs }}"), given={"docs": []})[0] == []


@pytest.mark.parametrize("times", [3, "n", "{{ n }}", "n - 1 + 1"])
def test_a_loop_runs_a_number_of_times(times):
    assert ran(loop(echo("{{ $.loop.index }}"), times=times), given={"n": 3})[0] == [0, 1, 2]
    assert ran(loop(echo(1), times=0))[0] == []


def test_a_loop_runs_while_its_condition_holds_and_gives_its_last_round():
    counting = loop(echo("{{ (n ?? 0) + 1 }}", output="n"), **{"while": "(n ?? 0) < 3"})

    assert ran(counting, output="{{ n }}") == (3, [1, 2, 3])
    assert ran(counting)[0] == 3


def test_a_loop_that_goes_on_too_long_fails():
    with pytest.raises(StepFailedError, match="exceeded max iterations \\(4\\)"):
        ran(loop(echo(1), **{"while": "true"}, maxIterations=4))


def test_a_round_sees_what_later_steps_gave_in_the_round_before():
    body = [echo("{{ later }}{{ $.loop.index }}", output="now"), echo("{{ now }}!", output="later")]

    assert ran(loop(*body, times=3), echo("{{ later }}"))[0] == "0!1!2!"


# ---- parallel branches


def test_branches_give_a_list_and_what_they_bind_is_known_afterwards():
    branches = [[echo(1, output="a")], [echo(2), echo("{{ 2 + 1 }}", output="b")], []]

    assert ran({"type": "parallel", "branches": branches}, output="{{ a }}-{{ b }}")[0] == "1-3"
    assert ran({"type": "parallel", "branches": branches})[0] == [1, 3, None]


# ---- what is refused


@pytest.mark.parametrize(
    ("step", "place", "message"),
    [
        ({}, ".type", "is required"),
        ({"type": "what"}, ".type", "should be 'activity'"),
        (7, "", "should be an object"),
        ({"type": "activity"}, ".activity", "is required, or name"),
        ({"type": "activity", "activity": "a", "name": "b"}, ".name", "there is activity already"),
        ({"type": "activity", "activity": 7}, ".activity", "should be a valid string"),
        ({"type": "agent"}, ".agentType", "is required"),
        ({"type": "actor"}, ".actor", "is required"),
        ({"type": "pipeline", "pipeline": "a@b@c"}, ".pipeline", "should match"),
        ({"type": "activity", "activity": "a", "branches": []}, ".branches", "does not belong to a step"),
        ({"type": "condition", "if": "x", "then": [], "timeout": 5}, ".timeout", "does not belong to a step"),
        ({"type": "condition"}, ".if", "is required"),
        ({"type": "condition", "if": "x ="}, ".if", "unexpected '='"),
        ({"type": "condition", "if": "true"}, ".then", "is required"),
        ({"type": "parallel", "branches": []}, ".branches", "at least 1 item"),
        ({"type": "parallel", "branches": [echo()]}, ".branches[0]", "should be a valid list"),
        ({"type": "wait"}, ".event", "is required, or duration"),
        ({"type": "wait", "event": "e", "duration": 5}, ".duration", "there is event already"),
        ({"type": "wait", "event": "loom:stop"}, ".event", "are Loom's own"),
        ({"type": "wait", "event": "e", "onTimeout": "continue"}, ".onTimeout", "needs timeout"),
        ({"type": "wait", "event": "e", "timeout": 5, "onTimeout": "later"}, ".onTimeout", "should be"),
        (
            {"type": "wait", "event": "e", "timeout": 5, "onTimeout": [{}]},
            ".onTimeout[0].type",
            "is required",
        ),
        ({"type": "loop", "steps": [echo()]}, ".over", "is required, or while, or times"),
        ({"type": "loop", "times": 2, "over": [1], "steps": [echo()]}, ".times", "there is over already"),
        ({"type": "loop", "times": 2, "steps": []}, ".steps", "at least 1 item"),
        ({"type": "loop", "times": -1, "steps": [echo()]}, ".times", "greater than or equal to 0"),
        ({"type": "loop", "times": 2, "maxIterations": 3, "steps": [echo()]}, ".maxIterations", "times is"),
        ({"type": "loop", "times": 2, "as": "x", "steps": [echo()]}, ".as", "needs over"),
        ({"type": "loop", "over": [], "as": "run", "steps": [echo()]}, ".as", "'run' is taken"),
        (
            {"type": "loop", "over": [1], "steps": [echo(output="item")]},
            ".steps[0].output",
            "'item' is the item of",
        ),
        (echo(output="stages"), ".output", "'stages' is taken"),
        (echo(output="a-b"), ".output", "should match"),
        (echo(id="a b"), ".id", "should match"),
        (echo("{{ x"), ".input", "'{{' without '}}'"),
        (echo(retry={"maxAttempts": 0}), ".retry.maxAttempts", "greater than or equal to 1"),
        (echo(compensation={"agent": "x"}), ".compensation.agent", "is not a known key"),
        (echo(colour="red"), ".colour", "is not a known key"),
    ],
)
def test_a_fault_is_named_at_its_place(step, place, message):
    found = problems(step)

    assert any(where == f"[0]{place}" and message in what for where, what in found), found


def test_all_problems_are_reported_at_once_at_any_depth():
    inner = {
        "type": "loop",
        "times": "n +",
        "steps": [{"type": "condition", "if": ")", "then": [echo("{{")]}],
    }
    found = problems(
        {"type": "parallel", "branches": [[echo(speed=1)], [inner]]}, echo(id="step-1"), output="{{ a b }}"
    )

    assert {place for place, _ in found} == {
        "[0].branches[0][0].speed",
        "[0].branches[1][0].times",
        "[0].branches[1][0].steps[0].if",
        "[0].branches[1][0].steps[0].then[0].input",
        "[1].id",
        "$.output",
    }


def test_a_branch_cannot_refer_to_what_another_binds():
    found = problems(
        {"type": "parallel", "branches": [[echo(output="a", id="A")], [echo("{{ a }}"), echo("$.stages.A")]]}
    )

    assert {place for place, _ in found} == {"[0].branches[1][0].input", "[0].branches[1][1].input"}


def test_two_branches_cannot_bind_the_same_name():
    found = problems({"type": "parallel", "branches": [[echo(output="a")], [echo(output="a")]]})

    assert found == [("[0].branches[1][0].output", "'a' is bound by $.steps[0].branches[0][0], beside this")]


def test_what_is_bound_later_cannot_be_referred_to_unless_the_input_declares_it():
    late = [echo("{{ account.id }}"), echo(output="account")]
    declared = {"type": "object", "properties": {"account": {}}}

    assert problems(*late) == [
        ("[0].input", "'account' is bound by $.steps[1]: later than this, or beside it")
    ]
    assert warned(*late, input=declared) == []
    assert [place for place, _ in problems(echo("$.stages.B"), echo(id="B"))] == ["[0].input"]


def test_a_name_that_nothing_binds_is_a_warning():
    assert warned(echo("{{ acount.id }} {{ acount.name }}")) == [
        "$.steps[0].input: 'acount' is not bound here; it is looked up in the run's input"
    ]
    assert warned(echo("{{ input.id }} {{ run.id }} {{ $.input }}")) == []


def test_a_step_cannot_refer_to_itself_but_its_compensation_can():
    assert [place for place, _ in problems(echo("{{ me }}", output="me"))] == ["[0].input"]
    assert warned(echo(output="me", compensation={"activity": "undo", "input": "{{ me }}"})) == []


def test_there_are_at_most_a_hundred_steps_at_all_depths():
    branch = [echo()] * 49

    assert (
        len(list(compiled({"type": "parallel", "branches": [branch, branch]}, echo()).every_stage())) == 100
    )
    assert problems({"type": "parallel", "branches": [branch, branch]}, echo(), echo()) == [
        ("", "has 101 steps; at most 100 are allowed")
    ]


def test_steps_are_nested_sixteen_deep_and_no_deeper():
    def nested(depth):
        return echo() if depth == 1 else {"type": "condition", "if": "true", "then": [nested(depth - 1)]}

    assert compiled(nested(16)).stages
    assert problems(nested(17)) == [("[0]" + ".then[0]" * 16, "nested deeper than 16 levels")]
