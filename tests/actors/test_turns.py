"""Turns: what a generator does over days, what survives its failures, and what does not."""

import pytest

from loom_core import Actor
from loom_core.errors import ConflictError, InvalidError, StepFailedError
from loom_core.testing import Stage
from tests.actors.conftest import Log, Turn, types


def echo(given):
    return given


def stage_of(*more, **about):
    return Stage(Turn, Log, *more, activities={"echo": echo, "bad": lambda _: 1 / 0}, **about)


def test_a_turn_calls_activities_and_actors_and_children():
    stage = stage_of()

    steps = [["call", "echo", 1], ["ask", "Log", "x", "hello"], ["spawn", "Log", "hello"]]

    assert stage.ask("Turn/a", steps) == [1, 1, 1]
    assert stage.state("Log/x") == {"got": ["hello"]}
    [spawned] = stage.journal("Turn/a", "child_spawned")
    assert stage.state(spawned["name"]) == {"got": ["hello"]}


def test_the_journal_tells_what_a_turn_did_in_order():
    stage = stage_of()
    with pytest.raises(StepFailedError):
        stage.ask(
            "Turn/a", [["call", "echo", 1], ["ask", "Log", "x", 2], ["spawn", "Log", 3], ["call", "bad"]]
        )

    assert types(stage, "Turn/a")[:13] == [
        "created", "message_received", "activated", "state_patches", "turn_started", "activity_scheduled",
        "activity_completed", "call_scheduled", "call_completed", "child_spawned", "child_completed",
        "activity_scheduled", "activity_failed",
    ]  # fmt: skip
    scheduled, completed = stage.journal("Turn/a", "activity_scheduled", "activity_completed")[:2]
    assert (scheduled["name"], scheduled["input"], completed["result"]) == ("echo", 1, 1)
    assert scheduled["activityId"] == completed["activityId"]


def test_messages_wait_while_a_turn_runs_and_are_served_in_order_when_it_ends():
    stage = stage_of()
    stage.send("Turn/a", [["wait", "go"], ["did", 0]])
    for n in (1, 2, 3):
        stage.send("Turn/a", [["did", n]])
    stage.run()
    assert stage.status("Turn/a")["mailbox"] == 3
    assert stage.state("Turn/a") == {"did": []}

    stage.event("Turn/a", "go")
    stage.run()

    assert stage.state("Turn/a") == {"did": [0, 1, 2, 3]}


def test_a_suspended_actor_says_why_and_since_when():
    stage = stage_of()
    stage.advance(60)
    stage.send("Turn/a", [["wait", "approval"]])
    stage.advance(60)

    status = stage.status("Turn/a")

    assert (status["status"], status["suspendReason"]) == ("suspended", "awaiting_event:approval")
    assert status["suspendedSince"] == "2026-01-01T00:01:00.000Z"


def test_an_actor_that_was_handed_its_event_is_not_suspended_any_more():
    stage = Stage(Turn, activities={"slow": echo}, duration=lambda _name, _input: 60)
    stage.send("Turn/a", [["wait", "go"], ["call", "slow", 1]])
    stage.run()
    stage.event("Turn/a", "go")
    stage.run()

    assert stage.status("Turn/a")["status"] == "running"
    assert stage.status("Turn/a")["suspendReason"] is None


def test_a_turn_that_suspends_itself_goes_on_with_what_resumes_it():
    stage = stage_of()
    stage.send("Turn/a", [["suspend", "lunch"], ["did", "more"]])
    stage.run()
    assert stage.status("Turn/a")["suspendReason"] == "lunch"
    stage.resume("Turn/a", {"full": True})
    stage.run()

    assert stage.state("Turn/a") == {"did": ["more"]}
    assert [entry["reason"] for entry in stage.journal("Turn/a", "resumed")] == ["loom:resume"]


def test_a_plain_actor_that_suspends_itself_takes_messages_when_it_is_resumed():
    class Shy(Log):
        def execute(self, message):
            if message == "shut":
                self.suspend("at home")
            return super().execute(message)

    stage = Stage(Shy)
    stage.send("Shy/a", "shut")
    stage.send("Shy/a", "hello")
    stage.run()
    assert stage.state("Shy/a") == {"got": ["shut"]}
    assert stage.status("Shy/a")["suspendReason"] == "at home"

    stage.resume("Shy/a")
    stage.run()

    assert stage.state("Shy/a") == {"got": ["shut", "hello"]}


