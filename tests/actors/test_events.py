"""Events: waited for with and without a limit, there before the wait, and in a race with time."""

import pytest

from loom_core.errors import StepFailedError
from loom_core.testing import Stage
from tests.actors.conftest import Turn


def test_an_event_reaches_the_turn_that_waits_for_it():
    stage = Stage(Turn)
    stage.send("Turn/a", [["wait", "other"]])
    stage.run()
    stage.event("Turn/a", "unheard", 1)
    stage.run()
    assert stage.status("Turn/a")["status"] == "suspended"
    stage.event("Turn/a", "other", 2)
    stage.run()

    assert stage.status("Turn/a")["status"] == "idle"
    assert stage.status("Turn/a")["events"] == 1


def test_an_event_that_came_before_the_wait_is_there_for_it():
    stage = Stage(Turn)
    stage.event("Turn/a", "go", {"n": 1})
    stage.event("Turn/a", "go", {"n": 2})
    stage.run()

    assert stage.ask("Turn/a", [["wait", "go"], ["wait", "go"]]) == [{"n": 1}, {"n": 2}]
    assert stage.status("Turn/a")["events"] == 0


def test_an_event_whose_time_is_over_is_not_there_for_a_wait():
    stage = Stage(Turn)
    stage.event("Turn/a", "go", "old", ttl=10)
    stage.advance(11)
    stage.event("Turn/a", "go", "new", ttl=10)

    assert stage.ask("Turn/a", [["wait", "go"]]) == ["new"]


def test_the_same_event_twice_is_one():
    stage = Stage(Turn)
    stage.event("Turn/a", "go", 1, id="e")
    stage.event("Turn/a", "go", 1, id="e")
    stage.run()

    assert stage.status("Turn/a")["events"] == 1


def test_a_wait_that_has_lasted_too_long_raises_a_timeout():
    stage = Stage(Turn)

    with pytest.raises(StepFailedError, match="go: no event within 60 seconds") as failed:
        stage.ask("Turn/a", [["wait", "go", 60]])

    assert failed.value.error_type == "TimedOutError"
    assert [entry["reason"] for entry in stage.journal("Turn/a", "resumed")] == ["timeout"] * 3


def test_an_event_after_the_timeout_is_kept_for_another_wait():
    stage = Stage(Turn)
    stage.send("Turn/a", [["wait", "go", 60]])
    stage.advance(300)
    assert len(stage.dead_letters) == 1
    stage.event("Turn/a", "go", "late")
    stage.run()

    assert stage.ask("Turn/a", [["wait", "go", 60]]) == ["late"]


@pytest.mark.parametrize("seed", range(30))
def test_an_event_that_comes_with_the_timeout_is_never_lost(seed):
    stage = Stage(Turn, seed=seed)
    stage.send("Turn/a", [["wait", "go", 60], ["wait", "end"]])
    stage.run()
    stage.bench.after(60, lambda: stage.event("Turn/a", "go", "just in time"))
    stage.advance(60)

    handed = not stage.journal("Turn/a", "turn_failed")
    assert handed is (stage.status("Turn/a")["suspendReason"] == "awaiting_event:end")
    assert stage.status("Turn/a")["events"] == (0 if handed else 1)


def test_both_sides_of_that_race_win_at_times():
    outcomes = set()
    for seed in range(30):
        stage = Stage(Turn, seed=seed)
        stage.send("Turn/a", [["wait", "go", 60]])
        stage.run()
        stage.bench.after(60, lambda stage=stage: stage.event("Turn/a", "go", "just in time"))
        stage.advance(60)
        outcomes.add(bool(stage.journal("Turn/a", "turn_failed")))

    assert outcomes == {True, False}


def test_events_are_journaled_with_what_they_say():
    stage = Stage(Turn)
    stage.event("Turn/a", "go", {"n": 1}, sender="tests", id="e")
    stage.run()

    [entry] = stage.journal("Turn/a", "message_received")
    assert entry["payload"] == {"eventType": "go", "data": {"n": 1}}
    assert (entry["messageType"], entry["messageId"], entry["sender"]) == ("event", "e", "tests")


def test_of_more_than_a_thousand_events_the_newest_are_dead_letters():
    stage = Stage(Turn)
    stage.send_all([("Turn/a", {"eventType": "go", "data": n}) for n in range(1_001)], type="event")
    stage.run()

    assert stage.status("Turn/a")["events"] == 1_000
    assert [letter["message"]["payload"]["data"] for letter in stage.dead_letters] == [1_000]
