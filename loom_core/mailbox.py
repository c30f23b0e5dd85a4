"""The mailbox: messages that come to actors through the queue `actors`, one by one."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast

from loom_core.clients.actors import Actors
from loom_core.clients.incoming import read
from loom_core.errors import InvalidError, LoomError, UnavailableError
from loom_core.ports.queue import DEAD_LETTERS
from loom_core.wire.json import Json, dump
from loom_core.wire.messages import iso

QUEUE: Final = "actors"
DEAD: Final = QUEUE + DEAD_LETTERS
PAUSES: Final = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds. A broker delivers again at once, and gives up after ten times: that must outlast an outage."""
_log = logging.getLogger(__name__)


class Received(Protocol):
    """What a Service Bus trigger is given."""

    @property
    def message_id(self) -> str: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def delivery_count(self) -> int | None: ...
    @property
    def dead_letter_reason(self) -> str | None: ...
    @property
    def dead_letter_error_description(self) -> str | None: ...

    def get_body(self) -> bytes: ...


async def take(received: Received, actors: Actors, pauses: Sequence[float] = PAUSES) -> None:
    """Hand a message over to its actor; what no actor will ever take is a dead letter.

    The body is one message document with its `actorId`; the id of the queue's message is its own unless it
    has one. While it cannot be handed over, it is tried again after each of the pauses; what is raised then
    has the queue deliver it again.
    """
    now = datetime.now(UTC)
    try:
        document: Any = json.loads(received.get_body())
        if not isinstance(document, dict):
            raise InvalidError("a message is an object with its actorId")  # noqa: TRY301 - as read() does
        named: dict[str, Any] = {"messageId": received.message_id, "correlationId": received.correlation_id}
        said: dict[str, Any] = {name: value for name, value in named.items() if value}
        messages = read(said | document, actors, now, by_actors=True)
    except (InvalidError, ValueError, RecursionError) as error:
        _log.warning("message %s of the queue %s is a dead letter: %s", received.message_id, QUEUE, error)
        kind = type(error) if isinstance(error, LoomError) else InvalidError
        await actors.dead_letters.put(_letter(received, now, "mailbox", kind.__name__, str(error)))
        return
    for pause in pauses:
        try:
            await actors.deliver(messages)
        except UnavailableError as error:
            _log.warning("message %s of the queue %s waits: %s", received.message_id, QUEUE, error)
            await asyncio.sleep(pause)
        else:
            return
    await actors.deliver(messages)


async def bury(received: Received, actors: Actors) -> None:
    """Keep what the broker has given up with all that could not be served."""
    reason, words = received.dead_letter_reason, received.dead_letter_error_description
    letter = _letter(received, datetime.now(UTC), "broker", reason or "DeadLettered", words or "")
    await actors.dead_letters.put(letter)


def _letter(received: Received, now: datetime, source: str, kind: str, words: str) -> dict[str, Json]:
    body = _body(received)
    actor = body.get("actorId")
    return {
        "actorId": actor if isinstance(actor, str) else "",
        "message": {"payload": None, **body, "messageId": received.message_id},
        "error": {"type": kind, "message": words[:4_000], "retryable": False},
        "attempts": received.delivery_count or 1,
        "failedAt": iso(now.timestamp()),
        "source": source,
    }


def _body(received: Received) -> dict[str, Json]:
    """The document that came, or what came instead as its payload: something that can be kept."""
    text = received.get_body().decode(errors="replace")
    try:
        document: Any = json.loads(text)
        dump(document).encode()
    except (ValueError, RecursionError):
        return {"payload": text}
    return cast("dict[str, Json]", document) if isinstance(document, dict) else {"payload": document}
