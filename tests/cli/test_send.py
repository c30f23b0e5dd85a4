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
