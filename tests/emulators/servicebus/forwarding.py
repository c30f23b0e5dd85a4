"""Messages that go on to another entity: from a topic, by ForwardTo, or from dead letters."""

from typing import TYPE_CHECKING

from tests.emulators.servicebus.errors import ServiceBusError
from tests.emulators.servicebus.limits import check
from tests.emulators.servicebus.messages import Message

if TYPE_CHECKING:
    from tests.emulators.servicebus.queue import Queue

MAX_HOPS = 4


def forward(source: "Queue", message: Message, target: "Queue", hops: int) -> None:
    """What the target does not take dies in the source, or where that is a topic, in the target."""
    copy = message.moved()
    try:
        _check(copy, target, hops)
    except ServiceBusError as error:
        grave = source if source.dead_letters is not None else target
        grave.last += 1
        grave.broker.journal.numbered(grave)
        copy.number = grave.last
        if grave.dead_letters is not None:
            grave.dead_letters.inter(_dead(grave, copy, error))
    else:
        target.accept(copy, hops)


def _check(message: Message, target: "Queue", hops: int) -> None:
    if hops > MAX_HOPS:
        raise ServiceBusError("MaxTransferHopCountExceeded", "The message was forwarded too often.")
    target.decide_sessions(message.session_id is not None)
    check(target, message)


def _dead(grave: "Queue", message: Message, error: ServiceBusError) -> Message:
    dead = message.moved(source=grave.name)
    dead.amend({"DeadLetterReason": error.condition, "DeadLetterErrorDescription": error.description})
    return dead
