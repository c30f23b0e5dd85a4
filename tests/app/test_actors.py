"""Actors of the shipped function app on the real local host, over HTTP: sent to, looked at, steered."""

import json
import shutil
import time

import httpx
import pytest

from tests.host.processes import FAST, ROOT, ready_host

ACTORS = """
from pydantic import BaseModel

from loom_core.actors.actor import Actor
from loom_core.errors import ConflictError


class Counter(Actor):
    class Message(BaseModel):
        amount: int

    def default_state(self):
        return {"total": 0}

    def execute(self, message):
        if message.amount < 0 and self.state["total"] == 0:
            raise ConflictError("there is nothing to take")
        self.update_state(lambda s: s.update(total=s["total"] + message.amount))
        return self.state["total"]


class Writer(Actor):
    def execute(self, text):
        self.update_state(lambda s: s.update(text=text))
        return text


class Clerk(Actor):
    def execute(self, request):
        approval = yield self.wait_for_event("approval")
        self.update_state(lambda s: s.update(approval=approval))
        more = yield self.suspend("needs a signature")
        return [approval, more]
"""
PATIENCE = 60.0


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    app = tmp_path_factory.mktemp("app")
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, app)
    for name in ("activities", "pipelines", "actors"):
        (app / name).mkdir()
    (app / "actors" / "ours.py").write_text(ACTORS)
    environment = {"PYTHONPATH": str(ROOT)}
    with (
        ready_host(app, tmp_path_factory.mktemp("data"), *FAST, env=environment) as host,
        httpx.Client(base_url=f"{host.url}/api", timeout=PATIENCE) as client,
    ):
        yield client


WAIT = {"Prefer": "wait=30"}


def ask(api, target, payload, **more):
    answer = api.post(f"/actors/{target}/messages", json={"payload": payload, **more}, headers=WAIT)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"][0]


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_actors_answer_in_order_and_tell_what_they_did(api):
    sent = api.post("/actors/counter/a/messages", json=[{"payload": {"amount": n}} for n in (1, 2, 3)])
    answered = ask(api, "Counter/a", {"amount": 4}, messageId="m-4")

    assert sent.status_code == 202
    assert answered == {"messageId": "m-4", "actorId": "Counter/a", "status": "done", "result": 10}
    shown = api.get("/actors/Counter/a").json()
    entries = api.get("/actors/Counter/a/journal").json()["entries"]
    received = [entry for entry in entries if entry["type"] == "message_received"]
    assert (shown["state"], shown["seq"], shown["mailbox"]) == ({"total": 10}, len(entries), 0)
    assert [entry["payload"]["amount"] for entry in received] == [1, 2, 3, 4]
    changed = [entry["seq"] for entry in entries if entry.get("patches", [{}])[0].get("path") == "/total"]
    states = [api.get("/actors/Counter/a/state", params={"at": seq}).json()["state"] for seq in changed]
    assert [state["total"] for state in states] == [1, 3, 6, 10]
    lines = api.get("/actors/Counter/a/export").text.splitlines()
    assert [json.loads(line) for line in lines] == entries
    assert "Counter/a" in api.get("/actors/counter").json()["actors"]


def test_a_message_is_served_once_however_often_it_is_sent(api):
    message = {"messageId": "once", "payload": {"amount": 1}}
    first = ask(api, "Counter/once", {"amount": 1}, messageId="once")
    again = ask(api, "Counter/once", {"amount": 1}, messageId="once")
    one_way = [api.post("/actors/Counter/once/messages", json=[message, message]).json() for _ in range(2)]

    assert first == again, "who waits is answered from the first time"
    assert {one["status"] for answer in one_way for one in answer["results"]} == {"duplicate"}
    assert ask(api, "Counter/once", {"amount": 0})["result"] == 1


def test_many_actors_are_asked_at_once_even_with_one_id(api):
    messages = [
        {"actorId": f"Counter/many-{n}", "messageId": "same", "payload": {"amount": n}} for n in range(20)
    ]

    results = api.post("/messages", json=messages, headers=WAIT).json()["results"]

    assert [one["result"] for one in results] == list(range(20))


def test_a_large_payload_is_whole_for_the_actor_and_for_who_looks(api):
    text = "x" * 100_000

    assert ask(api, "Writer/a", text)["result"] == text
    assert api.get("/actors/Writer/a").json()["state"] == {"text": text}


def test_an_actor_waits_for_an_event_and_to_be_resumed(api):
    api.post("/actors/Clerk/a/messages", json={"messageId": "m", "payload": 1})
    event = {"messageType": "event", "payload": {"eventType": "approval", "data": {"by": "me"}}}

    assert api.post("/actors/Clerk/a/messages", json=event, headers=WAIT).status_code == 200
    until(lambda: api.get("/actors/Clerk/a").json()["suspendReason"] == "needs a signature")
    assert api.post("/actors/Clerk/a/resume", json="me").status_code == 202
    until(lambda: api.get("/actors/Clerk/a").json()["status"] == "idle")
    assert api.get("/actors/Clerk/a/state").json()["state"] == {"approval": {"by": "me"}}


