"""Queue functions fed through the SDK of Azure Service Bus, from the test server."""

import asyncio
import json
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import azure.functions as func
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.servicebus.exceptions import ServiceBusAuthorizationError, ServiceBusError

from loom_core.adapters.servicebus import ServiceBusMessageQueue
from loom_core.errors import InvalidError
from loom_core.ports.queue import DEAD_LETTERS, DeadLetter, QueueMessage
from loom_core.settings import Connection
from loom_local.host.namespace import NamespaceTriggers
from loom_local.host.namespace_outage import Outage
from loom_local.host.queues import QueueOptions
from tests.emulators.servicebus import serve
from tests.host_triggers.conftest import function, index, invoke, until
from tests.ports.servicebus import CONFIG, hurried

SECRET = "c2VjcmV0LWtleQ=="
PAUSES = (0.05,)


@pytest.fixture
async def server():
    async with hurried(), serve(CONFIG, keys={"test": SECRET}) as server:
        yield server


@pytest.fixture
async def queue(server):
    queue = ServiceBusMessageQueue(Connection(connection_string=server.connection_string))
    yield queue
    await queue.aclose()


@asynccontextmanager
async def running(app, server, *, grace=5, **host_json):
    options = QueueOptions.of({"extensions": {"serviceBus": {"sessionIdleTimeout": "00:00:00"} | host_json}})
    environment = {"ServiceBus": server.connection_string}
    triggers = NamespaceTriggers(
        index(app) if isinstance(app, func.FunctionApp) else app,
        invoke,
        options=options,
        environment=environment,
        pauses=PAUSES,
    )
    await triggers.start()
    try:
        yield
    finally:
        await triggers.stop(grace)


def on(app, queue_name, *, sessions=False, **more):
    return app.service_bus_queue_trigger(
        arg_name="message",
        queue_name=queue_name,
        connection="ServiceBus",
        is_sessions_enabled=sessions,
        **more,
    )


def message(body, session=None, **more):
    return QueueMessage(body=body, message_id=f"{session}:{body}", session_id=session, **more)


def left(server, name):
    return len(server.broker.entity(name).messages)


async def test_a_function_gets_all_that_the_sender_said(server, queue):
    app, got = func.FunctionApp(), []

    @on(app, "mail", sessions=True)
    async def receive(message: func.ServiceBusMessage) -> None:
        got.append(message)

    properties = {"priority": 3, "urgent": True, "note": "é"}
    sent = QueueMessage(
        body={"said": "Grüezi"},
        message_id="m1",
        session_id="ada",
        correlation_id="c1",
        properties=properties,
        ttl=60,
    )
    async with running(app, server):
        await queue.send("mail", [sent])
        await until(lambda: got and not left(server, "mail"))

    (message,) = got
    assert json.loads(message.get_body()) == sent.body
    assert (message.message_id, message.session_id, message.correlation_id) == ("m1", "ada", "c1")
    assert message.content_type == "application/json"
    assert message.application_properties == properties
    assert (message.delivery_count, message.sequence_number) == (1, 1)
    assert message.enqueued_time_utc < message.locked_until
    assert message.expires_at_utc.timestamp() == pytest.approx(message.enqueued_time_utc.timestamp() + 60)
    assert message.lock_token
    assert message.dead_letter_reason is None


async def test_a_session_is_worked_off_in_order_and_sessions_run_side_by_side_up_to_the_limit(server, queue):
    app, seen, at_once, most = func.FunctionApp(), defaultdict(list), set(), []

    @on(app, "mail", sessions=True)
    async def receive(message: func.ServiceBusMessage) -> None:
        assert message.session_id not in at_once
        at_once.add(message.session_id)
        most.append(len(at_once))
        await asyncio.sleep(0.02)
        seen[message.session_id].append(int(message.get_body()))
        at_once.remove(message.session_id)

    await queue.send("mail", [message(n, session) for n in range(8) for session in "abcde"])
    async with running(app, server, maxConcurrentSessions=3):
        await until(lambda: not left(server, "mail"))

    assert seen == {session: [*range(8)] for session in "abcde"}
    assert max(most) == 3


async def test_without_sessions_as_many_run_as_calls_are_allowed(server, queue):
    app, running_now, most, done = func.FunctionApp(), [], [], []

    @on(app, "work")
    async def receive(message: func.ServiceBusMessage) -> None:
        running_now.append(1)
        most.append(len(running_now))
        await asyncio.sleep(0.02)
        running_now.pop()
        done.append(int(message.get_body()))

    await queue.send("work", [message(n) for n in range(30)])
    async with running(app, server, maxConcurrentCalls=3):
        await until(lambda: not left(server, "work"))

    assert sorted(done) == [*range(30)]
    assert max(most) == 3


