"""A message of Service Bus as one of the local broker's: a function is given both alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loom_core.wire.json import Json
from loom_local.broker import Delivery, Message, StoredMessage

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusReceivedMessage

_NEVER = 253_402_300_799.0


def delivered(queue: str, received: "ServiceBusReceivedMessage", locked_until: float) -> Delivery:
    message = Message(
        body=_body(received),
        message_id=_words(received.message_id) or "",
        session_id=received.session_id,
        correlation_id=_words(received.correlation_id),
        subject=_words(received.subject),
        content_type=_words(received.content_type),
        to=_words(received.to),
        reply_to=_words(received.reply_to),
        reply_to_session_id=_words(received.reply_to_session_id),
        application_properties=_properties(received.application_properties or {}),
    )
    enqueued, expires = received.enqueued_time_utc, received.expires_at_utc
    stored = StoredMessage(
        queue=queue,
        sequence_number=received.sequence_number or 0,
        message=message,
        enqueued_time=enqueued.timestamp() if enqueued else 0.0,
        expires_at=expires.timestamp() if expires else _NEVER,
        delivery_count=(received.delivery_count or 0) + 1,  # the service counts those that failed
        dead_letter_reason=received.dead_letter_reason,
        dead_letter_description=received.dead_letter_error_description,
    )
    return Delivery(stored, "", str(received.lock_token), locked_until)


def _body(received: "ServiceBusReceivedMessage") -> bytes:
    body: Any = received.body
    if isinstance(body, bytes | str):
        return body if isinstance(body, bytes) else body.encode()
    try:
        return b"".join(body)
    except TypeError:  # a value, as other languages may send
        return str(received).encode()


def _properties(given: Mapping[Any, Any]) -> dict[str, Json]:
    texts = {_text(name): _text(value) for name, value in given.items()}
    return {str(k): v if isinstance(v, str | int | float | None) else str(v) for k, v in texts.items()}


def _words(value: Any) -> str | None:
    """What should be text: others may send ids that are numbers, UUIDs or bytes."""
    return None if value is None else str(_text(value))


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
