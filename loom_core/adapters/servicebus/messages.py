"""Messages as the port has them, and as the SDK has them."""

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loom_core.ports.queue import DEAD_LETTERS, DeadLetter, Delivery, QueueMessage
from loom_core.wire.json import Json

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

_LONGEST_TTL = (2**32 - 1) // 1_000
"""Seconds: the wire counts milliseconds in 32 bits. No queue of Loom's keeps a message as long."""
_INT, _LONG = 2**31, 2**63
_OF_THE_SERVICE = {"MaxDeliveryCountExceeded", "TTLExpiredException"}
"""Reasons that no receiver gave."""
_WHY = {"DeadLetterReason", "DeadLetterErrorDescription"}


def outgoing(message: QueueMessage, body: str) -> "ServiceBusMessage":
    from azure.servicebus import ServiceBusMessage  # noqa: PLC0415 - cold start

    # The SDK counts a life in whole seconds, and would take less than one for none.
    ttl = None if message.ttl is None else timedelta(seconds=min(math.ceil(message.ttl), _LONGEST_TTL))
    return ServiceBusMessage(
        body.encode(),
        message_id=message.message_id,
        session_id=message.session_id,
        correlation_id=message.correlation_id,
        content_type="application/json",
        application_properties={name: _typed(value) for name, value in message.properties.items()},
        time_to_live=ttl,
    )


def _typed(value: str | float | bool) -> Any:
    """The SDK would put every integer into 32 bits."""
    if not isinstance(value, int) or -_INT <= value < _INT:
        return value
    return {"TYPE": "LONG", "VALUE": value} if -_LONG <= value < _LONG else float(value)


def delivery(
    queue: str, received: "ServiceBusReceivedMessage", *, token: str = "", locked_until: float = 0.0
) -> Delivery:
    """Give it as received, or as looked at (without a token)."""
    properties = _properties(received.application_properties or {})
    reason = received.dead_letter_reason if queue.endswith(DEAD_LETTERS) else None
    if reason is not None:
        properties = {name: value for name, value in properties.items() if name not in _WHY}
    message = QueueMessage(
        body=_body(content(received)),
        message_id=str(received.message_id or ""),
        session_id=received.session_id,
        # Other languages give it types of their own, as UUID.
        correlation_id=None if received.correlation_id is None else str(received.correlation_id),
        properties=properties,
    )
    # The service counts the deliveries that failed: neither this one, nor the one whose receiver said "dead".
    uncounted = bool(token) or (reason is not None and reason not in _OF_THE_SERVICE)
    attempts = (received.delivery_count or 0) + (1 if uncounted else 0)
    enqueued = received.enqueued_time_utc
    return Delivery(
        queue=queue,
        number=received.sequence_number or 0,
        message=message,
        attempts=attempts,
        enqueued_at=enqueued.timestamp() if enqueued else 0.0,
        token=token,
        locked_until=locked_until,
        dead=DeadLetter(reason, received.dead_letter_error_description or "") if reason is not None else None,
    )


def content(received: "ServiceBusReceivedMessage") -> bytes:
    """The bytes of its body; what other languages send as a value is told as text."""
    body: Any = received.body
    if isinstance(body, bytes | str):
        return body if isinstance(body, bytes) else body.encode()
    try:
        return b"".join(body)
    except TypeError:
        return str(received).encode()


def _body(data: bytes) -> Json:
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _properties(given: Mapping[Any, Any]) -> dict[str, str | float | bool]:
    plain = {_text(name): _text(value) for name, value in given.items()}
    return {str(name): value for name, value in plain.items() if isinstance(value, str | int | float)}


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