async def test_what_fails_comes_again_until_it_is_a_dead_letter_which_its_own_function_gets(
    server, queue, caplog
):
    app, seen, dead = func.FunctionApp(), [], []

    @app.function_name("receive")
    @on(app, "mail", sessions=True)
    def receive(message: func.ServiceBusMessage) -> None:
        seen.append((message.get_body(), message.delivery_count))
        if message.get_body() == b"0":
            raise ValueError("I cannot read this")

    @app.function_name("bury")
    @on(app, "mail/$DeadLetterQueue")
    def bury(message: func.ServiceBusMessage) -> None:
        dead.append(message)

    await queue.send("mail", [message(0, "s"), message(1, "s")])
    async with running(app, server):
        await until(lambda: dead and not left(server, "mail") and not left(server, "mail" + DEAD_LETTERS))

    assert seen == [(b"0", n) for n in range(1, 11)] + [(b"1", 1)]
    (buried,) = dead
    assert (buried.get_body(), buried.dead_letter_reason) == (b"0", "MaxDeliveryCountExceeded")
    assert buried.dead_letter_source == "mail"
    assert caplog.text.count("queue function receive failed on message 1 of queue mail") == 10
    assert "I cannot read this" in caplog.text


async def test_a_batch_function_gets_a_list(server, queue):
    from typing import List  # noqa: UP035 - the Functions indexer refuses the modern spelling

    app, batches = func.FunctionApp(), []

    @app.service_bus_queue_trigger(
        arg_name="messages", queue_name="work", connection="ServiceBus", cardinality=func.Cardinality.MANY
    )
    async def receive(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
        batches.append([int(m.get_body()) for m in messages])

    await queue.send("work", [message(n) for n in range(10)])
    async with running(app, server, maxMessageBatchSize=4):
        await until(lambda: not left(server, "work"))

    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_without_auto_complete_a_message_is_left_as_it_is(server, queue):
    app, counts = func.FunctionApp(), []

    @on(app, "work", auto_complete_messages=False)
    async def receive(message: func.ServiceBusMessage) -> None:
        counts.append(message.delivery_count)

    await queue.send("work", [message(1)])
    async with running(app, server):
        await until(lambda: counts)
        server.advance(61)
        await until(lambda: counts == [1, 2])
    assert left(server, "work") == 1


@pytest.mark.parametrize(("name", "session"), [("mail", "s"), ("work", None)])
async def test_locks_are_renewed_while_a_function_runs(server, queue, monkeypatch, name, session):
    monkeypatch.setattr("loom_local.host.namespace_pump.SOONEST_RENEWAL", 0.01)
    late = SimpleNamespace(time=lambda: server.broker.now() + 60)
    monkeypatch.setattr("loom_local.host.namespace_pump.time", late)
    app, counts = func.FunctionApp(), []

    @on(app, name, sessions=session is not None)
    async def receive(message: func.ServiceBusMessage) -> None:
        counts.append(message.delivery_count)
        for _ in range(3):
            renewed = server.stats["renew"] + 2
            await until(lambda least=renewed: server.stats["renew"] >= least)
            server.advance(40)

    await queue.send(name, [message(1, session)])
    async with running(app, server):
        await until(lambda: counts and not left(server, name))
    assert counts == [1]


async def test_a_lock_that_was_lost_is_told_and_the_message_comes_again(server, queue, caplog):
    app, counts = func.FunctionApp(), []

    @on(app, "work")
    async def receive(message: func.ServiceBusMessage) -> None:
        counts.append(message.delivery_count)
        if len(counts) == 1:
            server.advance(61)

    await queue.send("work", [message(1)])
    async with running(app, server):
        await until(lambda: len(counts) == 2 and not left(server, "work"))
    assert counts == [1, 2]
    assert "was handled, but will be delivered again" in caplog.text


async def test_stopping_lets_a_function_finish_and_gives_back_the_rest(server, queue):
    app, started, finish, done = func.FunctionApp(), asyncio.Event(), asyncio.Event(), []

    @on(app, "mail", sessions=True)
    async def receive(message: func.ServiceBusMessage) -> None:
        started.set()
        await finish.wait()
        done.append(message.get_body())

    await queue.send("mail", [message(n, "s") for n in range(3)])
    async with running(app, server, grace=30):
        await started.wait()
        asyncio.get_running_loop().call_later(0.01, finish.set)

    assert done == [b"0"]
    (next_one,) = await queue.receive("mail")
    assert (next_one.message.body, next_one.attempts) == (1, 1), "nothing holds the session any more"


@pytest.mark.parametrize(("name", "session"), [("mail", "s"), ("work", None)])
async def test_what_does_not_finish_within_the_grace_is_given_back_at_once(server, queue, name, session):
    app, started = func.FunctionApp(), asyncio.Event()

    @on(app, name, sessions=session is not None)
    async def receive(message: func.ServiceBusMessage) -> None:
        started.set()
        await asyncio.Event().wait()

    await queue.send(name, [message(1, session)])
    async with running(app, server, grace=0.01):
        await started.wait()

    (again,) = await queue.receive(name, wait=5)
    assert (again.message.body, again.attempts) == (1, 2)


async def test_stopping_does_not_wait_for_a_function_that_will_not_end(server, queue):
    app, started, release = func.FunctionApp(), asyncio.Event(), asyncio.Event()

    @on(app, "work")
    async def receive(message: func.ServiceBusMessage) -> None:
        started.set()
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    await queue.send("work", [message(1)])
    async with running(app, server, grace=0.01):
        await started.wait()
    assert left(server, "work") == 1
    release.set()


async def test_a_namespace_that_is_away_is_told_of_once_and_found_again(server, queue, caplog):
    caplog.set_level("INFO", "loom_local")
    app, seen = func.FunctionApp(), []

    @app.function_name("receive")
    @on(app, "work")
    async def receive(message: func.ServiceBusMessage) -> None:
        seen.append(int(message.get_body()))

    await queue.send("work", [message(0)])
    server.faults.add("attach", "drop", times=None, entity="work")
    async with running(app, server):
        await until(lambda: server.stats["connect"] > 5)
        assert seen == []
        server.faults.clear()
        await until(lambda: seen == [0] and not left(server, "work"))
        server.faults.add("attach", "drop", times=4, entity="work")
        server.drop_connections()
        await until(lambda: not server.faults.listed())
        await queue.send("work", [message(1)])
        await until(lambda: seen == [0, 1] and not left(server, "work"))

    told = [record.getMessage() for record in caplog.records if record.name.startswith("loom_local")]
    away = [text for text in told if "receives nothing for now" in text]
    assert len(away) == 2
    assert f"namespace 127.0.0.1:{server.port} cannot be reached" in away[0]
    assert told[-1] == "queue function receive receives from queue work again"
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({"queueName": "nowhere"}, "there is no queue 'nowhere' in namespace"),
        ({"queueName": "work", "isSessionsEnabled": True}, "has no sessions, and the function says"),
        ({"queueName": "mail"}, "has sessions, and the function says is_sessions_enabled=False"),
    ],
)
async def test_a_queue_that_is_not_there_or_another_is_told_of_once(server, caplog, trigger, words):
    one = function("one", type="serviceBusTrigger", connection="ServiceBus", **trigger)

    async with running([one], server):
        await until(lambda: server.stats["connect"] > 5)

    assert caplog.text.count("queue function one receives nothing for now") == 1
    assert words in caplog.text


