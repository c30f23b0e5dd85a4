from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import InvalidError, SandboxError, StepFailedError, TimedOutError, UnavailableError
from loom_core.notations import pipeline_program
from loom_core.testing import Bench


def payload(stages, given=None, output=None):
    definition = {"name": "test", "stages": stages} | ({} if output is None else {"output": output})
    return {"run": "run-1", "definition": definition, "input": given}


def single(name, activity="echo", **more):
    return {"name": name, "activity": activity, **more}


def scatter(name="S", activity="echo", **more):
    how = {"input": "$.items", "as": "item"} | more.pop("scatter", {})
    return {"name": name, "mode": "scatter", "activity": activity, "scatter": how, **more}


def echo(value):
    return value


def refuse_odd(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number * 10


def stages_of(bench):
    return bench.published[-1]["stages"]


# ---- stages


def test_a_run_gives_the_output_of_its_last_stage():
    bench = Bench({"double": lambda n: n * 2, "echo": echo})
    stages = [single("A", "double", input="$.n"), single("B", input={"was": "$.stages.A", "run": "$.run.id"})]

    assert bench.run(pipeline_program, payload(stages, {"n": 4})) == {"was": 8, "run": "run-1"}
    assert bench.calls == [("double", 4), ("echo", {"was": 8, "run": "run-1"})]


def test_a_run_gives_what_its_output_mapping_says():
    bench = Bench({"double": lambda n: n * 2})
    output = {"text": "{{ name }}: {{ stages.A }}", "whole": "$.input", "none": "$.missing"}

    result = bench.run(
        pipeline_program, payload([single("A", "double", input="$.n")], {"n": 4, "name": "x"}, output)
    )

    assert result == {"text": "x: 8", "whole": {"n": 4, "name": "x"}, "none": None}


@pytest.mark.parametrize("given", [None, 7, "text", [1, 2], {"a": 1}])
def test_a_stage_without_an_input_takes_the_runs(given):
    bench = Bench({"echo": echo})

    assert bench.run(pipeline_program, payload([single("A")], given)) == given


def test_a_stage_starts_as_soon_as_those_it_waits_for_are_done():
    started = {}
    durations = {"slow": 10, "fast": 1}
    bench = Bench(
        {name: (lambda value: started.setdefault(value, bench.clock)) for name in durations},
        duration=lambda name, _value: durations[name],
    )
    stages = [
        single("slow", "slow", input="slow"),
        single("fast", "fast", input="fast"),
        single("next", "fast", input="{{ stages.fast < 0 ? 'no' : 'next' }}"),
        single("last", "fast", input="last", after=["slow", "next"]),
        single("side", "fast", input="side", after=["fast"]),
    ]

    bench.run(pipeline_program, payload(stages))

    assert started == {"slow": 0, "fast": 0, "next": 1, "side": 1, "last": 10}


def test_fifty_stages_in_a_row_or_side_by_side_run():
    row = [single("S0", input=0)] + [
        single(f"S{i}", "next", input=f"$.stages.S{i - 1}") for i in range(1, 50)
    ]
    side = [single(f"S{i}", "next", input=i) for i in range(50)]

    assert Bench({"echo": echo, "next": lambda n: n + 1}).run(pipeline_program, payload(row)) == 49
    bench = Bench({"next": lambda n: n + 1}, duration=lambda *_: 1)
    assert bench.run(pipeline_program, payload(side)) == 50
    assert (bench.peak, bench.clock) == (50, 1)


def test_a_failed_stage_fails_the_run_and_is_named():
    bench = Bench({"odd": refuse_odd, "echo": echo})

    with pytest.raises(StepFailedError, match="^A: ValueError: 3 is odd$"):
        bench.run(pipeline_program, payload([single("A", "odd", input=3), single("B", after=["A"])]))

    assert bench.calls == [("odd", 3)]
    assert (stages_of(bench)["A"]["status"], stages_of(bench)["B"]["status"]) == ("failed", "pending")


@pytest.mark.parametrize(
    ("on_error", "output", "status"),
    [
        ("skip", None, "skipped"),
        ("collect", {"error": {"type": "ValueError", "message": "3 is odd"}}, "completed"),
    ],
)
def test_a_failed_stage_need_not_fail_the_run(on_error, output, status):
    bench = Bench({"odd": refuse_odd, "echo": echo})
    stages = [single("A", "odd", input=3, onError=on_error), single("B", input={"a": "$.stages.A"})]

    assert bench.run(pipeline_program, payload(stages)) == {"a": output}
    assert (stages_of(bench)["A"]["status"], stages_of(bench)["A"]["failed"]) == (status, 1)


def test_an_expression_that_cannot_be_evaluated_fails_the_run_at_its_place():
    with pytest.raises(InvalidError) as caught:
        Bench({}).run(pipeline_program, payload([single("A", input={"x": ["$.a + 1"]})], {"a": "text"}))

    assert [problem.path for problem in caught.value.problems] == ["$.stages[0].input.x[0]"]


def test_a_wrong_definition_fails_the_run():
    with pytest.raises(InvalidError, match="only an actor has an id"):
        Bench({}).run(pipeline_program, payload([{"name": "A", "activity": "a", "actorId": "x"}]))


# ---- retry and timeout


def failing(times, error=UnavailableError):
    left = Counter()

    def work(value):
        left[str(value)] += 1
        if left[str(value)] <= times:
            raise error(f"no {left[str(value)]}")
        return value

    return work


RETRY = {"retryPolicy": {"maxAttempts": 3, "backoffMs": [1000, 5000], "jitter": 0}}


def test_a_stage_is_tried_again_after_its_waits():
    bench = Bench({"work": failing(2)})

    assert bench.run(pipeline_program, payload([single("A", "work", input=1, config=RETRY)])) == 1
    assert (len(bench.calls), bench.clock) == (3, 6)


def test_the_last_attempts_failure_is_the_stages():
    bench = Bench({"work": failing(9)})

    with pytest.raises(StepFailedError, match="A: UnavailableError: no 3"):
        bench.run(pipeline_program, payload([single("A", "work", input=1, config=RETRY)]))


def test_what_cannot_get_better_is_not_tried_again():
    bench = Bench({"work": failing(1, SandboxError)})

    with pytest.raises(StepFailedError, match="SandboxError"):
        bench.run(pipeline_program, payload([single("A", "work", input=1, config=RETRY)]))

    assert len(bench.calls) == 1


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [10, 400])
def test_items_are_tried_again_each_on_its_own(batch, count):
    broken = {3, 7, count - 1}
    work = failing(1)
    bench = Bench({"work": lambda n: work(n) if n in broken else n})
    config = {"concurrency": 8, "retryPolicy": {"maxAttempts": 2, "backoffMs": 1000}}
    stage = scatter(activity="work", config=config, executorConfig={"batchSize": batch})

    assert bench.run(pipeline_program, payload([stage], {"items": list(range(count))})) == list(range(count))
    assert len(bench.calls) == count + 3


