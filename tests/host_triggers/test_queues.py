import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, List  # noqa: UP035 - the Functions indexer refuses the modern spelling

import azure.functions as func
import pytest

from loom_core.errors import InvalidError
from loom_local.broker import Broker, Message, QueueProperties
from loom_local.database import Database
from loom_local.engine.bridge import Bridge
from loom_local.host.function import Function
from loom_local.host.queues import QueueOptions, QueueTriggers
from tests.host_triggers.conftest import index, invoke, until


def here[F: Callable[..., Coroutine[Any, Any, Any]]](target: F) -> F:
    """The engine's loop is this one."""
    return target


@asynccontextmanager
async def running(
    app: func.FunctionApp | list[Function],
    broker: Broker,
    *,
    host_json: dict[str, Any] | None = None,
    grace: float = 5,
    on_engine: Any = here,
    **properties: Any,
) -> AsyncIterator[None]:
    options = QueueOptions.of({"extensions": {"serviceBus": host_json or {}}})
    triggers = QueueTriggers(
        index(app) if isinstance(app, func.FunctionApp) else app,
        invoke,
        broker=broker,
        on_engine=on_engine,
        options=options,
        properties=QueueProperties(**properties),
    )
    await triggers.start()
    try:
        yield
    finally:
        await triggers.stop(grace)


def numbered(count: int, **properties: Any) -> list[Message]:
    return [Message(body=str(n).encode(), **properties) for n in range(count)]


async def emptied(broker: Broker, queue: str) -> None:
    await until(lambda: not broker._store.counts(queue)[0])


async def test_a_function_gets_the_message_its_sender_sent(broker: Broker):
    app, got = func.FunctionApp(), asyncio.Queue[func.ServiceBusMessage]()

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="mail", connection="", is_sessions_enabled=True
    )
    async def receive(message: func.ServiceBusMessage) -> None:
        await got.put(message)

    async with running(app, broker):
        sent = Message(
            body='{"said": "Grüezi"}'.encode(),
            message_id="m1",
            session_id="ada",
            correlation_id="c1",
            subject="greeting",
            content_type="application/json",
            to="you",
            reply_to="me",
            reply_to_session_id="r1",
            application_properties={"priority": 3, "urgent": True, "note": "é"},
            time_to_live=60,
        )
        before = datetime.now(UTC)
        (result,) = await broker.send("mail", [sent])
        message = await got.get()
        await emptied(broker, "mail")

    assert message.get_body() == sent.body
    assert message.message_id == "m1"
    assert message.session_id == "ada"
    assert message.correlation_id == "c1"
    assert message.subject == message.label == "greeting"
    assert message.content_type == "application/json"
    assert message.to == "you"
    assert message.reply_to == "me"
    assert message.reply_to_session_id == "r1"
    assert message.application_properties == {"priority": 3, "urgent": True, "note": "é"}
    assert message.user_properties == message.application_properties
    assert message.delivery_count == 1
    assert message.sequence_number == result.sequence_number
    assert message.enqueued_time_utc is not None
    assert before <= message.enqueued_time_utc <= datetime.now(UTC)
    assert message.locked_until is not None
    assert message.locked_until > message.enqueued_time_utc
    assert message.expires_at_utc is not None
    assert message.lock_token
    assert message.dead_letter_reason is None
    assert message.metadata["MessageId"] == "m1"


async def test_a_bare_message_has_no_properties(broker: Broker):
    app, got = func.FunctionApp(), asyncio.Queue[func.ServiceBusMessage]()

    @app.service_bus_queue_trigger(arg_name="message", queue_name="work", connection="")
    async def receive(message: func.ServiceBusMessage) -> None:
        await got.put(message)

    async with running(app, broker):
        await broker.send("work", [Message(body=b"\x00\xff")])
        message = await got.get()
    assert message.get_body() == b"\x00\xff"
    assert message.message_id
    assert message.session_id is message.correlation_id is message.subject is None
    assert message.application_properties == {}