async def test_every_function_that_cannot_be_fed_is_named_and_no_key_is_told(server):
    key = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=hush"
    functions = [
        function("keyed", queueName="work", connection="Mine"),
        function("lost", queueName="work", connection="Other"),
        function("topical", topicName="t", connection="Ours"),
    ]
    environment = {"Mine": key, "AzureWebJobsOurs__fullyQualifiedNamespace": "ns.servicebus.windows.net"}

    with pytest.raises(InvalidError) as refused:
        NamespaceTriggers(functions, invoke, options=QueueOptions(), environment=environment)

    told = [problem.message for problem in refused.value.problems]
    assert [words.split(":")[0] for words in told] == ["function keyed", "function lost", "function topical"]
    assert "Mine__fullyQualifiedNamespace" in told[0]
    assert "Other__fullyQualifiedNamespace" in told[1]
    assert "topics are not supported" in told[2]
    assert "hush" not in str(refused.value)


async def test_a_dead_letter_says_why_it_died(server, queue):
    app, got = func.FunctionApp(), []

    @on(app, "work/$deadletterqueue")
    async def bury(message: func.ServiceBusMessage) -> None:
        got.append(message)

    await queue.send("work", [message("bad")])
    (delivery,) = await queue.receive("work")
    await queue.settle(delivery, DeadLetter("Unreadable", "no JSON"))
    async with running(app, server):
        await until(lambda: got and not left(server, "work" + DEAD_LETTERS))

    assert (got[0].dead_letter_reason, got[0].dead_letter_error_description) == ("Unreadable", "no JSON")


async def test_who_may_not_receive_is_told_what_to_do_and_asked_for_rarely(caplog):
    nobody = ClientAuthenticationError("no credential in the chain")
    for error, words in (
        (ServiceBusError("Handler failed", error=nobody), "sign in with `az login`"),
        (ServiceBusAuthorizationError(message="Listen claim"), "the role Azure Service Bus Data Receiver"),
    ):
        outage = Outage("one", "work", "ns", has_sessions=False, pauses=(1, 2, 30))
        assert [outage.begins(error) for _ in range(3)] == [30, 30, 30]
        assert words in caplog.text


def test_pauses_grow_while_a_namespace_is_away_and_begin_anew_after_that():
    outage = Outage("one", "work", "ns", has_sessions=False, pauses=(1, 2, 30))
    assert [outage.begins(OSError("no route")) for _ in range(4)] == [1, 2, 30, 30]
    outage.ends()
    assert outage.begins(OSError("no route")) == 1