def test_jitter_spreads_the_retries_of_items_and_is_the_same_in_every_run():
    def times():
        seen = []
        bench = Bench({"work": lambda n: seen.append(bench.clock) or failing(9)(n)})
        config = {"concurrency": 20, "retryPolicy": {"maxAttempts": 2, "backoffMs": 1000, "jitter": 1}}
        stage = scatter(activity="work", config=config, onError="skip")
        bench.run(pipeline_program, payload([stage], {"items": list(range(20))}))
        return seen[20:]

    assert len(set(times())) == 20
    assert times() == times()


@pytest.mark.parametrize("stage", [single("S", input=1), scatter(config={"concurrency": 2})])
def test_a_stage_that_takes_too_long_is_ended(stage):
    stage = stage | {"config": stage.get("config", {}) | {"timeout": 2.5}}
    bench = Bench({"echo": echo}, duration=lambda *_: 1 if "scatter" in stage else 3)

    with pytest.raises(TimedOutError, match=r"S: not done within 2\.5 seconds"):
        bench.run(pipeline_program, payload([stage], {"items": [1] * 9}))

    assert bench.clock == 2.5
    assert stages_of(bench)["S"]["status"] == "failed"


def test_a_timeout_covers_all_attempts_and_the_waits():
    bench = Bench({"work": failing(9)}, duration=lambda *_: 1)
    stage = single("A", "work", input=1, config=RETRY | {"timeout": 2.5}, onError="collect")

    result = bench.run(pipeline_program, payload([stage]))

    assert result["error"]["type"] == "TimedOutError"
    assert len(bench.calls) == 2