async def test_a_batch_function_gets_a_list_and_one_at_a_time(broker: Broker):
    app, batches, running_now = func.FunctionApp(), [], []

    @app.service_bus_queue_trigger(
        arg_name="messages", queue_name="work", connection="", cardinality=func.Cardinality.MANY
    )
    async def receive(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
        running_now.append(1)
        assert len(running_now) == 1
        batches.append([(m.get_body(), m.message_id, m.delivery_count, m.subject) for m in messages])
        await asyncio.sleep(0)
        running_now.pop()

    await broker.send("work", [Message(body=b"%d" % n, message_id=f"m{n}") for n in range(9)])
    await broker.send("work", [Message(body=b"9", message_id="m9", subject="last")])
    async with running(app, broker, host_json={"maxMessageBatchSize": 4}):
        await emptied(broker, "work")
    assert [len(batch) for batch in batches] == [4, 4, 2]
    expected = [(b"%d" % n, f"m{n}", 1, None) for n in range(9)] + [(b"9", "m9", 1, "last")]
    assert [message for batch in batches for message in batch] == expected


async def test_a_batch_function_gets_one_session_at_a_time(broker: Broker):
    app, batches = func.FunctionApp(), []

    @app.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="mail",
        connection="",
        cardinality="many",
        is_sessions_enabled=True,
    )
    async def receive(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
        batches.append([f"{m.session_id}{m.get_body().decode()}" for m in messages])

    await broker.declare("mail", QueueProperties(requires_session=True))
    await broker.send("mail", numbered(3, session_id="a") + numbered(2, session_id="b"))
    async with running(app, broker):
        await emptied(broker, "mail")
    assert batches == [["a0", "a1", "a2"], ["b0", "b1"]]


async def test_a_session_is_worked_off_in_order_and_sessions_run_side_by_side(broker: Broker):
    app, seen, at_once, most = func.FunctionApp(), defaultdict(list), set(), []

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="mail", connection="", is_sessions_enabled=True
    )
    async def receive(message: func.ServiceBusMessage) -> None:
        assert message.session_id not in at_once
        at_once.add(message.session_id)
        most.append(len(at_once))
        await asyncio.sleep(0.001)
        seen[message.session_id].append(int(message.get_body()))
        at_once.remove(message.session_id)

    await broker.declare("mail", QueueProperties(requires_session=True))
    for n in range(20):
        await broker.send("mail", [Message(body=b"%d" % n, session_id=s) for s in "abcdef"])
    async with running(app, broker, host_json={"maxConcurrentSessions": 4}):
        await emptied(broker, "mail")
    assert seen == {s: [*range(20)] for s in "abcdef"}
    assert max(most) == 4


async def test_without_sessions_as_many_run_as_calls_are_allowed(broker: Broker):
    app, at_once, most, done = func.FunctionApp(), set(), [], []

    @app.service_bus_queue_trigger(arg_name="message", queue_name="work", connection="")
    async def receive(message: func.ServiceBusMessage) -> None:
        at_once.add(message.sequence_number)
        most.append(len(at_once))
        await asyncio.sleep(0.001)
        done.append(int(message.get_body()))
        at_once.remove(message.sequence_number)

    await broker.send("work", numbered(40))
    async with running(app, broker, host_json={"maxConcurrentCalls": 3}):
        await emptied(broker, "work")
    assert sorted(done) == [*range(40)]
    assert max(most) == 3


async def test_a_failing_message_comes_again_until_it_is_dead_lettered_and_the_next_goes_on(
    broker: Broker, caplog: pytest.LogCaptureFixture
):
    app, seen = func.FunctionApp(), []

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="mail", connection="", is_sessions_enabled=True
    )
    def receive(message: func.ServiceBusMessage) -> None:
        seen.append((message.get_body(), message.delivery_count))
        if message.get_body() == b"0":
            raise ValueError("I cannot read this")

    await broker.declare("mail", QueueProperties(requires_session=True))
    await broker.send("mail", numbered(2, session_id="s"))
    async with running(app, broker, max_delivery_count=3):
        await emptied(broker, "mail")
    assert seen == [(b"0", 1), (b"0", 2), (b"0", 3), (b"1", 1)]
    (dead,) = await broker.dead_letters("mail")
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert caplog.text.count("queue function receive failed on message 1 of queue mail") == 3
    assert "I cannot read this" in caplog.text


