"""Mailboxes: the order of messages, those that come twice or too late, and very many of them."""

import pytest

from loom_core import Actor
from loom_core.errors import InvalidError, StepFailedError
from loom_core.testing import Stage
from loom_core.wire.commands import CallEntity
from tests.actors.conftest import Log, Turn


def got(stage, address="Log/a"):
    return stage.state(address)["got"]


def test_messages_are_served_in_the_order_in_which_they_came():
    stage = Stage(Log)
    stage.send_all([("Log/a", n) for n in range(50)])
    stage.send("Log/a", 50)
    stage.run()

    assert got(stage) == list(range(51))


def test_what_is_urgent_goes_first_and_keeps_its_own_order():
    stage = Stage(Turn)
    stage.send("Turn/a", [["wait", "go"]])
    stage.run()
    for number, priority in enumerate([0, 5, -1, 5, 0]):
        stage.send("Turn/a", [["did", number]], priority=priority)
    stage.run()
    assert stage.status("Turn/a")["mailbox"] == 5

    stage.event("Turn/a", "go")
    stage.run()

    assert stage.state("Turn/a")["did"] == [1, 3, 0, 4, 2]


def test_a_message_whose_time_is_over_is_not_served_and_says_so():
    stage = Stage(Turn)
    stage.send("Turn/a", [["wait", "go"]])
    stage.send("Turn/a", [["did", "late"]], ttl=10, id="late")
    stage.send("Turn/a", [["did", "in time"]], ttl=100)
    stage.advance(11)
    stage.event("Turn/a", "go")
    stage.run()

    assert stage.state("Turn/a")["did"] == ["in time"]
    assert [entry["messageId"] for entry in stage.journal("Turn/a", "expired")] == ["late"]


def test_who_waits_for_an_answer_learns_that_the_message_has_expired():
    stage = Stage(Turn, Log)
    stage.send("Turn/a", [["wait", "go", 60]])
    stage.run()

    with pytest.raises(StepFailedError, match="its ttl is over") as failed:
        stage.ask("Turn/a", [["did", "late"]], ttl=10)

    assert failed.value.error_type == "TimedOutError"


def test_the_same_message_is_served_once_among_the_last_thousand():
    stage = Stage(Log)
    ids = [f"m-{n}" for n in range(1_000)]
    for id_ in ids:
        stage.send("Log/a", id_, id=id_)
    stage.run()
    for id_ in ids:
        stage.send("Log/a", id_, id=id_)
    stage.run()

    assert got(stage) == ids


def test_a_thousand_ids_make_no_large_entity():
    class Nothing(Actor):
        def execute(self, message):
            pass

    stage = Stage(Nothing)
    stage.send_all([("Nothing/a", None)] * 3_000)
    stage.run()

    assert len(stage.document("Nothing/a")["ids"]) == 10_000


def test_who_asks_with_an_id_that_came_before_is_told_so():
    stage = Stage(Log)
    stage.ask("Log/a", 1, id="one")

    with pytest.raises(StepFailedError, match="has come before"):
        stage.ask("Log/a", 1, id="one")

    assert got(stage) == [1]


def test_of_a_sender_that_is_an_actor_one_number_is_remembered():
    stage = Stage(Log)
    for _ in range(200):
        stage.send("Log/a", {"to": ["Log/b"]})
    stage.run()

    document = stage.document("Log/b")
    assert len(got(stage, "Log/b")) == 200
    assert list(document["marks"]) == ["Log/a"]
    assert "ids" not in document


def test_a_repeated_message_of_an_actor_is_not_served_again():
    stage = Stage(Log)
    stage.send("Log/a", {"to": ["Log/b"]})
    stage.run()
    [sent] = stage.journal("Log/a", "message_sent")
    again = {"messageId": f"Log/a:{sent['seq']}", "actorId": "Log/b", "messageType": "activate"}
    again |= {"correlationId": "x", "payload": {}, "metadata": {"timestamp": "2026-01-01T00:00:00Z"}}
    answers = []
    stage.bench.cast.call(CallEntity("Log", "b", "tell", {"messages": [again]}), answers.append)
    stage.run()

    assert answers == [[{"messageId": again["messageId"], "status": "duplicate"}]]
    assert len(got(stage, "Log/b")) == 1


def test_correlation_and_trace_go_along_from_actor_to_actor_to_queue():
    class Relay(Actor):
        def execute(self, message):
            self.send(message, "queue:out")

    class Out(Actor):
        def execute(self, message):
            self.send(message, self.message["metadata"]["sender"])

    stage = Stage(Relay, Out)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    stage.send("Relay/a", "Out/b", correlation="order-7", traceparent=trace)
    stage.run()

    [[id_, sent]] = stage.bench.cast.queues["out"].items()
    assert stage.sent_to("queue:out") == ["Relay/a"]
    assert (sent["correlationId"], sent["metadata"]["traceparent"]) == ("order-7", trace)
    assert sent["metadata"]["sender"] == "Out/b"
    assert id_.startswith("Out/b:")


