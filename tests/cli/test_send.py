import json

from loom_local.cli.send import send


def test_a_message_is_sent_with_its_session_and_its_id(host, loom):
    result = loom(send, "mailbox", "--message", '{"n": 1}', "--session", "a/1", "--id", "m-1")

    assert result.stdout == "7\n"
    assert host.requests == [("POST", "/admin/queues/mailbox/messages")]
    assert host.bodies == [{"body": {"n": 1}, "sessionId": "a/1", "messageId": "m-1"}]


def test_a_message_that_was_there_before_is_said_to_be(host, loom):
    first, second = (loom(send, "mailbox", "--message", "1", "--id", "m-1") for _ in range(2))

    assert first.stdout == "7\n"
    assert second.stdout == "7 was there before\n"


def test_under_json_the_result_is_printed(host, loom):
    result = loom(send, "mailbox", "--message", "1", "--json")

    assert json.loads(result.stdout) == {"sequenceNumber": 7, "duplicate": False}


def test_a_queue_that_is_refused_exits_with_2(host, loom):
    host.refusal = (404, {"title": "Not Found", "detail": "there is no queue 'mailbox'"})

    assert loom(send, "mailbox", "--message", "1").exit_code == 2


def test_null_is_a_message_and_none_is_none(host, loom):
    assert loom(send, "mailbox", "--message", "null").exit_code == 0
    assert loom(send, "mailbox").exit_code == 2
    assert host.bodies == [{"body": None}]


MESSAGES = "/api/actors/Echo/a/messages"


def answered(code, **result):
    return code, {"results": [{"messageId": "m-1", "actorId": "Echo/a", **result}]}


def test_an_actor_is_sent_a_message(host, loom):
    host.posted = {MESSAGES: answered(202, status="accepted")}
    options = ["--id", "m-1", "--priority", "2", "--ttl", "500", "--correlation-id", "c"]

    result = loom(send, "Echo/a", "--payload", '{"x": 1}', *options)

    assert result.stdout == "m-1  accepted\n"
    assert host.preferred == [None]
    assert host.bodies == [
        {
            "payload": {"x": 1},
            "messageType": "activate",
            "messageId": "m-1",
            "correlationId": "c",
            "metadata": {"priority": 2, "ttl": 500},
        }
    ]


def test_an_actor_is_sent_an_event(host, loom):
    host.posted = {MESSAGES: answered(202, status="accepted")}

    loom(send, "Echo/a", "--event", "approved", "--payload", "1")

    assert host.bodies == [{"payload": {"eventType": "approved", "data": 1}, "messageType": "event"}]


def test_an_actor_s_answer_is_waited_for(host, loom):
    host.posted = {MESSAGES: answered(200, status="done", result={"n": 1})}

    result = loom(send, "Echo/a", "--wait", "5")

    assert json.loads(result.stdout) == {"n": 1}
    assert host.preferred == ["wait=5"]
    assert json.loads(loom(send, "Echo/a", "--wait", "5", "--json").stdout)["status"] == "done"


def test_a_message_that_was_not_served_exits_with_1(host, loom):
    error = {"type": "ValueError", "message": "no", "retryable": False}
    host.posted = {MESSAGES: answered(200, status="failed", error=error)}

    result = loom(send, "Echo/a", "--wait", "5")

    assert result.exit_code == 1
    assert result.stdout == "m-1  failed  (ValueError: no)\n"


def test_options_of_queues_are_not_for_actors_nor_the_other_way_round(host, loom):
    assert loom(send, "Echo/a", "--session", "s").exit_code == 2
    assert loom(send, "mailbox", "--message", "1", "--wait", "5").exit_code == 2
    assert loom(send, "Echo/", "--payload", "1").exit_code == 2
    assert host.requests == []
