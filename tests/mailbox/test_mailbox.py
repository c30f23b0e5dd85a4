"""The queue `actors`: what is handed over, and what becomes a dead letter."""

import asyncio
import json
from dataclasses import dataclass

import pytest

from loom_core.errors import UnavailableError
from loom_core.mailbox import bury, take
from tests.http.world import World

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Received:
    body: bytes
    message_id: str = "q-1"
    correlation_id: str | None = None
    delivery_count: int | None = 1
    dead_letter_reason: str | None = None
    dead_letter_error_description: str | None = None

    def get_body(self):
        return self.body


@pytest.fixture
def world():
    return World()


async def letters(world):
    return [letter for _, letter in (await world.dead.page(100))[0]]


async def test_a_message_is_handed_over_under_the_id_that_the_queue_knows(world):
    document = {"actorId": "counter/a", "payload": {"amount": 1}}
    await take(Received(json.dumps(document).encode(), correlation_id="c"), world.actors)

    [(actor, sent)] = world.delivered()
    assert (actor, sent["messageId"], sent["correlationId"]) == ("Counter/a", "q-1", "c")
    assert await letters(world) == []


async def test_a_message_that_an_actor_has_sent_keeps_its_id(world):
    metadata = {"sender": "Echo/b", "timestamp": "2027-01-01T00:00:00.000Z", "traceparent": TRACE}
    document = {"actorId": "Echo/a", "payload": 1, "messageId": "Echo/b:17", "metadata": metadata}
    await take(Received(json.dumps(document).encode(), "Echo/b:17"), world.actors)

    [(_, sent)] = world.delivered()
    assert (sent["messageId"], sent["metadata"]) == ("Echo/b:17", metadata)


BAD = [
    b"no JSON",
    b"\xff",
    b"[]",
    b'{"payload": 1}',
    b'{"actorId": "None/a", "payload": 1}',
    b'{"actorId": "Counter/a", "payload": {"amount": "x"}}',
    b'{"actorId": "Echo/a", "payload": NaN}',
    b'{"actorId": "Echo/a", "payload": "\\ud800"}',
    b'{"actorId": "Echo/a", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", BAD)
async def test_what_no_actor_will_take_is_a_dead_letter_and_not_delivered_again(world, body):
    await take(Received(body), world.actors)

    [letter] = await letters(world)
    assert world.hub.signals == []
    assert (letter["source"], letter["error"]["type"]) == ("mailbox", "InvalidError")
    assert letter["message"]["messageId"] == "q-1"


async def test_what_cannot_be_handed_over_now_is_left_to_the_queue(world):
    world.hub.broken = {"Echo/a"}

    with pytest.raises(UnavailableError):
        await take(Received(b'{"actorId": "Echo/a", "payload": 1}'), world.actors, pauses=(0, 0))

    assert await letters(world) == []


async def test_what_cannot_be_handed_over_for_a_while_uses_up_no_delivery(world):
    world.hub.broken = {"Echo/a"}

    taken = asyncio.create_task(
        take(Received(b'{"actorId": "Echo/a", "payload": 1}'), world.actors, pauses=(0,) * 1_000)
    )
    while not world.hub.refused:
        await asyncio.sleep(0)
    world.hub.broken = set()
    await taken

    [(actor, _)] = world.delivered()
    assert actor == "Echo/a"


async def test_what_the_broker_has_given_up_is_a_dead_letter_that_says_why(world):
    told = {"dead_letter_reason": "MaxDeliveryCountExceeded", "dead_letter_error_description": "ten times"}
    await bury(Received(b'{"actorId": "Echo/a", "payload": 1}', delivery_count=10, **told), world.actors)

    [letter] = await letters(world)
    assert letter["error"] == {
        "type": "MaxDeliveryCountExceeded", "message": "ten times", "retryable": False,
    }  # fmt: skip
    assert (letter["actorId"], letter["attempts"], letter["source"]) == ("Echo/a", 10, "broker")
    assert letter["message"] == {"actorId": "Echo/a", "payload": 1, "messageId": "q-1"}


@pytest.mark.parametrize("body", BAD)
async def test_whatever_the_broker_has_given_up_can_be_kept(world, body):
    await bury(Received(body), world.actors)

    assert len(await letters(world)) == 1