async def test_dead_letters_can_be_drained_by_a_function(broker: Broker):
    app, got = func.FunctionApp(), asyncio.Queue[func.ServiceBusMessage]()

    @app.function_name("drain")
    @app.service_bus_queue_trigger(arg_name="message", queue_name="mail/$DeadLetterQueue", connection="")
    async def drain(message: func.ServiceBusMessage) -> None:
        await got.put(message)

    async with running(app, broker):
        await broker.send("mail", [Message(body=b"bad")])
        (delivery,) = await broker.receive("mail")
        await broker.dead_letter(delivery, "Unreadable", "no JSON")
        message = await got.get()
        await emptied(broker, "mail/$deadletterqueue")
    assert message.get_body() == b"bad"
    assert message.dead_letter_reason == "Unreadable"
    assert message.dead_letter_error_description == "no JSON"
    assert message.dead_letter_source == "mail"


async def test_without_auto_complete_a_message_stays_locked_and_comes_again(broker: Broker):
    app, counts = func.FunctionApp(), asyncio.Queue[int]()

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="work", connection="", auto_complete_messages=False
    )
    async def receive(message: func.ServiceBusMessage) -> None:
        await counts.put(message.delivery_count)

    async with running(app, broker, lock_duration=0.1):
        await broker.send("work", numbered(1))
        assert [await counts.get(), await counts.get()] == [1, 2]
    assert (await broker.counts("work")).active == 1


@pytest.mark.parametrize("sessions", [True, False])
async def test_locks_are_renewed_while_a_function_runs(broker: Broker, sessions: bool):
    app, counts, renewed = func.FunctionApp(), [], asyncio.Event()

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="work", connection="", is_sessions_enabled=sessions
    )
    async def receive(message: func.ServiceBusMessage) -> None:
        counts.append(message.delivery_count)
        first = message.locked_until
        assert first is not None
        until_then = first.timestamp() + 0.4
        await until(lambda: min(broker._queue("work").deadlines()) >= until_then)
        renewed.set()

    async with running(app, broker, lock_duration=1.5):
        await broker.send("work", numbered(1, session_id="s"))
        await renewed.wait()
        await emptied(broker, "work")
    assert counts == [1]


async def test_a_lock_is_renewed_no_longer_than_allowed(broker: Broker, caplog: pytest.LogCaptureFixture):
    app, counts, again = func.FunctionApp(), [], asyncio.Event()

    @app.service_bus_queue_trigger(arg_name="message", queue_name="work", connection="")
    async def receive(message: func.ServiceBusMessage) -> None:
        counts.append(message.delivery_count)
        if message.delivery_count == 1:
            await again.wait()
        again.set()

    async with running(app, broker, lock_duration=0.1, host_json={"maxAutoLockRenewalDuration": "00:00:00"}):
        await broker.send("work", numbered(1))
        await again.wait()
        await emptied(broker, "work")
    assert counts == [1, 2]
    assert "was handled, but will be delivered again" in caplog.text


async def test_stopping_lets_a_function_finish_and_settles_its_message(broker: Broker):
    app, started, finish, done = func.FunctionApp(), asyncio.Event(), asyncio.Event(), []

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="mail", connection="", is_sessions_enabled=True
    )
    async def receive(message: func.ServiceBusMessage) -> None:
        started.set()
        await finish.wait()
        done.append(message.get_body())

    await broker.declare("mail", QueueProperties(requires_session=True))
    await broker.send("mail", numbered(3, session_id="s"))
    async with running(app, broker, grace=30):
        await started.wait()
        asyncio.get_running_loop().call_later(0.01, finish.set)
    assert done == [b"0"]
    assert [m.message.body for m in await broker.peek("mail")] == [b"1", b"2"]


async def test_what_does_not_finish_within_the_grace_comes_again_after_a_restart(database: Database):
    app, started, counts = func.FunctionApp(), asyncio.Queue[int](), []

    @app.service_bus_queue_trigger(arg_name="message", queue_name="work", connection="")
    async def receive(message: func.ServiceBusMessage) -> None:
        counts.append(message.delivery_count)
        await started.put(1)
        if message.delivery_count == 1:
            await asyncio.Event().wait()

    functions, broker = index(app), Broker(database)
    async with running(functions, broker, grace=0.01):
        await broker.send("work", numbered(1))
        await started.get()
    await broker.drain()
    broker = Broker(database)
    async with running(functions, broker):
        await emptied(broker, "work")
    await broker.drain()
    assert counts == [1, 2]


