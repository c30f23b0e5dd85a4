import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.notations import PROGRAMS, pipeline_program
from loom_core.pipelines.lanes import INLINE, LANE_CALLS, MAX_CHUNKS, cut
from loom_core.testing import Bench

COUNTS = st.integers(INLINE + 1, 2_000) | st.integers(2_000, 1_000_000)


@given(COUNTS, st.integers(1, 10_000), st.integers(1, 250))
def test_a_cut_loses_no_item_and_no_place_and_stays_small(items, concurrency, batch_size):
    batch_size = min(batch_size, concurrency)
    sizes, widths = cut(items, concurrency, batch_size)

    assert sum(sizes) == items
    assert min(sizes) >= 1
    assert 2 <= len(sizes) <= 2 * MAX_CHUNKS
    assert max(sizes) - min(sizes) <= 2 * batch_size
    assert all(size % batch_size == 0 for size in sizes[:-1])
    assert sum(widths) == concurrency // batch_size * batch_size
    assert max(widths) - min(widths) <= batch_size
    assert min(widths) >= batch_size
    assert len(widths) <= len(sizes)


@given(st.integers(INLINE + 1, 1_000_000), st.integers(1, 10_000), st.integers(1, 250))
def test_cutting_ends_at_lanes_that_need_no_cut(items, concurrency, batch_size):
    batch_size = min(batch_size, concurrency)
    depth = 0
    while items > INLINE:
        sizes, widths = cut(items, concurrency, batch_size)
        assert max(sizes) < items
        items, concurrency = max(sizes), max(widths)
        depth += 1

    assert depth <= 5


def run(count, concurrency, duration=lambda *_: 1.0):
    bench = Bench({"echo": lambda n: n}, duration=duration)
    stage = {
        "name": "S",
        "mode": "scatter",
        "activity": "echo",
        "scatter": {"input": "$.items"},
        "config": {"concurrency": concurrency},
    }
    document = {
        "run": "run-1",
        "definition": {"name": "p", "stages": [stage]},
        "input": {"items": list(range(count))},
    }
    output = bench.run(pipeline_program, document, replay=count < 5_000)
    assert output == list(range(count))
    return bench


@pytest.mark.parametrize(
    ("count", "concurrency"), [(250, 20), (251, 20), (1_000, 1), (1_000, 20), (3_000, 256), (5_000, 7)]
)
def test_exactly_as_many_items_as_allowed_are_in_flight_over_all_lanes(count, concurrency):
    assert run(count, concurrency).peak == concurrency


def test_up_to_250_items_run_without_children_and_more_do_not():
    assert run(250, 8).children == 0
    assert run(251, 8).children > 0


@pytest.mark.parametrize(("count", "concurrency"), [(1_000, 20), (10_000, 20), (10_000, 8)])
def test_lanes_keep_their_places_busy(count, concurrency):
    spread = lambda _name, n: 0.5 + (n * 7919 % 1_000) / 1_000
    bench = run(count, concurrency, spread)
    ideal = sum(spread("", n) for n in range(count)) / concurrency

    assert bench.clock < ideal * 1.1


def test_no_execution_has_a_long_history_however_many_items_there_are():
    bench = run(20_000, 64)

    assert max(len(execution.issued) for execution in bench.executions) <= 2 * LANE_CALLS


def test_a_lane_is_a_program_of_its_own_whose_failures_keep_their_names():
    def odd(n):
        if n % 2:
            raise ValueError("odd")
        return n

    calls = {
        "stage": "S",
        "seed": "run-1/S",
        "chains": {"": [{"kind": "activity", "name": "odd", "strategy": ""}]},
        "batch_size": 1,
        "retry": None,
        "stop": False,
    }
    lane = {"calls": calls, "items": [[10, 0], [12, 1], [14, 2]], "concurrency": 2}

    collected = Bench({"odd": odd}).run(PROGRAMS["lane"], lane)
    stopped = Bench({"odd": odd}).run(PROGRAMS["lane"], lane | {"calls": calls | {"stop": True}})

    assert collected["results"] == [0, None, 2]
    assert [(at, kind, message) for at, _step, kind, message in collected["failures"]] == [
        (1, "ValueError", "odd")
    ]
    assert stopped == {"failed": ["S[12]", "ValueError", "odd"]}
