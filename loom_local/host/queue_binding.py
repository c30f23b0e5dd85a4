"""What a queue trigger is given: the body, and the binding data that a ServiceBusMessage is made of."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from loom_core.wire.json import Json
from loom_local.broker import DEAD_LETTERS, Delivery

type Datum = tuple[Any, str]
"""A value and the type it travels as between host and worker."""

_KINDS = {str: "string", int: "int", dict: "json"}


def bind_one(delivery: Delivery) -> tuple[Datum, dict[str, Datum]]:
    """Give the datum and the binding data of one message."""
    data = {
        name: (json.dumps(value) if isinstance(value, dict) else value, _KINDS[type(value)])
        for name, value in _fields(delivery).items()
        if value is not None
    }
    return (delivery.stored.message.body, "bytes"), data


def bind_many(deliveries: Sequence[Delivery]) -> tuple[Datum, dict[str, Datum]]:
    """Give the datum and the binding data of a batch: an array for each field."""
    fields = [_fields(delivery) for delivery in deliveries]
    data = {f"{name}Array": (json.dumps([each[name] for each in fields]), "json") for name in fields[0]}
    bodies = SimpleNamespace(bytes=[delivery.stored.message.body for delivery in deliveries])
    return (bodies, "collection_bytes"), data


def _fields(delivery: Delivery) -> Mapping[str, Json]:
    stored, message = delivery.stored, delivery.stored.message
    properties = dict(message.application_properties)
    dead = stored.dead_letter_reason is not None
    return {
        "MessageId": message.message_id,
        "SessionId": message.session_id,
        "CorrelationId": message.correlation_id,
        "Subject": message.subject,
        "Label": message.subject,
        "ContentType": message.content_type,
        "To": message.to,
        "ReplyTo": message.reply_to,
        "ReplyToSessionId": message.reply_to_session_id,
        "DeliveryCount": stored.delivery_count,
        "SequenceNumber": stored.sequence_number,
        "EnqueuedTimeUtc": _iso(stored.enqueued_time),
        "ExpiresAtUtc": _iso(stored.expires_at),
        "LockedUntil": _iso(delivery.locked_until),
        "LockToken": delivery.token,
        "DeadLetterReason": stored.dead_letter_reason,
        "DeadLetterErrorDescription": stored.dead_letter_description,
        "DeadLetterSource": stored.queue.removesuffix(DEAD_LETTERS) if dead else None,
        "ApplicationProperties": properties,
        "UserProperties": properties,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