# ---- scatter and gather


def test_a_scatter_gives_its_results_in_item_order():
    bench = Bench({"echo": echo}, duration=lambda _name, n: -n % 7)
    stage = scatter(config={"concurrency": 5})

    assert bench.run(pipeline_program, payload([stage], {"items": list(range(20))})) == list(range(20))
    assert bench.peak == 5


def test_a_scatter_skips_items_whose_condition_is_false():
    bench = Bench({"echo": echo})
    stage = scatter(scatter={"input": "$.items[*]", "as": "doc", "condition": '$.doc.status === "pending"'})
    items = [
        {"id": 1, "status": "pending"},
        {"id": 2, "status": "done"},
        {"id": 3},
        {"id": 4, "status": "pending"},
    ]

    assert bench.run(pipeline_program, payload([stage], {"items": items})) == [items[0], items[3]]
    assert len(bench.calls) == 2
    assert stages_of(bench)["S"] | {"started": 0, "finished": 0, "at": 0} == {
        "status": "completed",
        "done": 2,
        "total": 2,
        "skipped": 2,
        "failed": 0,
        "started": 0,
        "finished": 0,
        "at": 0,
    }


@pytest.mark.parametrize("items", [[], [1, 3, 5]])
def test_a_scatter_with_nothing_to_do_calls_nothing(items):
    bench = Bench({})
    stage = scatter(scatter={"condition": "$.item % 2 === 0"})

    assert (
        bench.run(
            pipeline_program,
            payload([stage, single("B", "B", after=["S"], onError="skip")], {"items": items}),
        )
        is None
    )
    assert [name for name, _ in bench.calls] == ["B"]


def test_an_items_input_is_mapped_from_the_item_the_run_and_the_stages():
    bench = Bench({"echo": echo})
    stage = scatter(input={"text": "$.item.text", "n": "$.stages.A", "to": "{{ who }}/{{ item.id }}"})

    result = bench.run(
        pipeline_program,
        payload([single("A", input=7), stage], {"who": "me", "items": [{"text": "a", "id": 1}, {"id": 2}]}),
    )

    assert result == [{"text": "a", "n": 7, "to": "me/1"}, {"text": None, "n": 7, "to": "me/2"}]


@pytest.mark.parametrize(("value", "given"), [(None, "null"), ({"a": 1}, "object"), ("text", "string")])
def test_a_scatter_over_what_is_no_list_fails_and_says_so(value, given):
    with pytest.raises(
        InvalidError, match=rf"\$\.stages\[0\]\.scatter\.input: gives {given}, but a scatter takes a list"
    ):
        Bench({}).run(pipeline_program, payload([scatter()], {"items": value}))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("count", [9, 600])
@pytest.mark.parametrize("on_error", ["fail", "skip", "collect"])
def test_failed_items_fail_the_stage_or_are_left_out_or_stand_in_their_place(on_error, count, batch):
    bench = Bench({"odd": refuse_odd})
    how = {"config": {"concurrency": 6}, "executorConfig": {"batchSize": batch}, "onError": on_error}
    run = payload([scatter(activity="odd", **how)], {"items": [n * 2 + (n in {4, 5}) for n in range(count)]})
    good = [n * 20 for n in range(count)]

    if on_error == "fail":
        with pytest.raises(StepFailedError, match=r"^S\[[45]\]: ValueError: (9|11) is odd$"):
            bench.run(pipeline_program, run)
        assert stages_of(bench)["S"]["status"] == "failed"
        assert len(bench.calls) < 9 or count == 9 or len(bench.calls) < count
        return
    result = bench.run(pipeline_program, run)
    assert (stages_of(bench)["S"]["done"], stages_of(bench)["S"]["failed"]) == (count - 2, 2)
    if on_error == "skip":
        assert result == good[:4] + good[6:]
    else:
        bad = [
            {"error": {"type": "ValueError", "message": f"{value} is odd"}, "item": index}
            for index, value in ((4, 9), (5, 11))
        ]
        assert result == good[:4] + bad + good[6:]


