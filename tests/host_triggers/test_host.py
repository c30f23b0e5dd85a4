"""Queues and timers on the real host, in a process of its own."""

import asyncio
import signal
from pathlib import Path

from tests.host.durable import state_of, until
from tests.host.processes import FAST, ready_host, start_host

APP = Path(__file__).parent / "app"
MAILBOX = {"MAILBOX": "mail"}


async def send(http, host, queue, *messages):
    async with http.post(f"{host.url}/admin/queues/{queue}/messages", json=messages) as reply:
        assert reply.status == 201, await reply.text()
        return (await reply.json())["results"]


async def ask(http, host, path):
    async with http.get(f"{host.url}/admin/queues{path}") as reply:
        assert reply.status == 200
        return await reply.json()


async def test_messages_sent_over_http_reach_entities_in_order_each_once(tmp_path, http):
    with ready_host(APP, tmp_path, *FAST, env=MAILBOX) as host:
        for n in range(10):
            twice = [{"body": n, "sessionId": key, "messageId": f"{key}{n}"} for key in "abc"] * 2
            sent = await send(http, host, "mail", *twice)
            assert [s["duplicate"] for s in sent] == [False] * 3 + [True] * 3
        for key in "abc":

            async def complete(key=key):
                notes = await state_of(http, host, "Notes", key)
                return notes if notes and len(notes) >= 10 else None

            assert await until(complete) == [*range(10)]


async def test_a_message_without_a_session_is_refused(tmp_path, http):
    with ready_host(APP, tmp_path, *FAST, env=MAILBOX) as host:
        async with http.post(f"{host.url}/admin/queues/mail/messages", json={"body": 1}) as reply:
            assert reply.status == 422
            assert (await reply.json())["problems"][0]["path"] == "$[0].sessionId"


async def test_poison_is_dead_lettered_and_the_host_lives(tmp_path, http):
    with ready_host(APP, tmp_path, *FAST, env=MAILBOX) as host:
        await send(http, host, "work", {"body": "leave"}, {"body": "return"}, {"body": "fine"})

        async def buried():
            return (await ask(http, host, "/work"))["counts"]["deadLettered"] == 2

        await until(buried)
        dead = (await ask(http, host, "/work/deadletters"))["messages"]
        assert {d["body"] for d in dead} == {"leave", "return"}
        assert {(d["deadLetterReason"], d["deliveryCount"]) for d in dead} == {
            ("MaxDeliveryCountExceeded", 10)
        }
        assert (await ask(http, host, "/work"))["counts"]["active"] == 0


async def test_timers_run_on_the_host(tmp_path, http):
    with ready_host(APP, tmp_path, *FAST, env=MAILBOX) as host:

        async def ticked():
            notes = await state_of(http, host, "Notes", "timer")
            return notes if notes and len(notes) >= 2 else None

        assert set(await until(ticked)) == {False}
        host.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(host.ended) == 0


async def test_what_was_sent_is_delivered_after_a_kill(tmp_path, http):
    with ready_host(APP, tmp_path, "--no-reload", env=MAILBOX) as host:
        await send(http, host, "later", {"body": 1, "sessionId": "s"})
        host.process.kill()
        host.ended()
    with ready_host(APP, tmp_path, "--no-reload", env={"MAILBOX": "later"}) as host:

        async def there():
            return await state_of(http, host, "Notes", "s")

        assert await until(there) == [1]


def test_a_host_whose_options_are_wrong_does_not_start(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "function_app.py").write_text((APP / "function_app.py").read_text())
    (app / "host.json").write_text('{"extensions": {"serviceBus": {"maxConcurrentSessions": "many"}}}')
    with start_host(app, tmp_path / "data", *FAST, env=MAILBOX) as host:
        assert host.ended() == 3
    assert "$.extensions.serviceBus.maxConcurrentSessions" in host.output
    assert "Traceback" not in host.output