async def test_stopping_does_not_wait_for_a_function_that_will_not_end(broker: Broker):
    app, started, release = func.FunctionApp(), asyncio.Event(), asyncio.Event()

    @app.service_bus_queue_trigger(arg_name="message", queue_name="work", connection="")
    async def receive(message: func.ServiceBusMessage) -> None:
        started.set()
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    async with running(app, broker, grace=0.01):
        await broker.send("work", numbered(1))
        await started.wait()
    assert (await broker.counts("work")).active == 1
    release.set()
    await emptied(broker, "work")


async def test_the_broker_may_live_on_another_loop_than_the_functions(database: Database):
    app, seen = func.FunctionApp(), defaultdict(list)

    @app.service_bus_queue_trigger(
        arg_name="message", queue_name="mail", connection="", is_sessions_enabled=True
    )
    async def receive(message: func.ServiceBusMessage) -> None:
        seen[message.session_id].append(int(message.get_body()))

    engine, ready = asyncio.new_event_loop(), Event()
    engine.call_soon(ready.set)
    thread = Thread(target=engine.run_forever)
    thread.start()
    ready.wait()
    broker = Broker(database)
    on_engine = Bridge(asyncio.get_running_loop(), engine).function
    async with running(app, broker, on_engine=on_engine):
        for n in range(50):
            messages = [Message(body=b"%d" % n, session_id=s) for s in "abcd"]
            await on_engine(broker.send)("mail", messages)
        await emptied(broker, "mail")

    engine.call_soon_threadsafe(engine.stop)
    thread.join()
    engine.close()
    assert seen == {s: [*range(50)] for s in "abcd"}


async def test_what_cannot_run_locally_is_refused_by_name(broker: Broker):
    app = func.FunctionApp()

    @app.function_name("on_topic")
    @app.service_bus_topic_trigger(arg_name="m", topic_name="t", subscription_name="s", connection="")
    def on_topic(m: func.ServiceBusMessage) -> None: ...

    @app.function_name("dead")
    @app.service_bus_queue_trigger(
        arg_name="m", queue_name="q/$deadletterqueue", connection="", is_sessions_enabled=True
    )
    def dead(m: func.ServiceBusMessage) -> None: ...

    @app.function_name("one")
    @app.service_bus_queue_trigger(arg_name="m", queue_name="q", connection="", is_sessions_enabled=True)
    def one(m: func.ServiceBusMessage) -> None: ...

    @app.function_name("two")
    @app.service_bus_queue_trigger(arg_name="m", queue_name="q", connection="")
    def two(m: func.ServiceBusMessage) -> None: ...

    with pytest.raises(InvalidError) as refused:
        async with running(app, broker):
            pass
    assert [p.message for p in refused.value.problems] == [
        "function on_topic: Service Bus topics are not supported locally, only queues are",
        "function dead: a dead-letter queue has no sessions",
        "function two: another function of its queue has isSessionsEnabled otherwise",
    ]


def test_the_options_of_host_json_are_read():
    given = {
        "prefetchCount": 0,
        "autoCompleteMessages": False,
        "maxAutoLockRenewalDuration": "00:30:00",
        "maxConcurrentSessions": 16,
        "maxConcurrentCalls": 4,
        "maxMessageBatchSize": 10,
        "clientRetryOptions": {"mode": "exponential"},
    }
    options = QueueOptions.of({"extensions": {"serviceBus": given}})
    assert options.max_concurrent_sessions == 16
    assert options.max_auto_lock_renewal_duration.total_seconds() == 1_800
    assert not options.auto_complete_messages
    assert QueueOptions.of({}) == QueueOptions()


def test_every_bad_option_of_host_json_is_named():
    given = {
        "maxConcurrentSessions": 0,
        "maxConcurrentCalls": "16",
        "maxAutoLockRenewalDuration": "5 minutes",
        "autoCompleteMessages": "yes",
    }
    with pytest.raises(InvalidError) as refused:
        QueueOptions.of({"extensions": {"serviceBus": given}})
    assert {p.path for p in refused.value.problems} == {f"$.extensions.serviceBus.{name}" for name in given}
    assert json.dumps(str(refused.value))