def test_a_turn_that_fails_leaves_the_state_as_it_was():
    stage = stage_of()
    stage.ask("Turn/a", [["did", "before"]])

    with pytest.raises(StepFailedError, match="oh no"):
        stage.ask("Turn/a", [["did", "lost"], ["raise", "oh no"]])

    assert stage.state("Turn/a") == {"did": ["before"]}


def test_a_turn_that_fails_after_it_has_committed_leaves_the_state_as_it_was():
    stage = stage_of()
    stage.ask("Turn/a", [["did", "before"]])
    stage.send("Turn/a", [["did", "seen"], ["wait", "go"], ["did", "lost"], ["raise", "oh no"]])
    stage.run()
    assert stage.state("Turn/a") == {"did": ["before", "seen"]}
    stage.event("Turn/a", "go")
    stage.run()

    assert stage.state("Turn/a") == {"did": ["before"]}
    assert stage.journal("Turn/a", "state_patches")[-1]["reason"] == "undone"


def test_a_second_attempt_waits_first_and_is_the_last_one_that_matters():
    tries = []

    def moody(given):
        tries.append(given)
        if len(tries) < 3:
            raise RuntimeError("not yet")
        return "done"

    stage = Stage(Turn, activities={"moody": moody})
    stage.send("Turn/a", [["call", "moody", 1], ["did", "it"]])
    stage.run()
    assert (stage.status("Turn/a")["attempts"], len(tries)) == (1, 1)
    assert stage.status("Turn/a")["lastError"]["message"] == "moody: RuntimeError: not yet"
    stage.advance(0.9)
    assert len(tries) == 1
    stage.advance(0.1)
    assert len(tries) == 2
    stage.advance(2)

    assert stage.state("Turn/a") == {"did": ["it"]}
    assert [entry["attempt"] for entry in stage.journal("Turn/a", "turn_started")] == [1, 2, 3]
    assert stage.dead_letters == []


def test_a_second_attempt_has_the_keys_of_the_first():
    stage = stage_of()
    stage.send("Turn/a", [["call", "bad"]], id="m")
    stage.advance(60)

    assert [entry["activityId"] for entry in stage.journal("Turn/a", "activity_scheduled")] == [
        "Turn/a/m/1"
    ] * 3


def test_what_an_actor_answered_is_not_asked_again_by_a_second_attempt():
    stage = stage_of()
    stage.send("Turn/a", [["ask", "Log", "x", "once"], ["spawn", "Log", "once"], ["raise", "oh no"]])
    stage.advance(60)

    assert len(stage.journal("Turn/a", "turn_failed")) == 3
    assert stage.state("Log/x") == {"got": ["once"]}
    [spawned] = stage.journal("Turn/a", "child_spawned")
    assert stage.state(spawned["name"]) == {"got": ["once"]}


def test_a_second_attempt_that_asks_something_else_is_not_given_the_old_answer():
    class Other(Actor):
        def execute(self, message):
            what = yield self.call_activity("what")
            answer = yield self.call_actor("Log", "x", what)
            if what == 1:
                raise RuntimeError("not this")
            return answer

    answers = iter([1, 2])
    stage = Stage(Other, Log, activities={"what": lambda _: next(answers)})

    assert stage.ask("Other/a") == 2
    assert stage.state("Log/x") == {"got": [1, 2]}


def test_what_was_sent_before_a_suspension_is_not_sent_again_by_a_second_attempt():
    stage = stage_of()
    steps = [["send", "Log/x", "one"], ["send", "queue:q", "two"], ["wait", "go"], ["send", "Log/x", "lost"]]
    stage.send("Turn/a", [*steps, ["raise", "oh no"]])
    stage.run()
    for _ in range(3):
        stage.event("Turn/a", "go")
        stage.advance(10)

    assert len(stage.dead_letters) == 1
    assert stage.state("Log/x") == {"got": ["one"]}
    assert stage.sent_to("queue:q") == ["two"]


