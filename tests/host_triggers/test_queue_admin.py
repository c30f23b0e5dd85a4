import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loom_local.broker import Broker, QueueProperties
from loom_local.host.queue_admin import QueueAdmin


@pytest.fixture
def admin(broker: Broker):
    queues = QueueAdmin(broker, lambda target: target)

    async def ask(method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await queues.answer(method, path, {k: str(v) for k, v in query.items()}, content)
        assert answer is not None
        return answer[0], json.loads(json.dumps(answer[1]))

    return ask


async def test_a_message_is_sent_and_looked_at(admin):
    due = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    message = {
        "body": "hello",
        "messageId": "m",
        "sessionId": "s",
        "correlationId": "c",
        "subject": "greeting",
        "contentType": "text/plain",
        "to": "you",
        "replyTo": "me",
        "replyToSessionId": "r",
        "applicationProperties": {"n": 1, "ok": True},
        "timeToLive": "PT1H",
    }
    assert await admin("POST", "/admin/queues/work/messages", message) == (
        201,
        {"results": [{"sequenceNumber": 1, "duplicate": False}]},
    )
    later = {"body": {"a": [1]}, "scheduledEnqueueTime": due, "timeToLive": 5}
    _, sent = await admin("POST", "/admin/queues/work/messages", [message, later])
    assert [each["duplicate"] for each in sent["results"]] == [True, False]

    status, page = await admin("GET", "/admin/queues/work/messages")
    assert status == 200
    (shown,) = page["messages"]
    ttl = datetime.fromisoformat(shown.pop("expiresAt")) - datetime.fromisoformat(shown.pop("enqueuedTime"))
    assert ttl == timedelta(hours=1)
    del message["timeToLive"]
    assert shown == message | {"sequenceNumber": 1, "deliveryCount": 0}

    _, queue = await admin("GET", "/admin/queues/work")
    assert queue["counts"] == {"active": 1, "locked": 0, "scheduled": 1, "deadLettered": 0}
    assert queue["requiresSession"] is False

    number = sent["results"][1]["sequenceNumber"]
    assert (await admin("DELETE", f"/admin/queues/work/messages/{number}"))[0] == 200
    assert (await admin("DELETE", f"/admin/queues/work/messages/{number}"))[0] == 404


async def test_what_is_no_text_is_sent_as_json_and_what_is_no_utf8_is_shown_as_base64(admin, broker: Broker):
    await admin("POST", "/admin/queues/work/messages", {"body": {"ä": 1.5}})
    (delivery,) = await broker.receive("work")
    assert delivery.stored.message.body == '{"ä":1.5}'.encode()
    assert delivery.stored.message.content_type == "application/json"


async def test_pages_follow_one_another(admin):
    await admin("POST", "/admin/queues/work/messages", [{"body": str(n)} for n in range(7)])
    found, after = [], 0
    while after is not None:
        _, page = await admin("GET", "/admin/queues/work/messages", after=after, limit=3)
        found.append([m["body"] for m in page["messages"]])
        after = page["next"]
    assert found == [["0", "1", "2"], ["3", "4", "5"], ["6"], []]


async def test_dead_letters_are_listed_replayed_and_purged(admin, broker: Broker):
    await admin("POST", "/admin/queues/work/messages", [{"body": "a"}, {"body": "b"}])
    for delivery in await broker.receive("work", 2):
        await broker.dead_letter(delivery, "Unreadable", "no JSON")
    _, page = await admin("GET", "/admin/queues/work/deadletters")
    first, _ = page["messages"]
    assert (first["body"], first["deadLetterReason"], first["deadLetterDescription"]) == (
        "a",
        "Unreadable",
        "no JSON",
    )
    replay = f"/admin/queues/work/deadletters/{first['sequenceNumber']}/replay"
    status, answer = await admin("POST", replay)
    assert status == 201
    (delivery,) = await broker.receive("work")
    assert delivery.stored.sequence_number == answer["sequenceNumber"]
    assert (await admin("POST", replay))[0] == 404
    now = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    assert (await admin("DELETE", "/admin/queues/work/deadletters"))[0] == 422
    assert await admin("DELETE", "/admin/queues/work/deadletters", before=now) == (200, {"purged": 1})


async def test_all_queues_are_listed(admin, broker: Broker):
    await broker.declare("mail", QueueProperties(requires_session=True))
    await admin("POST", "/admin/queues/deep/er/messages", {"body": ""})
    _, listed = await admin("GET", "/admin/queues")
    assert [(q["name"], q["requiresSession"], q["counts"]["active"]) for q in listed["queues"]] == [
        ("deep/er", False, 1),
        ("mail", True, 0),
    ]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", "$"),
        (b"{", "$"),
        (b'{"body": NaN}', "$"),
        (b"\xff", "$"),
        (b"[" * 100_000, "$"),
        (b'{"body": "\\ud800"}', "$"),
        (b" " * (5 << 20), "$"),
        (b"[]", "$"),
        ([{"body": 1}] * 1_001, "$"),
        ("text", "$[0]"),
        ([{"body": 1}, {}], "$[1].body"),
        ({"body": 1, "sessionID": "s"}, "$[0].sessionID"),
        ({"body": 1, "messageId": 5}, "$[0].messageId"),
        ({"body": 1, "messageId": "x" * 200}, "$[0].messageId"),
        ({"body": "x" * 300_000}, "$[0]"),
        ({"body": 1, "scheduledEnqueueTime": "tomorrow"}, "$[0].scheduledEnqueueTime"),
        ({"body": 1, "scheduledEnqueueTime": "2026-01-01T00:00:00"}, "$[0].scheduledEnqueueTime"),
        ({"body": 1, "timeToLive": -1}, "$[0].timeToLive"),
        ({"body": 1, "timeToLive": 1e300}, "$[0].timeToLive"),
    ],
)
async def test_a_bad_request_is_answered_with_what_is_wrong_and_where(admin, body: Any, path: str):
    status, problem = await admin("POST", "/admin/queues/work/messages", body)
    assert status == problem["status"] == 422
    assert path in [p["path"] for p in problem["problems"]]
    assert len(json.dumps(problem)) < 2_000
    assert (await admin("GET", "/admin/queues"))[1]["queues"] in ([], [*_empty()])


