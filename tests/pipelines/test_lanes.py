from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.notations import PROGRAMS
from loom_core.pipelines.calls import Calls
from loom_core.pipelines.lanes import INLINE, PLACE_CALLS, scatter
from loom_core.pipelines.plan import Target
from loom_core.testing import Bench
from loom_core.wire.commands import Publish

MOST_CHILDREN = 480
"""A child is at most four events of its parent's history, an activity of its own: 2,000 are the limit."""


class Scatter:
    """A scatter on the bench, and when its calls began and ended there."""

    def __init__(self, count, concurrency, seconds=lambda n: 1.0, *, batch_size=1, rate=None, seed=0):
        self.concurrency = concurrency
        self.times = []
        self.bench = Bench({"echo": lambda n: n}, duration=self._flight, seed=seed)
        self._seconds = seconds
        self.reported = 0

        def report(done, failed):
            self.reported += done + failed
            return Publish({})

        def program(_):
            calls = Calls(
                stage="S",
                seed="run-1/S",
                chains={"": [Target(kind="activity", name="echo")]},
                batch_size=batch_size,
                rate=rate,
            )
            items = [(n, n) for n in range(count)]
            return (yield from scatter(calls, items, concurrency, report))

        assert self.bench.run(program, {}, replay=False) == list(range(count))
        assert self.reported == count
        for execution in self.bench.executions[: 0 if count > 1_000 else None]:
            execution.check_replay()

    def _flight(self, _name, n):
        seconds = self._seconds(n)
        self.times.append((self.bench.clock, self.bench.clock + seconds))
        return seconds

    @property
    def idle(self):
        """The share of the allowed concurrency that was not used while items were left to begin."""
        last = max(began for began, _ in self.times)
        return 1 - sum(min(ended, last) - began for began, ended in self.times) / (self.concurrency * last)

    @property
    def histories(self):
        """Activities and children of each execution, the largest first."""
        kinds = [[type(command).__name__ for command in e.issued] for e in self.bench.executions]
        counts = [(k.count("CallActivity") + k.count("CallBatch"), k.count("RunProgram")) for k in kinds]
        return [sorted(each, reverse=True) for each in zip(*counts, strict=True)]


def half_to_one_and_a_half(n):
    return 0.5 + Random(n).random()


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 300) | st.integers(INLINE, 1_500),
    concurrency=st.integers(1, 300),
    batch_size=st.integers(1, 20),
    seconds=st.sampled_from([0.0, 0.001, 0.07, 1.0]),
    seed=st.integers(0, 9),
)
def test_never_more_than_allowed_are_in_flight_and_results_are_in_order(
    count, concurrency, batch_size, seconds, seed
):
    spread = lambda n: seconds * 2 * Random(n).random()
    batch_size = min(batch_size, concurrency)

    ran = Scatter(count, concurrency, spread, batch_size=batch_size, seed=seed)

    calls, children = ran.histories
    assert ran.bench.peak <= concurrency
    assert len(ran.bench.calls) == count
    assert calls[0] * batch_size < INLINE + batch_size
    assert children[0] <= MOST_CHILDREN


@pytest.mark.parametrize(
    ("count", "concurrency"), [(250, 20), (251, 20), (1_000, 1), (1_000, 20), (3_000, 256), (5_000, 7)]
)
@pytest.mark.parametrize("seconds", [0.01, 1.0])
def test_exactly_as_many_items_as_allowed_are_in_flight_over_all_lanes(count, concurrency, seconds):
    assert Scatter(count, concurrency, lambda n: seconds).bench.peak == concurrency


def test_up_to_250_items_run_without_children_and_more_do_not():
    assert Scatter(250, 8).bench.children == 0
    assert Scatter(251, 8).bench.children > 0


@pytest.mark.parametrize("concurrency", [32, 200])
def test_a_machine_that_was_busy_for_a_moment_does_not_make_the_lanes_narrow_for_good(concurrency):
    quick = Scatter(20_000, concurrency, lambda n: 0.001)
    hiccup = Scatter(20_000, concurrency, lambda n: 2.0 if 0 < n - 2_000 < 6 * concurrency else 0.001)

    assert hiccup.bench.children < 1.5 * quick.bench.children


def test_what_is_quick_in_a_scatter_is_quick_in_the_lanes_of_its_lanes():
    short = Scatter(10_000, 256, lambda n: 0.06)
    long = Scatter(40_000, 256, lambda n: 0.06)

    assert long.bench.children / 40_000 < 1.5 * short.bench.children / 10_000


@pytest.mark.parametrize(("count", "concurrency"), [(1_000, 20), (1_000, 64), (4_000, 100)])
def test_at_most_a_twentieth_of_the_places_is_idle_while_slow_items_are_left(count, concurrency):
    assert Scatter(count, concurrency, half_to_one_and_a_half).idle < 0.05


def test_lanes_that_get_slow_items_get_fewer_of_them():
    first_half_is_quick = lambda n: 0.5 if n < 2_500 else 1.5

    assert Scatter(5_000, 50, first_half_is_quick).idle < 0.05


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_quick_items_take_few_long_lanes(count):
    ran = Scatter(count, 256, lambda n: 0.001)

    assert ran.bench.children < 30 + count / 80


@pytest.mark.parametrize("seconds", [0.001, 1.0])
@pytest.mark.parametrize("concurrency", [1, 20, 64, 256])
def test_no_execution_has_a_long_history_however_many_items_there_are(concurrency, seconds):
    calls, children = Scatter(12_000, concurrency, lambda n: seconds).histories

    assert calls[0] <= INLINE
    assert children[0] <= MOST_CHILDREN


def test_slow_items_one_after_the_other_are_replayed_in_short_histories():
    calls, _ = Scatter(2_000, 4).histories

    assert calls[0] <= PLACE_CALLS


@pytest.mark.parametrize("seconds", [0.0, 0.3])
@pytest.mark.parametrize("rate", [5, 200])
def test_the_lanes_keep_the_rate_of_the_scatter_together(rate, seconds):
    ran = Scatter(600, 20, lambda n: seconds, rate=rate)
    begun = sorted(began for began, _ in ran.times)

    assert all(later - now > 0.99 for now, later in zip(begun, begun[rate + 20 :], strict=False))
    assert begun[-1] <= 600 / min(rate, 20 / (seconds or 0.01)) * 1.1 + 5


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
    lane = {"calls": calls, "items": [[10, 0], [12, 1], [14, 2]], "concurrency": 2, "patience": 0.05}

    collected = Bench({"odd": odd}).run(PROGRAMS["lane"], lane)
    stopped = Bench({"odd": odd}).run(PROGRAMS["lane"], lane | {"calls": calls | {"stop": True}})

    assert collected["results"] == [0, None, 2]
    assert [(at, kind, message) for at, _step, kind, message in collected["failures"]] == [
        (1, "ValueError", "odd")
    ]
    assert stopped == {"failed": ["S[12]", "ValueError", "odd"]}
