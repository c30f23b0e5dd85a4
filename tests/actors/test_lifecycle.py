"""The life of an actor: its first message, its models, its idle time, and hooks that fail."""

import pytest
from pydantic import BaseModel, Field

from loom_core import Actor
from loom_core.errors import StepFailedError
from loom_core.testing import Stage
from tests.actors.conftest import types


class Moods(Actor):
    idle_timeout = 60

    def default_state(self):
        return {"moods": []}

    def feel(self, mood):
        self.update_state(lambda state: state["moods"].append(mood))

    def on_activate(self):
        self.feel("awake")

    def on_deactivate(self):
        self.feel("asleep")
        self.send("queue:bed", self.id)

    def execute(self, message):
        if message == "boom":
            raise RuntimeError("boom")
        self.feel(message)


def moods(stage):
    return stage.state("Moods/a")["moods"]


def test_an_actor_wakes_up_for_its_first_message_and_after_it_was_idle():
    stage = Stage(Moods)
    stage.send("Moods/a", "one")
    stage.send("Moods/a", "two")
    stage.advance(59)
    assert moods(stage) == ["awake", "one", "two"]
    stage.advance(1)
    assert moods(stage) == ["awake", "one", "two", "asleep"]
    stage.send("Moods/a", "three")
    stage.advance(1)

    assert moods(stage) == ["awake", "one", "two", "asleep", "awake", "three"]
    assert stage.status("Moods/a")["activationCount"] == 2
    assert stage.sent_to("queue:bed") == ["a"]
    assert [kind for kind in types(stage, "Moods/a") if "activated" in kind] == [
        "activated",
        "deactivated",
        "activated",
    ]


def test_every_message_begins_the_idle_time_anew():
    stage = Stage(Moods)
    for _ in range(5):
        stage.send("Moods/a", "x")
        stage.advance(50)

    assert "asleep" not in moods(stage)
    stage.advance(10)
    assert moods(stage)[-1] == "asleep"


def test_waking_up_for_something_else_makes_no_more_idle_timers():
    stage = Stage(Moods)
    stage.send("Moods/a", "x")
    for _ in range(50):
        stage.send("Moods/a", "boom")
        stage.advance(59)
    stage.advance(0.5)

    timers = [call for *_, call in stage.bench._agenda if "wake" in repr(getattr(call, "args", ""))]
    assert len(timers) < 5


def test_a_turn_is_not_put_to_sleep_and_its_actor_is_when_it_has_ended():
    class Patient(Moods):
        def execute(self, message):
            yield self.wait_for_event("go")

    stage = Stage(Patient)
    stage.send("Patient/a")
    stage.advance(1_000)
    assert stage.state("Patient/a") == {"moods": ["awake"]}
    stage.event("Patient/a", "go")
    stage.advance(121)

    assert stage.state("Patient/a") == {"moods": ["awake", "asleep"]}


def test_a_message_that_fails_does_not_wake_the_actor_up():
    stage = Stage(Moods)
    stage.send("Moods/a", "boom")
    stage.advance(10)
    assert types(stage, "Moods/a").count("activated") == 0
    stage.ask("Moods/a", "fine")

    assert moods(stage) == ["awake", "fine"]


@pytest.mark.parametrize("hook", ["default_state", "on_activate"])
def test_a_hook_that_fails_fails_the_message(hook):
    class Broken(Actor):
        def execute(self, message):
            return "served"

    def fail(_self):
        raise RuntimeError(f"{hook} is broken")

    setattr(Broken, hook, fail)
    stage = Stage(Broken)

    with pytest.raises(StepFailedError, match=f"{hook} is broken"):
        stage.ask("Broken/a")

    assert len(stage.dead_letters) == 1
    delattr(Broken, hook)
    assert stage.ask("Broken/a") == "served"


def test_an_on_deactivate_that_fails_is_journaled_and_changes_nothing():
    class Insomniac(Moods):
        def on_deactivate(self):
            self.feel("lost")
            raise RuntimeError("cannot sleep")

    stage = Stage(Insomniac)
    stage.ask("Insomniac/a", "x")
    stage.advance(61)

    assert stage.state("Insomniac/a") == {"moods": ["awake", "x"]}
    assert stage.journal("Insomniac/a", "turn_failed")[0]["error"]["message"] == "cannot sleep"
    assert types(stage, "Insomniac/a")[-2:] == ["deactivated", "turn_failed"]


class Order(BaseModel):
    item: str
    count: int = Field(gt=0)


class Basket(BaseModel):
    orders: list[Order] = []
    total: int = 0


class Shop(Actor):
    State = Basket
    Message = Order

    def execute(self, order):
        def put(basket):
            basket.orders.append(order)
            basket.total += order.count

        self.update_state(put)
        return self.state.total


def test_models_hold_the_state_and_the_messages():
    stage = Stage(Shop)
    stage.ask("Shop/a", {"item": "pear", "count": 2})

    assert stage.ask("Shop/a", {"item": "fig", "count": 3}) == 5
    assert stage.state("Shop/a") == {
        "orders": [{"item": "pear", "count": 2}, {"item": "fig", "count": 3}],
        "total": 5,
    }


def test_a_message_that_does_not_fit_its_model_is_refused_with_every_problem_and_not_tried_again():
    stage = Stage(Shop)

    with pytest.raises(StepFailedError) as failed:
        stage.ask("Shop/a", {"item": 1, "count": 0})

    assert "$.payload.item: " in failed.value.message
    assert "$.payload.count: " in failed.value.message
    assert (failed.value.error_type, stage.dead_letters[0]["attempts"]) == ("InvalidError", 1)


def test_what_an_actor_records_is_in_its_journal():
    class Recorder(Actor):
        def execute(self, message):
            self.record_event("login", user="ada")
            self.record_metric("tokens", 7, model="small")
            self.record_span("search", 1.0, 2.5, hits=3)

    stage = Stage(Recorder)
    stage.ask("Recorder/a")

    event, metric, span = stage.journal("Recorder/a", "event", "metric", "span")
    assert (event["name"], event["properties"]) == ("login", {"user": "ada"})
    assert (metric["name"], metric["value"], metric["properties"]) == ("tokens", 7, {"model": "small"})
    assert (span["name"], span["start"], span["end"]) == ("search", 1.0, 2.5)
