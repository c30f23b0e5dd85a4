"""Actors over HTTP: looked at and steered."""

import json

import pytest


async def test_the_types_of_the_app_are_listed(api):
    assert (await api.get("/actors")).json() == {"types": ["Counter", "Echo"]}


async def test_the_actors_of_a_type_are_listed_in_pages(api, world):
    for id_ in "abc":
        world.has(f"Echo/{id_}", {})
    world.has("Counter/a", {"total": 0})

    first = (await api.get("/actors/echo", params={"limit": 2})).json()
    every = (await api.get("/actors/Counter")).json()

    assert first == {"actors": ["Echo/a", "Echo/b"], "next": "1"}
    assert every == {"actors": ["Counter/a"], "next": None}


async def test_an_actor_is_shown_with_its_state_and_its_long_strings(api, world):
    world.has("Echo/a", {"text": {"$ref": "payloads/x", "bytes": 8}}, entries=4)

    found = (await api.get("/actors/echo/a")).json()

    assert (found["type"], found["id"], found["status"], found["seq"]) == ("Echo", "a", "idle", 4)
    assert found["state"] == {"text": "put back"}


async def test_the_journal_is_read_in_pages(api, world):
    world.has("Echo/a", {}, entries=5)

    first = (await api.get("/actors/Echo/a/journal", params={"limit": 3})).json()
    second = (await api.get("/actors/Echo/a/journal", params={"after": first["next"]})).json()

    assert [entry["seq"] for entry in first["entries"] + second["entries"]] == [1, 2, 3, 4, 5]
    assert (first["next"], second["next"]) == (3, None)


async def test_what_is_not_committed_is_not_in_the_journal(api, world):
    world.has("Echo/a", {}, entries=5)
    world.hub.held["Echo/a"]["document"]["seq"] = 3

    assert len((await api.get("/actors/Echo/a/journal")).json()["entries"]) == 3


async def test_the_state_is_told_as_it_is_and_as_it_was(api, world):
    world.has("Counter/a", {"total": 9}, entries=5)

    now = (await api.get("/actors/Counter/a/state")).json()
    then = (await api.get("/actors/Counter/a/state", params={"at": 2})).json()
    never = await api.get("/actors/Counter/a/state", params={"at": 6})

    assert now == {"seq": 5, "state": {"total": 9}}
    assert then == {"seq": 2, "state": {"total": 2}}
    assert never.status_code == 422
    assert never.json()["problems"] == [
        {"path": "query.at", "message": "the journal has entries 1 to 5, not 6"}
    ]


async def test_a_history_is_exported_as_json_lines(api, world):
    world.has("Echo/a", {}, entries=3)

    answer = await api.get("/actors/Echo/a/export")

    assert answer.headers["content-type"] == "application/jsonl"
    assert [json.loads(line)["seq"] for line in answer.text.splitlines()] == [1, 2, 3]


async def test_an_actor_is_rolled_back_and_shown_as_it_is_then(api, world):
    world.has("Counter/a", {"total": 9}, entries=5)
    world.hub.answers = lambda call: ({"seq": 7, "state": {"text": {"$ref": "payloads/x", "bytes": 8}}}, None)

    answer = await api.post("/actors/counter/a/rollback", json={"toSeq": 2})

    assert answer.json() == {"seq": 7, "state": {"text": "put back"}}
    [call] = world.hub.scheduled.values()
    assert call["payload"] == {"type": "Counter", "id": "a", "operation": "rollback", "input": {"to": 2}}


@pytest.mark.parametrize(("body", "given"), [(None, {}), ({}, {}), ({"messageId": "m"}, {"messageId": "m"})])
async def test_a_turn_or_a_message_is_cancelled(api, world, body, given):
    world.has("Echo/a", {})
    world.hub.answers = lambda call: ({"status": "cancelling"}, None)

    answer = await api.post("/actors/Echo/a/cancel", **({} if body is None else {"json": body}))

    assert answer.json() == {"status": "cancelling"}
    assert next(iter(world.hub.scheduled.values()))["payload"]["input"] == given


@pytest.mark.parametrize(
    ("kind", "status"),
    [("ConflictError", 409), ("InvalidError", 422), ("UnavailableError", 503), ("SomethingElse", 503)],
)
async def test_what_the_actor_refuses_is_told_as_what_it_is(api, world, kind, status):
    world.has("Echo/a: b", {})
    failure = {"type": "StepFailedError", "message": f"Echo: {kind}: there is nothing: here"}
    world.hub.answers = lambda call: (None, failure)

    answer = await api.post("/actors/Echo/a: b/cancel")

    assert answer.status_code == status
    assert "there is nothing: here" in answer.text


async def test_an_actor_that_does_not_answer_is_504(api, world):
    world.has("Echo/a", {})

    assert (await api.post("/actors/Echo/a/cancel")).status_code == 504


async def test_a_suspended_actor_is_resumed_with_what_it_is_given(api, world):
    world.has("Echo/a", {})

    answer = await api.post("/actors/Echo/a/resume", json={"go": 1})

    [(actor, sent)] = world.delivered()
    assert answer.status_code == 202
    assert answer.json() == {"messageId": sent["messageId"], "actorId": "Echo/a", "status": "accepted"}
    assert (actor, sent["messageType"], sent["payload"]) == ("Echo/a", "resume", {"go": 1})


BAD = [
    ("GET", "/actors/None", b"", 404),
    ("GET", "/actors/Echo?limit=0", b"", 422),
    ("GET", "/actors/Echo?after=odd", b"", 422),
    ("GET", "/actors/Echo/none", b"", 404),
    ("GET", "/actors/Echo/none/journal", b"", 404),
    ("GET", "/actors/Echo/none/state", b"", 404),
    ("GET", "/actors/Echo/none/state?at=1", b"", 404),
    ("GET", "/actors/Echo/none/export", b"", 404),
    ("GET", "/actors/Echo/a/state?at=-1", b"", 422),
    ("GET", "/actors/Echo/a/state?at=" + "9" * 30, b"", 422),
    ("GET", "/actors/Echo/a/journal?after=x", b"", 422),
    ("GET", "/actors/Echo/a/journal?limit=1001", b"", 422),
    ("GET", "/actors/Echo/" + "x" * 200, b"", 422),
    ("GET", "/actors/Echo/%0a", b"", 422),
    ("POST", "/actors/Echo/none/cancel", b"", 404),
    ("POST", "/actors/Echo/a/cancel", b"[]", 422),
    ("POST", "/actors/Echo/a/cancel", b"{", 400),
    ("POST", "/actors/Echo/a/cancel", b'{"messageId": ""}', 422),
    ("POST", "/actors/Echo/a/rollback", b"", 422),
    ("POST", "/actors/Echo/a/rollback", b'{"toSeq": "1"}', 422),
    ("POST", "/actors/Echo/a/rollback", b'{"toSeq": -1}', 422),
    ("POST", "/actors/Echo/a/rollback", b'{"toSeq": 1, "more": 1}', 422),
    ("POST", "/actors/Echo/none/rollback", b'{"toSeq": 1}', 404),
    ("POST", "/actors/Echo/none/resume", b"1", 404),
    ("POST", "/actors/Echo/a/resume", b'"\\ud800"', 422),
    ("POST", "/actors/Echo/a/explode", b"", 404),
    ("DELETE", "/actors/Echo/a", b"", 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), BAD)
async def test_bad_input_is_a_problem_document_and_never_our_fault(api, world, method, path, body, status):  # noqa: PLR0917
    world.has("Echo/a", {}, entries=1)

    answer = await api.request(method, path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert world.hub.signals == []
    assert world.hub.scheduled == {}
