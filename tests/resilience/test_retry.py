from hypothesis import given
from hypothesis import strategies as st

from loom_core.resilience.retry import RetryPolicy, delay

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    backoff_ms=st.lists(st.floats(0, 100_000), min_size=1, max_size=5).map(tuple),
    multiplier=st.floats(1, 10),
    max_backoff_ms=st.floats(0, 100_000),
    jitter=st.floats(0, 1),
)


def test_waits_grow_and_stop_at_the_longest_and_at_the_last_attempt():
    policy = RetryPolicy(max_attempts=6, backoff_ms=(1_000,), multiplier=2, max_backoff_ms=5_000, jitter=0)

    assert [delay(policy, n, "run") for n in range(1, 7)] == [1.0, 2.0, 4.0, 5.0, 5.0, None]


def test_listed_waits_are_taken_in_order_and_the_last_grows_on():
    policy = RetryPolicy(max_attempts=6, backoff_ms=(10, 500, 200), multiplier=3, jitter=0)

    assert [delay(policy, n, "run") for n in range(1, 6)] == [0.01, 0.5, 0.2, 0.6, 1.8]


def test_one_attempt_never_waits():
    assert delay(RetryPolicy(max_attempts=1), 1, "run") is None


def test_jitter_differs_between_seeds_and_attempts_but_not_between_calls():
    policy = RetryPolicy(max_attempts=9, multiplier=1, jitter=1)
    waits = [delay(policy, n, seed) for n in (1, 2) for seed in ("run-1/A/0", "run-1/A/1")]

    assert len(set(waits)) == 4
    assert waits == [delay(policy, n, seed) for n in (1, 2) for seed in ("run-1/A/0", "run-1/A/1")]


@given(POLICIES, st.integers(1, 120), st.text())
def test_a_wait_is_never_negative_and_never_longer_than_the_longest(policy, failures, seed):
    wait = delay(policy, failures, seed)

    assert (wait is None) == (failures >= policy.max_attempts)
    assert wait is None or 0 <= wait <= policy.max_backoff_ms / 1_000