def test_a_delayed_message_comes_when_it_is_due():
    class Clock(Actor):
        def default_state(self):
            return {"ticks": []}

        def execute(self, message):
            self.update_state(lambda state: state["ticks"].append(self.now))
            if message:
                self.schedule(60, message - 1)

    stage = Stage(Clock)
    stage.send("Clock/a", 2)
    stage.advance(59)
    assert len(stage.state("Clock/a")["ticks"]) == 1
    stage.advance(61)

    first, *others = stage.state("Clock/a")["ticks"]
    assert others == [first + 60, first + 120]


@pytest.mark.parametrize("to", ["nobody", "Nobody/a", "Log/", "Log/a/b", "queue:"])
def test_a_message_to_what_is_no_address_fails_whoever_sends_it(to):
    stage = Stage(Log)

    with pytest.raises(StepFailedError) as failed:
        stage.ask("Log/a", {"to": [to]})

    assert failed.value.error_type == "InvalidError"
    assert stage.dead_letters[0]["attempts"] == 1
    assert stage.journal("Log/a", "message_sent") == []


def test_the_kind_of_an_address_is_found_however_it_is_spelt():
    stage = Stage(Log)
    stage.ask("log/a", 1)

    assert stage.ask("LOG/a", 2) == 2
    with pytest.raises(InvalidError, match="no actor type 'Lug'"):
        stage.send("Lug/a")


def test_ten_thousand_messages_wait_for_a_turn_outside_the_entity_and_keep_their_order():
    stage = Stage(Turn, activities={"note": lambda _: None})
    stage.send("Turn/a", [["wait", "go"]])
    stage.run()
    for start in range(0, 10_000, 500):
        stage.send_all([("Turn/a", [["call", "note", n]]) for n in range(start, start + 500)])
        stage.run()
    assert stage.status("Turn/a")["mailbox"] == 10_000
    assert len(stage.bench.cast.kept["Turn/a"].document) < 128 * 1024
    stage.send("Turn/a", [["call", "note", "urgent"]], priority=1)
    stage.event("Turn/a", "go")
    # Each is a turn of its own, so some hundred of them have to do.
    stage.bench.until(Reached(lambda: len(stage.calls) > 500))

    assert [taken for _, taken in stage.calls] == ["urgent", *range(500)]


class Reached:
    """Something that a bench can wait for."""

    def __init__(self, is_so):
        self.is_so = is_so

    def __bool__(self):
        return self.is_so()


def test_very_many_messages_that_are_served_at_once_come_back_from_the_chunks_in_order():
    class Gate(Actor):
        def default_state(self):
            return {"next": 0, "wrong": 0}

        def execute(self, message):
            if message == "stop":
                return self.suspend("stopped")
            wrong = int(message) != self.state["next"]
            return self.update_state(lambda s: s.update(next=s["next"] + 1, wrong=s["wrong"] + wrong))

    stage = Stage(Gate)
    stage.send("Gate/a", "stop")
    stage.run()
    for start in range(0, 10_000, 1_000):
        stage.send_all([("Gate/a", f"{n:0100}") for n in range(start, start + 1_000)])
        stage.run()
    kept = stage.bench.cast.kept["Gate/a"]
    assert len(kept.chunks) > 10
    assert len(kept.document) < 128 * 1024

    stage.resume("Gate/a")
    stage.run()
    stage.send("Gate/a", "10000")
    stage.run()

    assert stage.state("Gate/a") == {"next": 10_001, "wrong": 0}
    assert kept.chunks == {}


def test_the_journal_has_what_came_and_what_went():
    stage = Stage(Log)
    stage.ask("Log/a", {"to": ["Log/b", "queue:q"]}, sender="tests", id="m", correlation="c")

    entries = stage.journal("Log/a")
    received, sent = stage.journal("Log/a", "message_received", "message_sent")[:2]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert all(entry["at"].endswith("Z") for entry in entries)
    assert received | {"seq": 0, "at": ""} == {
        "seq": 0, "at": "", "type": "message_received", "messageId": "m", "correlationId": "c",
        "payload": {"to": ["Log/b", "queue:q"]}, "sender": "tests",
    }  # fmt: skip
    assert (sent["to"], sent["payload"]) == ("Log/b", {"from": "Log/a"})
    changes = stage.journal("Log/a", "state_patches")
    assert all(entry["patches"] and entry["inverse"] for entry in changes)
