"""The terminal states of a delivery, and what they mean in Service Bus."""

from typing import TYPE_CHECKING
from uuid import UUID

from tests.emulators.servicebus import settlement
from tests.emulators.servicebus.amqp.types import AmqpError, Described, ULong
from tests.emulators.servicebus.errors import ServiceBusError, described

if TYPE_CHECKING:
    from tests.emulators.servicebus.nodes import EntityReceiver

ACCEPTED, REJECTED, RELEASED, MODIFIED = ULong(0x24), ULong(0x25), ULong(0x26), ULong(0x27)
_REASON, _DESCRIPTION = "DeadLetterReason", "DeadLetterErrorDescription"


def rejected(error: ServiceBusError) -> Described:
    return Described(REJECTED, [described(error.condition, error.description)])


def settle(receiver: "EntityReceiver", token: UUID, state: Described | None) -> Described:
    """Do it; give the state to answer with. Raises AmqpError, DetachedError, DroppedError."""
    state = state or Described(ACCEPTED, [])
    if type(state.descriptor) is not ULong or type(state.value) is not list:
        raise AmqpError("a delivery state is no state")
    server = receiver.outlet.channel.connection.server
    try:
        server.attempt(
            "settle",
            receiver.queue,
            lambda: _apply(receiver, token, state),
            lambda: settlement.expire(receiver.queue, [token]),
        )
    except ServiceBusError as error:
        return rejected(error)
    return Described(state.descriptor, [])


def _apply(receiver: "EntityReceiver", token: UUID, state: Described) -> None:
    queue, fields = receiver.queue, [*state.value, None, None, None]
    count = receiver.outlet.channel.connection.server.stats.count
    match int(state.descriptor):
        case 0x24:
            count("settle.complete")
            settlement.complete(queue, token)
        case 0x25:
            count("settle.dead-letter")
            info = _info(fields[0])
            reason, why = _text(info.pop(_REASON, None)), _text(info.pop(_DESCRIPTION, None))
            settlement.dead_letter(queue, token, reason, why, info)
        case 0x26:
            count("settle.release")
            settlement.abandon(queue, token, count=False)
        case 0x27 if fields[1] is True:
            count("settle.defer")
            settlement.defer(queue, token, _properties(fields[2]))
        case 0x27:
            count("settle.abandon")
            settlement.abandon(queue, token, _properties(fields[2]), count=fields[0] is True)
        case other:
            raise AmqpError(f"no delivery state is 0x{other:02x}")


def _info(error: object) -> dict:
    """What a rejection carries beside its condition."""
    fields = error.value if isinstance(error, Described) and type(error.value) is list else []
    return _properties(fields[2]) if len(fields) > 2 else {}


def _properties(value: object) -> dict:
    return {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return str(value) if value is not None else None