@pytest.mark.parametrize("where", ["condition", "input"])
def test_an_item_whose_expression_fails_has_failed_alone(where):
    bench = Bench({"echo": echo})
    stage = scatter(
        onError="collect", scatter={"condition": "$.item > 1 || $.item - 1 === 0"}, input="$.item"
    )
    if where == "input":
        stage = scatter(onError="collect", input="{{ item - 0 }}")

    result = bench.run(pipeline_program, payload([stage], {"items": [1, "x", 3]}))

    assert (result[0], result[2]) == (1, 3)
    assert (result[1]["item"], result[1]["error"]["type"]) == (1, "InvalidError")
    assert stages_of(bench)["S"]["failed"] == 1


def test_the_index_of_a_failure_counts_the_skipped_items_too():
    bench = Bench({"odd": refuse_odd})
    stage = scatter(activity="odd", scatter={"condition": "$.item > 1"}, onError="collect")

    result = bench.run(pipeline_program, payload([stage], {"items": [0, 1, 2, 3]}))

    assert result == [20, {"error": {"type": "ValueError", "message": "3 is odd"}, "item": 3}]


def test_a_batch_that_fails_as_a_whole_fails_each_of_its_items():
    bench = Bench({"echo": echo})
    perform = bench.perform
    from loom_core.testing import Failed
    from loom_core.wire.commands import CallBatch

    def world(command, done):
        if isinstance(command, CallBatch) and 3 in command.inputs:
            return done(Failed(StepFailedError("echo", "UnavailableError", "lost", retryable=True)))
        return perform(command, done)

    bench.perform = world
    stage = scatter(config={"concurrency": 4}, executorConfig={"batchSize": 2}, onError="collect")

    result = bench.run(pipeline_program, payload([stage], {"items": [1, 2, 3, 4, 5]}), replay=False)

    assert [one if isinstance(one, int) else one["error"]["message"] for one in result] == [
        1,
        2,
        "lost",
        "lost",
        5,
    ]


@pytest.mark.parametrize(
    ("gather", "more", "output"),
    [
        ({"stage": "S"}, {}, [1, 2]),
        ({"stage": "S", "strategy": "object"}, {}, {"S": [1, 2]}),
        ({"stage": "A"}, {}, ["one"]),
        ({"stage": "S"}, {"activity": "sum"}, 3),
        ({"stage": "S"}, {"activity": "echo", "input": {"all": "$.stages.S"}}, {"all": [1, 2]}),
        ({"stage": "S"}, {"input": {"n": "$.stages.S.length"}}, {"n": 2}),
    ],
)
def test_a_gather_collects_a_stages_output_and_hands_it_on(gather, more, output):
    bench = Bench({"echo": echo, "sum": sum})
    stages = [single("A", input="one"), scatter(), {"name": "G", "mode": "gather", "gather": gather, **more}]

    assert bench.run(pipeline_program, payload(stages, {"items": [1, 2]})) == output


def test_inputs_of_a_megabyte_just_pass():
    text = "x" * 1_000_000
    bench = Bench({"length": len, "echo": echo})
    stages = [scatter(activity="length"), single("T", input={"t": "{{ text }}!"})]

    assert bench.run(pipeline_program, payload(stages, {"items": [text] * 5, "text": text})) == {
        "t": text + "!"
    }


# ---- progress


def test_progress_tells_what_happened_in_numbered_steps():
    bench = Bench({"echo": echo})
    bench.run(pipeline_program, payload([single("A", input=1), scatter(after=["A"])], {"items": [1, 2]}))

    assert [document["seq"] for document in bench.published] == [1, 2, 3, 4, 5, 6]
    assert [document["stages"]["S"]["done"] for document in bench.published] == [0, 0, 0, 1, 2, 2]
    assert stages_of(bench)["A"] == {
        "status": "completed",
        "done": 1,
        "total": 1,
        "skipped": 0,
        "failed": 0,
        "started": 1,
        "finished": 2,
        "at": 2,
    }