def _empty():
    empty = {"active": 0, "locked": 0, "scheduled": 0, "deadLettered": 0}
    properties = {"requiresSession": False, "lockDuration": 60.0, "maxDeliveryCount": 10}
    properties |= {"duplicateWindow": 1800.0, "defaultTtl": 1209600.0}
    yield {"name": "work", **properties, "counts": empty}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/admin/queues/nowhere", 404),
        ("GET", "/admin/queues/nowhere/messages", 404),
        ("GET", "/admin/queues/nowhere/deadletters", 404),
        ("POST", "/admin/queues/nowhere/deadletters/1/replay", 404),
        ("POST", "/admin/queues", 404),
        ("PUT", "/admin/queues/nowhere/messages", 404),
        ("POST", "/admin/queues/no where/messages", 422),
    ],
)
async def test_what_is_not_there_is_said_so(admin, method: str, path: str, status: int):
    assert (await admin(method, path, {"body": ""}))[0] == status


async def test_a_bad_page_is_refused(admin):
    await admin("POST", "/admin/queues/work/messages", {"body": ""})
    for query in ({"after": "x"}, {"after": 1 << 64}, {"limit": 0}, {"limit": 10_000}):
        assert (await admin("GET", "/admin/queues/work/messages", **query))[0] == 422


async def test_other_paths_are_left_to_others(broker: Broker):
    queues = QueueAdmin(broker, lambda target: target)
    assert await queues.answer("GET", "/admin/functions", {}, b"") is None
    assert await queues.answer("GET", "/admin/queuesx", {}, b"") is None