def test_a_turn_is_cancelled_and_who_waits_is_told(api):
    api.post("/actors/Clerk/b/messages", json={"messageId": "m", "payload": 1})

    assert until(lambda: api.get("/actors/Clerk/b").json()["status"] == "suspended")
    assert api.post("/actors/Clerk/b/cancel").json() == {"status": "cancelling"}
    until(lambda: api.get("/actors/Clerk/b").json()["status"] == "idle")
    nothing = api.post("/actors/Clerk/b/cancel")
    assert (nothing.status_code, nothing.json()["detail"]) == (409, "there is nothing to cancel")


def test_an_actor_is_rolled_back(api):
    for amount in (1, 2):
        ask(api, "Counter/back", {"amount": amount})
    first = next(
        entry["seq"]
        for entry in api.get("/actors/Counter/back/journal").json()["entries"]
        if entry["type"] == "state_patches" and entry["patches"][0]["path"] == "/total"
    )

    answer = api.post("/actors/Counter/back/rollback", json={"toSeq": first})
    never = api.post("/actors/Counter/back/rollback", json={"toSeq": 1_000})

    assert answer.json()["state"] == {"total": 1}
    assert never.status_code == 409
    assert ask(api, "Counter/back", {"amount": 5})["result"] == 6


def test_what_cannot_be_served_is_a_dead_letter_until_it_is_replayed(api):
    failed = ask(api, "Counter/poor", {"amount": -1}, messageId="too-much")
    query = {"actor": "Counter/poor"}
    [letter] = until(lambda: api.get("/deadletters", params=query).json()["deadLetters"])
    ask(api, "Counter/poor", {"amount": 5})

    replayed = api.post(f"/deadletters/{letter['id']}/replay")

    assert (failed["status"], failed["error"]["message"]) == ("failed", "there is nothing to take")
    assert (letter["messageId"], letter["error"]["type"]) == ("too-much", "ConflictError")
    assert replayed.json()["messageId"] == "too-much#r1"
    until(lambda: api.get("/actors/Counter/poor/state").json()["state"] == {"total": 4})
    assert api.get("/deadletters", params=query).json()["deadLetters"] == []


def test_a_message_that_dies_again_is_a_dead_letter_again(api):
    ask(api, "Counter/lost", {"amount": -1}, messageId="no")
    query = {"actor": "Counter/lost"}
    for times in (1, 2):
        [letter] = until(lambda: api.get("/deadletters", params=query).json()["deadLetters"])
        replayed = api.post("/deadletters/replay", json={"all": True, **query}).json()
        assert [one["messageId"] for one in replayed["results"]] == [f"no#r{times}"]
        assert letter["id"] == replayed["results"][0]["id"]
    [letter] = until(lambda: api.get("/deadletters", params=query).json()["deadLetters"])
    assert api.delete(f"/deadletters/{letter['id']}").status_code == 204


def test_a_payload_that_breaks_its_type_is_refused_and_nothing_is_sent(api):
    answer = api.post("/actors/Counter/none/messages", json=[{"payload": {"amount": n}} for n in (1, "x")])

    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["problems"]] == ["$[1].payload.amount"]
    assert api.get("/actors/Counter/none").status_code == 404


LARGE = """
from loom_core.actors.actor import Actor


class Archive(Actor):
    def default_state(self):
        return {"pages": [str(number) * 100 for number in range(300)]}

    def execute(self, page):
        if page == "plain":
            return len(self.state["pages"])
        yield self.call_activity("noop", page)
        self.update_state(lambda s: s["pages"].append(page))
        more = yield self.wait_for_event("more")
        self.update_state(lambda s: s["pages"].append(more))
        return len(self.state["pages"])
"""


def test_a_turn_over_a_large_state_goes_on_after_a_kill_with_the_state_that_it_began_with(tmp_path):
    app, data = tmp_path / "app", tmp_path / "data"
    app.mkdir()
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, app)
    shutil.copytree(ROOT / "activities", app / "activities")
    for name in ("pipelines", "actors"):
        (app / name).mkdir()
    (app / "actors" / "ours.py").write_text(LARGE)

    def client(host):
        return httpx.Client(base_url=f"{host.url}/api", timeout=PATIENCE)

    environment = {"PYTHONPATH": str(ROOT)}
    with ready_host(app, data, *FAST, env=environment) as host, client(host) as api:
        api.post("/actors/Archive/a/messages", json={"payload": "first"})
        assert until(lambda: api.get("/actors/Archive/a").json()["status"] == "suspended")
        began = next(
            entry["seq"]
            for entry in api.get("/actors/Archive/a/journal").json()["entries"]
            if entry["type"] == "turn_started"
        )
    with ready_host(app, data, *FAST, env=environment) as host, client(host) as api:
        event = {"messageType": "event", "payload": {"eventType": "more", "data": "second"}}
        api.post("/actors/Archive/a/messages", json=event)
        until(lambda: api.get("/actors/Archive/a").json()["status"] == "idle")
        pages = api.get("/actors/Archive/a").json()["state"]["pages"]
        before = api.get("/actors/Archive/a/state", params={"at": began}).json()["state"]["pages"]

    assert (len(before), pages[300:]) == (300, ["first", "second"])
    assert pages[:300] == before