def test_a_message_that_cannot_be_served_is_quarantined_and_the_next_one_is_served():
    stage = stage_of()
    stage.send("Turn/a", [["raise", "oh no"]], id="poison")
    stage.send("Turn/a", [["did", "next"]])
    stage.advance(60)

    assert stage.state("Turn/a") == {"did": ["next"]}
    [letter] = stage.dead_letters
    assert (letter["actorId"], letter["message"]["messageId"]) == ("Turn/a", "poison")
    assert (letter["error"]["type"], letter["error"]["message"], letter["attempts"]) == (
        "RuntimeError",
        "oh no",
        3,
    )
    [entry] = stage.journal("Turn/a", "quarantined")
    assert entry["messageId"] == "poison"


@pytest.mark.parametrize("call", ["call_activity", "call_actor", "wait_for_event", "spawn_child", "rollback"])
@pytest.mark.parametrize("durable", [True, False])
def test_a_call_that_is_not_yielded_is_an_error(call, durable):
    about = {"call_actor": ("Log", "x"), "spawn_child": ("Log",), "rollback": (1,)}.get(call, ("echo",))

    class Forgetful(Actor):
        def execute(self, message):
            getattr(self, call)(*about)

    class Durable(Actor):
        def execute(self, message):
            getattr(self, call)(*about)
            yield self.call_activity("echo")

    stage = stage_of(Forgetful, Durable)

    with pytest.raises(StepFailedError, match="is to be yielded"):
        stage.ask("Durable/a" if durable else "Forgetful/a")


def test_a_running_turn_is_cancelled_with_its_children():
    stage = stage_of()
    stage.send("Turn/a", [["spawn", "Turn", [["wait", "never"]]]], id="parent")
    stage.send("Turn/a", [["did", "next"]])
    stage.run()
    [child] = stage.bench.cast.kept.keys() - {"Turn/a"}
    assert stage.status(child)["status"] == "suspended"

    assert stage.cancel("Turn/a") == {"status": "cancelling"}
    stage.run()

    assert stage.status(child)["status"] == "idle"
    assert len(stage.journal(child, "turn_cancelled")) == 1
    assert [entry["messageId"] for entry in stage.journal("Turn/a", "turn_cancelled")] == ["parent"]
    assert stage.state("Turn/a") == {"did": ["next"]}
    assert stage.dead_letters == []


def test_a_cancelled_turn_leaves_the_state_as_it_was_and_stops_its_activities():
    stage = Stage(Turn, activities={"slow": echo}, duration=lambda _name, _input: 60)
    stage.send("Turn/a", [["did", 1], ["wait", "go"], ["did", 2], ["call", "slow"]], id="m")
    stage.event("Turn/a", "go")
    stage.advance(30)
    stage.cancel("Turn/a")
    stage.advance(60)

    assert stage.state("Turn/a") == {"did": []}
    assert stage.bench.stopped == ["Turn/a/m"]


def test_a_child_that_has_failed_before_does_no_harm_to_cancelling():
    class Parent(Actor):
        def execute(self, message):
            try:
                yield self.spawn_child("Turn", [["raise", "oh no"]])
            except StepFailedError:
                yield self.wait_for_event("never")

    stage = Stage(Parent, Turn)
    stage.send("Parent/a")
    stage.advance(60)
    stage.cancel("Parent/a")
    stage.run()

    assert stage.status("Parent/a")["status"] == "idle"


def test_messages_that_wait_and_those_to_be_tried_again_can_be_cancelled():
    stage = stage_of()
    stage.send("Turn/a", [["raise", "oh no"]], id="failing")
    stage.send("Turn/a", [["did", "waiting"]], id="waiting")
    stage.run()

    assert stage.cancel("Turn/a", "waiting") == {"status": "cancelled"}
    assert stage.cancel("Turn/a", "failing") == {"status": "cancelled"}
    stage.advance(60)
    assert stage.state("Turn/a") == {"did": []}
    assert len(stage.journal("Turn/a", "turn_failed")) == 1
    with pytest.raises(ConflictError, match="nothing to cancel"):
        stage.cancel("Turn/a")


def test_whoever_asked_learns_of_the_cancellation():
    stage = stage_of()
    stage.send("Turn/a", [["ask", "Turn", "b", [["wait", "never"]]]])
    stage.run()
    stage.cancel("Turn/b")
    stage.advance(60)

    error = stage.journal("Turn/a", "call_failed")[0]["error"]
    assert error == "Turn/b: CancelledError: it was cancelled"
    assert stage.dead_letters[0]["attempts"] == 1


