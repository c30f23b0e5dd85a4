"""What Azure refuses to take."""

from typing import TYPE_CHECKING

from tests.emulators.servicebus import errors
from tests.emulators.servicebus.amqp.encode import encode
from tests.emulators.servicebus.messages import Message

if TYPE_CHECKING:
    from tests.emulators.servicebus.queue import Queue

MAX_ID = 128
MAX_PROPERTIES = 64 * 1024


def check(queue: "Queue", message: Message) -> None:
    """Raises ServiceBusError."""
    limit = queue.properties.max_message_bytes
    if message.size > limit:
        raise errors.too_large(message.size, limit)
    if message.size > MAX_PROPERTIES and len(encode(message.application)) > MAX_PROPERTIES:
        raise errors.too_large(message.size, MAX_PROPERTIES)
    for what, value in (("MessageId", message.message_id), ("SessionId", message.session_id)):
        if isinstance(value, str) and len(value) > MAX_ID:
            raise errors.invalid(f"A {what} has at most {MAX_ID} characters.")
    if queue.sessions_required and not message.session_id:
        raise errors.not_allowed(
            f"The entity '{queue.name}' requires sessions; the message has no SessionId."
        )


def check_room(queue: "Queue", messages: list[Message]) -> None:
    """Raises ServiceBusError."""
    if queue.size + sum(message.size for message in messages) > queue.properties.max_megabytes << 20:
        raise errors.full(queue.name)


def check_receiver(queue: "Queue", *, with_session: bool) -> None:
    """Raises ServiceBusError."""
    if queue.is_topic or queue.properties.forward_to:
        raise errors.not_allowed(f"'{queue.name}' keeps no messages to receive.")
    queue.decide_sessions(with_session)
    if with_session and not queue.sessions_required:
        raise errors.not_allowed("An entity that does not require sessions has no session receivers.")
    if queue.sessions_required and not with_session:
        raise errors.not_allowed(
            "It is not possible for an entity that requires sessions to create a non-sessionful receiver."
        )
