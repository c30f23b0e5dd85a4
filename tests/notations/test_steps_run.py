"""Steps of any shape give what a plain reading of them gives."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.notations import pipeline_program
from loom_core.testing import Bench


def rows(step):
    return st.lists(step, min_size=1, max_size=3)


LISTS = st.lists(st.integers(-9, 9), max_size=4)


def containers(step):
    row = rows(step)
    return (
        st.builds(
            lambda truth, yes, no: {"type": "condition", "if": truth, "then": yes, "else": no},
            st.sampled_from(["true", "{{ yes }}", "false", "!yes", "$.loop.index > 0"]),
            st.just([]) | row,
            st.just([]) | row,
        )
        | st.builds(lambda times, row: {"type": "loop", "times": times, "steps": row}, st.integers(0, 3), row)
        | st.builds(lambda over, row: {"type": "loop", "over": over, "steps": row}, LISTS, row)
        | st.builds(
            lambda branches: {"type": "parallel", "branches": branches},
            st.lists(st.just([]) | row, min_size=1, max_size=3),
        )
        | st.builds(
            lambda row: {"type": "wait", "event": "never", "timeout": 1_000, "onTimeout": row},
            st.just("continue") | row,
        )
    )


CALLS = st.sampled_from(
    [
        {"type": "activity", "activity": "echo", "input": 7},
        {"type": "activity", "activity": "echo", "input": "{{ item }}/{{ $.loop.index }}"},
        {"type": "activity", "activity": "fail", "input": "failed", "onError": "skip"},
        {"type": "wait", "duration": 500},
    ]
)
STEPS = st.recursive(CALLS, containers, max_leaves=12)


def truth_of(test, around):
    loops = test.startswith("$") and around.get("index", -1) > 0
    return test in ("true", "{{ yes }}") or loops


def read_row(row, around, calls):
    output = None
    for step in row:
        output = read_step(step, around, calls)
    return output


def read_step(step, around, calls):
    """What a step gives, by a reader that knows nothing of plans."""
    match step:
        case {"activity": name, "input": taken}:
            if isinstance(taken, str) and "item" in taken:
                item, index = around.get("item"), around.get("index")
                taken = f"{'' if item is None else item}/{'' if index is None else index}"
            calls[name, str(taken)] += 1
            return taken if name == "echo" else None
        case {"if": test, "then": yes, "else": no}:
            return read_row(yes if truth_of(test, around) else no, around, calls)
        case {"times": times, "steps": row}:
            return [read_row(row, {**around, "index": index}, calls) for index in range(times)]
        case {"over": items, "steps": row}:
            rounds = enumerate(items)
            return [read_row(row, {"index": index, "item": item}, calls) for index, item in rounds]
        case {"branches": branches}:
            return [read_row(row, around, calls) for row in branches]
        case _:
            row = step.get("onTimeout", "continue")
            return None if row == "continue" else read_row(row, around, calls)


def fail(_value):
    raise ValueError


@settings(max_examples=200, deadline=None)
@given(rows(STEPS), st.integers(0, 3))
def test_steps_of_any_shape_give_what_a_plain_reading_gives(steps, seed):
    expected = Counter()
    output = read_row(steps, {}, expected)
    bench = Bench({"echo": lambda value: value, "fail": fail}, seed=seed)

    given = {"run": "r", "definition": {"name": "p", "steps": steps}, "input": {"yes": True}}

    assert bench.run(pipeline_program, given) == output
    assert Counter((name, str(taken)) for name, taken in bench.calls) == expected
