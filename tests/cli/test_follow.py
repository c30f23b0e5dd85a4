import pytest

from loom_local.cli.api import Api, RefusedError, UnreachableError
from loom_local.cli.follow import follow


def test_a_host_that_stays_away_is_given_up_after_a_while(nowhere):
    clock = [0.0]

    def sleep(seconds):
        clock[0] += seconds

    with pytest.raises(UnreachableError):
        list(follow(Api(nowhere), "run-a", patience=10, now=lambda: clock[0], sleep=sleep))

    assert 10 < clock[0] < 13


def test_each_event_is_seen_once_though_the_stream_breaks(host):
    host.break_after = 2

    events = list(follow(Api(host.url), "run-a", sleep=lambda _: None))

    assert [event.id for event in events] == ["1", "2", "3", "end"]


def test_an_unknown_run_is_not_waited_for(host):
    with pytest.raises(RefusedError):
        list(follow(Api(host.url), "run-b"))
