"""Dead letters over HTTP: looked at, replayed, dropped."""

import pytest

from loom_core.errors import UnavailableError


async def letters(api, **query):
    return (await api.get("/deadletters", params=query)).json()["deadLetters"]


async def test_dead_letters_are_listed_without_and_shown_with_their_messages(api, world):
    id_ = await world.bury("m-1", payload={"text": {"$ref": "payloads/x", "bytes": 8}})

    listed = (await api.get("/deadletters")).json()
    shown = (await api.get(f"/deadletters/{id_}")).json()

    brief = {
        "id": id_,
        "actorId": "Echo/a",
        "messageId": "m-1",
        "error": {"type": "ValueError", "message": "no", "retryable": True},
        "attempts": 3,
        "failedAt": "2027-01-01T00:00:01.000Z",
        "source": "actor",
    }
    assert listed == {"deadLetters": [brief], "next": None}
    assert shown | {"message": 0} == brief | {"message": 0}
    assert shown["message"]["payload"] == {"text": "put back"}


async def test_dead_letters_are_listed_in_pages_and_by_actor(api, world):
    ids = sorted([await world.bury(f"m-{n}", f"Echo/{'ab'[n % 2]}") for n in range(4)])

    first = (await api.get("/deadletters", params={"limit": 3})).json()
    second = (await api.get("/deadletters", params={"limit": 3, "after": first["next"]})).json()

    assert [one["id"] for one in first["deadLetters"] + second["deadLetters"]] == ids
    assert {one["messageId"] for one in await letters(api, actor="Echo/b")} == {"m-1", "m-3"}


async def test_a_replayed_message_is_a_new_one_and_its_dead_letter_is_gone(api, world):
    id_ = await world.bury(
        "m-1", "Echo/a", {"x": 1}, sender="shop", ttl=5, unique=True, replyTo={"event": "e"}
    )

    answer = await api.post(f"/deadletters/{id_}/replay")

    [(actor, sent)] = world.delivered()
    assert answer.status_code == 202
    assert answer.json() == {"id": id_, "actorId": "Echo/a", "messageId": "m-1#r1"}
    assert (actor, sent["messageId"], sent["payload"], sent["correlationId"]) == (
        "Echo/a", "m-1#r1", {"x": 1}, "c",
    )  # fmt: skip
    assert sent["metadata"].keys() == {"sender", "ttl", "timestamp"}, (
        "nobody waits any more, and it may be known"
    )
    assert sent["metadata"]["timestamp"] != "2027-01-01T00:00:00.000Z", "its ttl begins anew"
    assert await letters(api) == []
    assert (await api.post(f"/deadletters/{id_}/replay")).status_code == 404


async def test_a_message_that_dies_again_counts_on(api, world):
    id_ = await world.bury("Echo/b:17#r9")

    assert (await api.post(f"/deadletters/{id_}/replay")).json()["messageId"] == "Echo/b:17#r10"


async def test_a_replay_whose_answer_was_lost_delivers_the_same_message_again(api, world):
    id_ = await world.bury("m-1")
    delete, world.dead.delete = world.dead.delete, unreachable
    lost = await api.post(f"/deadletters/{id_}/replay")
    world.dead.delete = delete

    again = await api.post(f"/deadletters/{id_}/replay")

    assert (lost.status_code, again.status_code) == (503, 202)
    assert [one["messageId"] for _, one in world.delivered()] == ["m-1#r1", "m-1#r1"], "which the actor knows"
    assert await letters(api) == []


async def unreachable(_):
    raise UnavailableError("the store does not answer")


async def test_a_message_that_cannot_be_delivered_stays_a_dead_letter(api, world):
    id_ = await world.bury("m-1")
    world.hub.broken = {"Echo/a"}

    answer = await api.post(f"/deadletters/{id_}/replay")

    assert answer.status_code == 503
    assert [one["id"] for one in await letters(api)] == [id_]


async def test_a_message_to_a_type_that_there_is_no_more_stays_a_dead_letter(api, world):
    id_ = await world.bury("m-1", "Gone/a")

    answer = await api.post(f"/deadletters/{id_}/replay")

    assert answer.status_code == 409
    assert "Gone" in answer.json()["detail"]
    assert len(await letters(api)) == 1


async def test_what_came_through_the_queue_is_checked_before_it_is_replayed(api, world):
    letter = {"error": None, "attempts": 1, "source": "mailbox", "failedAt": "2027-01-01T00:00:01.000Z"}
    good, bad, odd = [
        await world.dead.put({"actorId": actor, "message": {"messageId": "q-1", **message}, **letter})
        for actor, message in (
            ("Counter/a", {"actorId": "Counter/a", "payload": {"amount": 1}}),
            ("Counter/b", {"actorId": "Counter/b", "payload": {"amount": "x"}}),
            ("", {"payload": "no JSON"}),
        )
    ]

    answers = [await api.post(f"/deadletters/{id_}/replay") for id_ in (good, bad, odd)]

    assert [answer.status_code for answer in answers] == [202, 409, 409]
    assert "$.payload.amount" in answers[1].json()["detail"]
    assert "$.actorId" in answers[2].json()["detail"]
    assert [(actor, one["messageId"]) for actor, one in world.delivered()] == [("Counter/a", "q-1#r1")]
    assert {one["id"] for one in await letters(api)} == {bad, odd}


async def test_many_are_replayed_and_each_says_what_became_of_it(api, world):
    first, second = await world.bury("m-1"), await world.bury("m-2", "Gone/a")

    answer = (await api.post("/deadletters/replay", json={"ids": [first, first, second, "0" * 64]})).json()

    assert (answer["replayed"], answer["next"]) == (1, None)
    assert [one["id"] for one in answer["results"]] == [first, second, "0" * 64]
    assert ["error" in one for one in answer["results"]] == [False, True, True]


async def test_all_of_an_actor_are_replayed(api, world):
    for n in range(40):
        await world.bury(f"m-{n}", f"Echo/{'ab'[n % 2]}")

    answer = (await api.post("/deadletters/replay", json={"all": True, "actor": "Echo/b"})).json()

    assert answer["replayed"] == 20
    assert {actor for actor, _ in world.delivered()} == {"Echo/b"}
    assert len(await letters(api)) == 20


async def test_a_dead_letter_is_dropped(api, world):
    id_ = await world.bury("m-1")

    answers = [await api.delete(f"/deadletters/{id_}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 404]
    assert world.hub.signals == []


BAD = [
    ("GET", "/deadletters?limit=0", b"", 422),
    ("GET", "/deadletters?after=" + "x" * 201, b"", 422),
    ("GET", "/deadletters/none", b"", 404),
    ("GET", "/deadletters/%0a", b"", 404),
    ("GET", "/deadletters/" + "0" * 64, b"", 404),
    ("POST", "/deadletters/none/replay", b"", 404),
    ("POST", "/deadletters/replay", b"", 422),
    ("POST", "/deadletters/replay", b"{}", 422),
    ("POST", "/deadletters/replay", b'{"ids": []}', 422),
    ("POST", "/deadletters/replay", b'{"ids": ["x"], "all": true}', 422),
    ("POST", "/deadletters/replay", b'{"all": true, "more": 1}', 422),
    ("DELETE", "/deadletters/none", b"", 404),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), BAD)
async def test_bad_input_is_a_problem_document_and_never_our_fault(api, method, path, body, status):
    answer = await api.request(method, path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
