"""Topics, subscriptions, forwarding, queues made on use, and configurations that make no sense."""

import asyncio
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusError

from tests.emulators.links import Together, complete, left, linked, receive_one
from tests.emulators.servicebus import ConfigError, serve
from tests.emulators.servicebus.broker import Broker

pytestmark = pytest.mark.asyncio(loop_scope="module")


def namespace(**entities):
    return {"UserConfig": {"Namespaces": [{"Name": "test", **entities}]}}


def correlation(**values):
    return {"Name": "r", "Properties": {"FilterType": "Correlation", "CorrelationFilter": values}}


def sql(expression):
    return {"Name": "r", "Properties": {"FilterType": "Sql", "SqlFilter": {"SqlExpression": expression}}}


CONFIG = namespace(
    Queues=[
        {"Name": "in", "Properties": {"ForwardTo": "out"}},
        {"Name": "out", "Properties": {"ForwardDeadLetteredMessagesTo": "grave"}},
        {"Name": "grave", "Properties": {}},
        {"Name": "circle", "Properties": {"ForwardTo": "circle"}},
        {"Name": "strict", "Properties": {"RequiresSession": True}},
        {"Name": "to-strict", "Properties": {"ForwardTo": "strict"}},
    ],
    Topics=[
        {
            "Name": "news",
            "Properties": {"RequiresDuplicateDetection": True},
            "Subscriptions": [
                {"Name": "all", "Properties": {}},
                {"Name": "red", "Rules": [correlation(Properties={"color": "red"})]},
                {
                    "Name": "either",
                    "Rules": [correlation(Label="a"), correlation(Label="b", CorrelationId="c")],
                },
                {"Name": "none", "Rules": [sql("1 = 0")]},
                {"Name": "sessions", "Properties": {"RequiresSession": True}},
            ],
        }
    ],
)


together = Together()


async def run(test):
    async with serve(CONFIG, auto=True) as server, linked(server) as links:
        await test(links)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    async with together.started(run) as tasks:
        yield tasks


@together
async def test_a_subscription_gets_what_one_of_its_rules_takes(links):
    client = links.client
    sender, everything, red, session = await asyncio.gather(
        links.own(client.get_topic_sender("news")),
        links.own(client.get_subscription_receiver("news", "all")),
        links.own(client.get_subscription_receiver("news", "red")),
        links.own(client.get_subscription_receiver("news", "sessions", session_id="1")),
    )
    await sender.send_messages(
        [
            ServiceBusMessage("r", session_id="1", message_id="1", application_properties={"color": "red"}),
            ServiceBusMessage("b", session_id="1", message_id="2", application_properties={"color": "blue"}),
            ServiceBusMessage("b again", session_id="1", message_id="2"),
            ServiceBusMessage("label", subject="b", correlation_id="c"),
        ]
    )
    assert await complete(everything, 3) == ["r", "b", "label"]
    assert await complete(red, 1) == ["r"]
    assert await complete(session, 2) == ["r", "b"]
    assert [left(links.server, f"news/Subscriptions/{name}") for name in ("red", "either", "none")] == [
        0,
        1,
        0,
    ]
    # What had no session where one is needed is not lost.
    assert left(links.server, "news/Subscriptions/sessions/$deadletterqueue") == 1


@together
async def test_a_topic_keeps_what_is_scheduled_until_it_is_due(links):
    sender = await links.own(links.client.get_topic_sender("news"))
    due = datetime.fromtimestamp(links.server.broker.now() + 60, UTC)
    first, _ = await sender.schedule_messages([ServiceBusMessage("1"), ServiceBusMessage("2")], due)
    await sender.cancel_scheduled_messages(first)
    assert (left(links.server, "news"), left(links.server, "news/subscriptions/all")) == (1, 0)
    links.server.advance(61)
    everything = await links.own(links.client.get_subscription_receiver("news", "all"))
    assert await complete(everything, 1) == ["2"]
    assert left(links.server, "news") == 0


@together
async def test_messages_and_dead_letters_go_where_they_are_forwarded(links):
    _, out, grave = await asyncio.gather(links.sender("in"), links.receiver("out"), links.receiver("grave"))
    await links.send("in", ServiceBusMessage("on", session_id="s"))
    got = await receive_one(out)
    await out.dead_letter_message(got, reason="r")
    letter = await receive_one(grave)
    assert (str(letter), letter.dead_letter_reason, letter.dead_letter_source) == ("on", "r", "out")
    await grave.complete_message(letter)
    with pytest.raises(ServiceBusError):
        await links.receiver("in")


@together
async def test_what_cannot_be_forwarded_is_a_dead_letter(links):
    await asyncio.gather(
        links.send("circle", ServiceBusMessage("x")), links.send("to-strict", ServiceBusMessage("y"))
    )
    broker = links.server.broker
    for queue, reason in (("circle", "MaxTransferHopCountExceeded"), ("to-strict", "amqp:not-allowed")):
        [letter] = broker.entity(f"{queue}/$deadletterqueue").messages.values()
        assert letter.application["DeadLetterReason"] == reason


@together
async def test_a_queue_made_on_use_is_what_its_first_use_needs(links):
    await asyncio.gather(
        links.send("tally-1", ServiceBusMessage("x")),
        links.send("tally-2", ServiceBusMessage("y", session_id="s")),
    )
    plain, session = await asyncio.gather(links.receiver("tally-1"), links.session("tally-2", "s"))
    assert await complete(plain, 1) == ["x"]
    assert await complete(session, 1) == ["y"]
    properties = links.server.broker.entity("tally-1").properties
    assert (properties.duplicate_window, properties.lock_duration, properties.max_deliveries) == (
        1800,
        60,
        10,
    )
    assert properties.dead_letter_expired


@pytest.mark.parametrize(
    "config",
    [
        namespace(Queues=[{"Name": "q", "Properties": {"LockTime": "PT1M"}}]),
        namespace(Queues=[{"Name": "q", "Properties": {"LockDuration": "a minute"}}]),
        namespace(Queues=[{"Name": "q", "Properties": {"MaxDeliveryCount": "10"}}]),
        namespace(Queues=[{"Name": "q"}, {"Name": "Q"}]),
        namespace(Queues=[{"name": "q"}]),
        namespace(Queues=[{"Name": "q", "Properties": {"ForwardTo": "nowhere"}}]),
        namespace(Topics=[{"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [sql("a = 1")]}]}]),
        namespace(
            Topics=[{"Name": "t", "Subscriptions": [{"Name": "s", "Rules": [correlation(Colour="red")]}]}]
        ),
    ],
    ids=["unknown", "no duration", "no number", "twice", "no name", "forward", "sql", "unknown in a filter"],
)
async def test_a_configuration_that_cannot_be_had_is_refused(config):
    with pytest.raises(ConfigError):
        Broker(config)