def test_progress_fits_the_status_document_whatever_the_pipeline():
    import json

    stages = [
        single(f"{i:x<48}".replace("1", "y"), input=10**6)
        for i in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
    ]
    bench = Bench({"echo": echo})
    bench.run(pipeline_program, payload(stages))

    assert len(json.dumps(bench.published[-1])) < 16_000


def test_a_large_scatter_shows_progress_on_every_finished_lane():
    bench = Bench({"echo": echo}, duration=lambda *_: 1)
    bench.run(pipeline_program, payload([scatter()], {"items": list(range(1_000))}))
    seen = [document["stages"]["S"]["done"] for document in bench.published]

    assert seen == sorted(seen)
    assert len(set(seen)) == bench.children + 1
    assert seen[-1] == 1_000


# ---- everything at once

DURATIONS = st.sampled_from(
    [lambda _n, _i: 0.0, lambda _n, i: sum(map(ord, str(i))) % 5, lambda _n, i: 1 + len(str(i)) % 3]
)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 40) | st.integers(240, 700),
    concurrency=st.integers(1, 40) | st.integers(100, 400),
    batch=st.integers(1, 60),
    duration=DURATIONS,
    seed=st.integers(0, 999),
    on_error=st.sampled_from(["skip", "collect", "fail"]),
    broken=st.sets(st.integers(0, 700), max_size=3),
    retry=st.booleans(),
)
def test_any_scatter_keeps_order_and_concurrency_and_replays(
    *, count, concurrency, batch, duration, seed, on_error, broken, retry
):
    def work(n):
        if n in broken:
            raise SandboxError("broken")
        return n

    bench = Bench({"work": work}, duration=duration, seed=seed)
    config = {"concurrency": concurrency} | ({"retryPolicy": {"backoffMs": 10}} if retry else {})
    stage = scatter(
        activity="work",
        scatter={"condition": "$.item % 7 !== 3"},
        config=config,
        executorConfig={"batchSize": batch},
        onError=on_error,
    )
    picked = [n for n in range(count) if n % 7 != 3]
    hit = broken & set(picked)
    run = payload(
        [stage, single("echo", input="$.stages.S", activity="sum")],
        {"items": list(range(count))},
        "$.stages.S",
    )
    bench._activities["sum"] = len

    if hit and on_error == "fail":
        with pytest.raises(StepFailedError, match=r"S\["):
            bench.run(pipeline_program, run)
    else:
        result = bench.run(pipeline_program, run)
        lost = {"error": {"type": "SandboxError", "message": "broken"}}
        expected = [n if n not in broken else lost | {"item": n} for n in picked]
        assert result == (expected if on_error == "collect" else [n for n in picked if n not in broken])
        progress = stages_of(bench)["S"]
        assert (progress["done"], progress["failed"]) == (len(picked) - len(hit), len(hit))
        assert progress["skipped"] == count - len(picked)
        assert progress["total"] == len(picked)

    assert bench.peak <= max(1, concurrency)


@pytest.mark.parametrize("batch", [1, 2])
def test_every_attempt_at_an_item_has_the_same_key_and_no_other_item_has_it(batch):
    from loom_core.wire.commands import CallActivity, CallBatch

    attempts, keys = Counter(), {}

    def twice(number):
        attempts[number] += 1
        if attempts[number] < 3:
            raise UnavailableError("later")
        return number

    bench = Bench({"echo": twice})
    perform = bench.perform

    def listen(command, done):
        match command:
            case CallActivity():
                keys.setdefault(command.input, []).append(command.key)
            case CallBatch():
                for value, key in zip(command.inputs, command.keys, strict=True):
                    keys.setdefault(value, []).append(key)
            case _:
                pass
        return perform(command, done)

    bench.perform = listen
    stage = scatter(
        config={"concurrency": 4, "retryPolicy": {"maxAttempts": 3, "backoffMs": 10}},
        executorConfig={"batchSize": batch},
    )
    assert bench.run(pipeline_program, payload([stage], {"items": [1, 2, 3]}), replay=False) == [1, 2, 3]

    assert {number: len(seen) for number, seen in keys.items()} == {1: 3, 2: 3, 3: 3}
    assert len({key for seen in keys.values() for key in seen}) == 3
