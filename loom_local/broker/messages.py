"""The broker's values: messages, what is known of them once stored, locks, and the rules for sending."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from loom_core.errors import ConflictError, Problem
from loom_core.wire.json import JsonObject

DEAD_LETTERS = "/$deadletterqueue"
"""The dead letters of queue `q` are the messages of the queue `q/$deadletterqueue`, as in Service Bus."""

LARGEST_MESSAGE = 256 * 1024
LARGEST_BATCH = 1_000
LONGEST_ID = 128
_LAST_TIME = 253_402_300_799

_QUEUE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?")
_PROPERTIES = (
    "correlation_id",
    "subject",
    "content_type",
    "to",
    "reply_to",
    "reply_to_session_id",
    "application_properties",
)


class LockLostError(ConflictError):
    """The lock has run out or was given up; the message will be, or has been, delivered again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueProperties:
    """How a queue behaves; durations in seconds. A duplicate window of 0 detects none."""

    requires_session: bool = False
    lock_duration: float = 60.0
    max_delivery_count: int = 10
    duplicate_window: float = 30 * 60.0
    default_ttl: float = 14 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a sender says. Times are seconds since the epoch, durations are seconds."""

    body: bytes
    message_id: str | None = None
    session_id: str | None = None
    correlation_id: str | None = None
    subject: str | None = None
    content_type: str | None = None
    to: str | None = None
    reply_to: str | None = None
    reply_to_session_id: str | None = None
    application_properties: JsonObject = field(default_factory=dict[str, Any])
    scheduled_enqueue_time: float | None = None
    time_to_live: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message in a queue. `delivery_count` counts the deliveries begun."""

    queue: str
    sequence_number: int
    message: Message
    enqueued_time: float
    expires_at: float
    delivery_count: int
    dead_letter_reason: str | None = None
    dead_letter_description: str | None = None


@dataclass(frozen=True, slots=True)
class SendResult:
    """A duplicate was not stored again; its number is that of the message that came first."""

    sequence_number: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class SessionLock:
    """The right to receive from one session, until it runs out or is released."""

    queue: str
    session: str
    token: str
    locked_until: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """A locked message. Settle it before `locked_until`, or renew its lock (or its session's)."""

    stored: StoredMessage
    lane: str
    token: str
    locked_until: float


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """`active` counts what can be received, locked messages included."""

    active: int
    locked: int
    scheduled: int
    dead_lettered: int


def pack(message: Message) -> str:
    """Encode what the broker only carries. Raises ValueError or TypeError for what JSON cannot hold."""
    carried = {name: value for name in _PROPERTIES if (value := getattr(message, name))}
    return json.dumps(carried, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def unpack(message_id: str, session: str | None, properties: str, body: bytes) -> Message:
    return Message(body=body, message_id=message_id, session_id=session, **json.loads(properties))


def name_problems(name: str) -> Iterator[Problem]:
    if not _QUEUE_NAME.fullmatch(name):
        yield Problem(
            "$.queue", f"{name[:80]!r} is no queue name: up to 260 letters, digits and . _ - / inside of it"
        )


def problems(index: int, message: Message, properties: QueueProperties) -> Iterator[Problem]:
    """Say everything that keeps a message out of a queue with these properties."""
    at = f"$[{index}]"
    if properties.requires_session and not message.session_id:
        yield Problem(f"{at}.sessionId", "this queue has sessions: every message needs a session id")
    for name, value in (("messageId", message.message_id), ("sessionId", message.session_id)):
        if value is not None and not (1 <= len(value) <= LONGEST_ID and _is_text(value)):
            yield Problem(f"{at}.{name}", f"must be text of 1 to {LONGEST_ID} characters")
    ttl, due = message.time_to_live, message.scheduled_enqueue_time
    if ttl is not None and not ttl > 0:
        yield Problem(f"{at}.timeToLive", "must be longer than nothing")
    if due is not None and not 0 <= due <= _LAST_TIME:
        yield Problem(f"{at}.scheduledEnqueueTime", "must be a time between 1970 and 9999")
    for name, value in message.application_properties.items():
        if not isinstance(value, str | int | float | None):
            yield Problem(f"{at}.applicationProperties.{name}", "must be a string, a number or a boolean")
    yield from _size_problems(at, message)


def _size_problems(at: str, message: Message) -> Iterator[Problem]:
    try:
        size = len(message.body) + len(pack(message).encode())
    except (TypeError, ValueError) as error:
        yield Problem(at, f"its properties are no JSON: {error}")
        return
    if size > LARGEST_MESSAGE:
        remedy = "store a larger payload elsewhere and send a reference"
        yield Problem(at, f"has {size} bytes; at most {LARGEST_MESSAGE} (256 KB) are allowed: {remedy}")


def _is_text(value: str) -> bool:
    """Say whether it can be stored: JSON may hold half a surrogate pair, UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