def test_a_rollback_is_a_change_like_any_other():
    stage = stage_of()
    stage.ask("Turn/a", [["did", 1]])
    seq = stage.status("Turn/a")["seq"]
    stage.ask("Turn/a", [["did", 2]])

    assert stage.rollback("Turn/a", seq)["state"] == {"did": [1]}

    assert stage.state("Turn/a") == {"did": [1]}
    assert stage.state("Turn/a", at=stage.status("Turn/a")["seq"] - 2) == {"did": [1, 2]}
    assert types(stage, "Turn/a")[-2:] == ["rolled_back", "state_patches"]
    stage.ask("Turn/a", [["did", 3]])
    assert stage.state("Turn/a") == {"did": [1, 3]}


def test_a_turn_can_roll_back_what_it_has_done_and_go_on_from_there():
    stage = stage_of()
    stage.ask("Turn/a", [["did", 1]])
    seq = stage.status("Turn/a")["seq"]

    stage.ask("Turn/a", [["did", 2], ["rollback", seq], ["did", 3]])

    assert stage.state("Turn/a") == {"did": [1, 3]}


def test_what_lies_in_the_future_and_a_running_turn_are_not_rolled_back():
    stage = stage_of()
    stage.ask("Turn/a", [["did", 1]])
    with pytest.raises(ConflictError, match="has not come to 99"):
        stage.rollback("Turn/a", 99)
    with pytest.raises(InvalidError, match="none -1"):
        stage.rollback("Turn/a", -1)
    stage.send("Turn/a", [["wait", "go"]])
    stage.run()
    with pytest.raises(ConflictError, match="in a turn"):
        stage.rollback("Turn/a", 1)


def test_an_actor_can_ask_for_a_type_only_that_there_is():
    stage = stage_of()

    with pytest.raises(StepFailedError, match="there is no actor type 'Lug'") as failed:
        stage.ask("Turn/a", [["ask", "Lug", "x"]])

    assert failed.value.error_type == "InvalidError"


def test_a_state_or_an_answer_that_is_no_json_fails_the_message_and_not_the_actor():
    class Odd(Actor):
        def execute(self, message):
            match message:
                case "state":
                    self.update_state(lambda state: state.update(odd={1, 2}))
                case "event":
                    self.record_event("odd", what=object())
                case "answer":
                    return object()
            return "fine"

    class OddTurn(Odd):
        def execute(self, message):
            result = super().execute(message)
            yield self.call_activity("echo")
            return result

    stage = stage_of(Odd, OddTurn)
    for kind in ("Odd", "OddTurn"):
        for message in ("state", "event", "answer"):
            with pytest.raises(StepFailedError):
                stage.ask(f"{kind}/a", message)
        assert stage.ask(f"{kind}/a", "fine") == "fine"


@pytest.mark.parametrize("kind", ["Fat", "FatTurn"])
def test_a_state_that_is_too_large_fails_the_message(kind):
    class Fat(Actor):
        def execute(self, message):
            self.update_state(lambda state: state.update(fat="x" * message))

    class FatTurn(Fat):
        def execute(self, message):
            super().execute(message)
            yield self.call_activity("echo")

    stage = stage_of(Fat, FatTurn)
    stage.ask(f"{kind}/a", 1_000_000)

    with pytest.raises(StepFailedError, match="the state would have more than"):
        stage.ask(f"{kind}/a", 1_100_000)

    assert len(stage.state(f"{kind}/a")["fat"]) == 1_000_000


def test_a_conversation_of_four_hundred_rounds_keeps_the_entity_small():
    class Chat(Actor):
        def default_state(self):
            return {"rounds": 0}

        def execute(self, message):
            while True:
                said = yield self.wait_for_event("said")
                self.update_state(lambda state: state.update(rounds=state["rounds"] + 1))
                if said == "bye":
                    return "bye"

    stage = Stage(Chat)
    stage.send("Chat/a")
    stage.run()
    sizes = []
    for n in range(400):
        stage.event("Chat/a", "said", "bye" if n == 399 else "hello " * 100)
        stage.bench.advance(1)
        sizes.append(len(stage.bench.cast.kept["Chat/a"].document))

    assert stage.state("Chat/a") == {"rounds": 400}
    # The ids of the messages make it grow, and nothing else.
    assert sizes[398] < sizes[1] + 400 * 10 + 100
