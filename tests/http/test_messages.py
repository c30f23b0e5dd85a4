"""Messages over HTTP: what is taken, how it is answered, what is refused."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def at(answer):
    return {problem["path"]: problem["message"] for problem in answer.json()["problems"]}


async def test_a_message_is_kept_before_it_is_answered(api, world):
    answer = await api.post("/actors/Echo/a/messages", json={"payload": {"x": 1}})

    [(actor, sent)] = world.delivered()
    assert answer.status_code == 202
    assert answer.json() == {
        "results": [{"messageId": sent["messageId"], "actorId": "Echo/a", "status": "accepted"}]
    }
    assert re.fullmatch("msg-[0-9a-v]{26}", sent["messageId"])
    assert actor == "Echo/a"
    assert sent | {"metadata": 0} == {
        "messageId": sent["messageId"],
        "actorId": "Echo/a",
        "messageType": "activate",
        "correlationId": sent["messageId"],
        "payload": {"x": 1},
        "metadata": 0,
    }
    assert sent["metadata"].keys() == {"timestamp", "unique"}


async def test_what_a_sender_says_is_kept_as_it_is(api, world):
    metadata = {"priority": 5, "ttl": 1000, "timestamp": "2027-01-01T00:00:00+01:00", "sender": "shop"}
    message = {"messageId": "m-1", "messageType": "resume", "correlationId": "c", "metadata": metadata}

    answer = await api.post("/actors/Echo/a/messages", json=message, headers={"traceparent": TRACE})

    [(_, sent)] = world.delivered()
    assert answer.json()["results"][0]["messageId"] == "m-1"
    assert sent == message | {
        "actorId": "Echo/a",
        "payload": None,
        "metadata": metadata | {"traceparent": TRACE},
    }


async def test_a_trace_that_is_none_is_ignored(api, world):
    await api.post("/actors/Echo/a/messages", json={"payload": 1}, headers={"traceparent": "00-odd"})

    assert "traceparent" not in world.delivered()[0][1]["metadata"]


async def test_a_type_is_found_however_it_is_spelt_and_ids_are_not(api, world):
    await api.post("/actors/ECHO/Ada/messages", json={"payload": 1})

    assert world.delivered()[0][0] == "Echo/Ada"


async def test_a_list_arrives_in_order_each_for_its_actor(api, world):
    targets = ["Echo/a", "Echo/b", "counter/a", "Echo/a"]
    answer = await api.post(
        "/messages", json=[{"actorId": to, "payload": {"amount": n}} for n, to in enumerate(targets)]
    )

    results = answer.json()["results"]
    assert [one["actorId"] for one in results] == ["Echo/a", "Echo/b", "Counter/a", "Echo/a"]
    assert len({one["messageId"] for one in results}) == 4
    assert len(world.hub.signals) == 3, "one for each actor"
    told = {
        actor: [one["payload"]["amount"] for one in given["messages"]]
        for actor, _, given in world.hub.signals
    }
    assert told == {"Echo/a": [0, 3], "Echo/b": [1], "Counter/a": [2]}


async def test_a_message_that_came_before_is_a_duplicate_and_is_not_sent_on(api, world):
    world.has("Echo/a", {})
    world.journals.ids["Echo/a", "m-1"] = True
    messages = [{"messageId": id_, "payload": 1} for id_ in ("m-1", "m-2", "m-2")]

    answer = await api.post("/actors/Echo/a/messages", json=messages)

    assert [one["status"] for one in answer.json()["results"]] == ["duplicate", "accepted", "duplicate"]
    assert [one["messageId"] for _, one in world.delivered()] == ["m-2"]


async def test_the_same_id_for_two_actors_is_two_messages(api, world):
    messages = [{"actorId": to, "messageId": "m-1", "payload": 1} for to in ("Echo/a", "Echo/b")]

    answer = await api.post("/messages", json=messages)

    assert [one["status"] for one in answer.json()["results"]] == ["accepted", "accepted"]


async def test_a_payload_that_breaks_the_type_s_model_is_refused_with_all_else_that_is_wrong(api, world):
    answer = await api.post(
        "/messages",
        json=[
            {"actorId": "Counter/a", "payload": {"amount": "x", "notes": [1]}},
            {"actorId": "Counter/a", "payload": {"amount": 1}},
            {"actorId": "Nothing/a", "payload": 1},
            {"actorId": "Echo/a", "payload": 1, "metadata": {"ttl": 0, "unique": True}},
            7,
        ],
    )

    assert answer.status_code == 422
    assert at(answer).keys() == {
        "$[0].payload.amount", "$[0].payload.notes[0]", "$[2].actorId",
        "$[3].metadata.ttl", "$[3].metadata.unique", "$[4]",
    }  # fmt: skip
    assert world.hub.signals == [], "nothing is accepted"


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({}, "$.payload"),
        ({"payload": 1, "messageId": ""}, "$.messageId"),
        ({"payload": 1, "messageId": "x" * 129}, "$.messageId"),
        ({"payload": 1, "messageId": "a\nb"}, "$.messageId"),
        ({"payload": 1, "messageId": 7}, "$.messageId"),
        ({"payload": 1, "messageId": "Echo/a:17"}, "$.messageId"),
        ({"payload": 1, "messageId": "m-1#r2"}, "$.messageId"),
        ({"payload": 1, "correlationId": ""}, "$.correlationId"),
        ({"payload": 1, "messageType": "odd"}, "$.messageType"),
        ({"payload": 1, "messageType": ["event"]}, "$.messageType"),
        ({"payload": 1, "messageType": "event"}, "$.payload"),
        ({"payload": {}, "messageType": "event"}, "$.payload.eventType"),
        ({"payload": {"eventType": "loom:resume"}, "messageType": "event"}, "$.payload.eventType"),
        ({"payload": {"eventType": "go", "dat": 1}, "messageType": "event"}, "$.payload.dat"),
        ({"payload": 1, "metadata": []}, "$.metadata"),
        ({"payload": 1, "metadata": {"priority": True}}, "$.metadata.priority"),
        ({"payload": 1, "metadata": {"priority": 1.5}}, "$.metadata.priority"),
        ({"payload": 1, "metadata": {"priority": 10**30}}, "$.metadata.priority"),
        ({"payload": 1, "metadata": {"ttl": -1}}, "$.metadata.ttl"),
        ({"payload": 1, "metadata": {"timestamp": "2027-01-01T00:00:00"}}, "$.metadata.timestamp"),
        ({"payload": 1, "metadata": {"timestamp": "yesterday"}}, "$.metadata.timestamp"),
        ({"payload": 1, "metadata": {"replyTo": {}}}, "$.metadata.replyTo"),
        ({"payload": 1, "metadata": {"traceparent": "odd"}}, "$.metadata.traceparent"),
        ({"payload": 1, "actorId": "Echo/b"}, "$.actorId"),
        ({"payload": 1, "actorId": 1}, "$.actorId"),
        ({"payload": 1, "more": 1}, "$.more"),
        ({"payload": {"a b": [{"$ref": "payloads/" + "0" * 64, "bytes": 1}]}}, '$.payload["a b"][0]'),
    ],
)
async def test_what_is_wrong_with_a_message_is_said_where_it_is(api, world, message, path):
    one = await api.post("/actors/Echo/a/messages", json=message)
    several = await api.post("/actors/Echo/a/messages", json=[{"payload": 1}, message])

    assert (one.status_code, several.status_code) == (422, 422)
    assert list(at(one)) == [path]
    assert list(at(several)) == [f"$[1]{path[1:]}"]
    assert world.hub.signals == []


def nested(levels, leaf=b"1"):
    return b'{"payload": ' + b"[" * levels + leaf + b"]" * levels + b"}"


BAD = [
    ("Echo/a", b'{"payload": NaN}', 422),
    ("Echo/a", b'{"payload": [1e999]}', 422),
    ("Echo/a", b'{"payload": "\\ud800"}', 422),
    ("Echo/a", b'{"\\ud800": 1, "payload": 1}', 422),
    ("Echo/a", b'{"payload": {"\\ud800": NaN}}', 422),
    ("Echo/a", b"{", 400),
    ("Echo/a", b"", 400),
    ("Echo/a", b'"\xff"', 400),
    ("Echo/a", b'{"payload": ' + b"9" * 5000 + b"}", 400),
    ("Echo/a", nested(200), 202),
    ("Echo/a", nested(201), 422),
    ("Echo/a", nested(5_000), 422),
    ("Echo/a", nested(100_000), 400),
    ("Echo/a", b"[]", 422),
    ("Echo/a", b"7", 422),
    ("Echo/a", b"[" + b",".join([b'{"payload":1}'] * 1_000) + b"]", 202),
    ("Echo/a", b"[" + b",".join([b'{"payload":1}'] * 1_001) + b"]", 422),
    ("Echo/a", b'{"payload": "' + b"x" * 2_000_000 + b'"}', 413),
    ("Nothing/a", b'{"payload": 1}', 404),
    ("N%20o/a", b'{"payload": 1}', 404),
    ("Echo/" + "x" * 95, b'{"payload": 1}', 422),
    ("Echo/a%23b", b'{"payload": 1}', 422),
    ("Echo/%20", b'{"payload": 1}', 422),
]


@pytest.mark.parametrize(("target", "body", "status"), BAD)
async def test_bad_messages_are_problem_documents_and_never_our_fault(api, world, target, body, status):
    answer = await api.post(f"/actors/{target}/messages", content=body, headers=JSON)

    assert answer.status_code == status
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert world.hub.signals == []
    if status == 422:
        assert answer.json()["problems"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"payload": NaN}', "$.payload"),
        (b'[{"payload": 1}, {"payload": {"a": [0, 1e999]}}]', "$[1].payload.a[1]"),
        (b'{"payload": {"a": "\\udc00"}}', "$.payload.a"),
        (b'{"payload": {"\\udc00": 1}}', "$.payload"),
    ],
)
async def test_what_json_cannot_hold_is_found_where_it_is(api, body, path):
    answer = await api.post("/actors/Echo/a/messages", content=body, headers=JSON)

    assert list(at(answer)) == [path]


async def test_many_messages_come_as_a_list_and_each_says_for_whom(api):
    alone = await api.post("/messages", json={"actorId": "Echo/a", "payload": 1})
    nobody = await api.post("/messages", json=[{"payload": 1}])
    undeclared = await api.post("/messages", content=b"[]", headers={"Content-Type": "text/plain"})

    assert (alone.status_code, nobody.status_code, undeclared.status_code) == (422, 422, 415)
    assert list(at(nobody)) == ["$[0].actorId"]


async def test_large_payloads_travel_by_reference_and_the_names_of_events_as_they_are(api, world):
    long = {"text": "x" * 20_000}
    event = {"messageType": "event", "payload": {"eventType": "go", "data": long}}

    await api.post("/actors/Echo/a/messages", json=[{"payload": long}, event])

    kept = {"$ref": "payloads/x", "bytes": 8}
    assert [one["payload"] for _, one in world.delivered()] == [kept, {"eventType": "go", "data": kept}]


async def test_a_backend_that_does_not_answer_is_503_and_the_other_actors_are_served(api, world):
    world.hub.broken = {"Echo/b"}

    answer = await api.post("/messages", json=[{"actorId": f"Echo/{id_}", "payload": 1} for id_ in "abc"])

    assert answer.status_code == 503
    assert {actor for actor, _, _ in world.hub.signals} == {"Echo/a", "Echo/c"}


def served(*outcomes):
    def answers(call):
        messages = call["payload"]["messages"]
        return [
            {"messageId": one["messageId"], **outcome}
            for one, outcome in zip(messages, outcomes, strict=True)
        ], None

    return answers


async def test_who_waits_is_answered_with_results_and_errors(api, world):
    error = {"type": "ValueError", "message": "no", "retryable": True}
    world.hub.answers = served(
        {"status": "done", "result": {"$ref": "payloads/x", "bytes": 8}}, {"status": "failed", "error": error}
    )
    messages = [{"messageId": id_, "actorId": f"Echo/{id_}", "payload": 1} for id_ in "ab"]

    answer = await api.post("/messages", json=messages, headers={"Prefer": "wait=5"})

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=5"
    assert answer.json()["results"] == [
        {"messageId": "a", "actorId": "Echo/a", "status": "done", "result": "put back"},
        {"messageId": "b", "actorId": "Echo/b", "status": "failed", "error": error},
    ]
    assert world.hub.signals == [], "whoever waits delivers"


async def test_when_time_is_up_who_waits_is_told_that_it_is_kept(api, world):
    answer = await api.post("/actors/Echo/a/messages", json={"payload": 1}, headers={"Prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.json()["results"][0]["status"] == "accepted"


async def test_waiting_again_is_answered_from_the_first_time(api, world):
    world.hub.answers = served({"status": "done", "result": 1})
    message = {"messageId": "m-1", "payload": 1}

    answers = [
        await api.post("/actors/Echo/a/messages", json=message, headers={"Prefer": "wait=5"})
        for _ in range(2)
    ]

    assert [answer.json() for answer in answers] == [answers[0].json()] * 2
    assert len(world.hub.scheduled) == 1


async def test_waiting_that_broke_can_be_begun_again(api, world):
    world.hub.answers = served({"status": "done", "result": 1})
    message = {"messageId": "m-1", "payload": 1}

    async def ask():
        return await api.post("/actors/Echo/a/messages", json=message, headers={"Prefer": "wait=5"})

    await ask()
    world.hub.failed = set(world.hub.scheduled)

    assert (await ask()).json()["results"][0]["status"] == "done"


async def test_nobody_waits_for_events(api, world):
    world.hub.answers = served({"status": "accepted"})
    event = {"messageType": "event", "payload": {"eventType": "go"}}

    answer = await api.post("/actors/Echo/a/messages", json=event, headers={"Prefer": "wait=5"})

    assert answer.status_code == 200


async def test_the_api_describes_how_messages_are_sent(api):
    paths = (await api.get("/openapi.json")).json()["paths"]

    assert paths["/actors/{type}/{id}/messages"]["post"]["responses"].keys() == {"200", "202"}
    assert {"/messages", "/actors", "/actors/{type}/{id}/journal", "/deadletters/{id}/replay"} <= paths.keys()


async def test_messages_are_posted(api):
    for path in ("/messages", "/actors/Echo/a/messages"):
        answer = await api.get(path)

        assert answer.status_code == 405
        assert answer.headers["content-type"] == "application/problem+json"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
words = st.sampled_from(
    ["Echo/a", "Counter/b", "event", "resume", "activate", "m-1", "loom:x", "", "\ud800", "a#r1"]
)
metadata = st.dictionaries(
    st.sampled_from(["priority", "ttl", "timestamp", "sender", "unique"]), json_values | words, max_size=3
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "payload": json_values | st.fixed_dictionaries({"amount": json_values, "eventType": words}),
        "messageId": json_values | words,
        "messageType": json_values | words,
        "correlationId": json_values | words,
        "actorId": json_values | words,
        "metadata": json_values | metadata,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(body=json_values | fields | st.lists(fields | json_values, max_size=4))
async def test_whatever_is_sent_is_taken_or_refused_with_its_places(api, world, body):
    for path in ("/messages", "/actors/Counter/a/messages", "/actors/Echo/a/messages"):
        world.hub.signals.clear()
        answer = await api.post(path, content=json.dumps(body), headers=JSON)

        assert answer.status_code in {202, 422}, answer.text
        if answer.status_code == 422:
            assert all(one["path"].startswith("$") for one in answer.json()["problems"])
            assert world.hub.signals == []
        else:
            assert world.hub.signals
