"""What frames say. A field's annotation is its type on the wire; without a default it is mandatory."""

from typing import Any, NamedTuple

from tests.emulators.servicebus.amqp.encode import encode
from tests.emulators.servicebus.amqp.types import (
    AmqpError,
    Described,
    Symbol,
    UByte,
    UInt,
    ULong,
    UShort,
)


class Open(NamedTuple):
    container_id: str
    hostname: str = None
    max_frame_size: UInt = None
    channel_max: UShort = None
    idle_time_out: UInt = None
    outgoing_locales: Any = None
    incoming_locales: Any = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict = None


class Begin(NamedTuple):
    remote_channel: UShort
    next_outgoing_id: UInt
    incoming_window: UInt
    outgoing_window: UInt
    handle_max: UInt = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict = None


class Attach(NamedTuple):
    name: str
    handle: UInt
    role: bool  # True: the sender of this frame receives
    snd_settle_mode: UByte = None
    rcv_settle_mode: UByte = None
    source: Described = None
    target: Described = None
    unsettled: dict = None
    incomplete_unsettled: bool = None
    initial_delivery_count: UInt = None
    max_message_size: ULong = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict = None


class Flow(NamedTuple):
    next_incoming_id: UInt
    incoming_window: UInt
    next_outgoing_id: UInt
    outgoing_window: UInt
    handle: UInt = None
    delivery_count: UInt = None
    link_credit: UInt = None
    available: UInt = None
    drain: bool = None
    echo: bool = None
    properties: dict = None


class Transfer(NamedTuple):
    handle: UInt
    delivery_id: UInt = None
    delivery_tag: bytes = None
    message_format: UInt = None
    settled: bool = None
    more: bool = None
    rcv_settle_mode: UByte = None
    state: Described = None
    resume: bool = None
    aborted: bool = None
    batchable: bool = None


class Disposition(NamedTuple):
    role: bool
    first: UInt
    last: UInt = None
    settled: bool = None
    state: Described = None
    batchable: bool = None


class Detach(NamedTuple):
    handle: UInt
    closed: bool = None
    error: Described = None


class End(NamedTuple):
    error: Described = None


class Close(NamedTuple):
    error: Described = None


class SaslMechanisms(NamedTuple):
    mechanisms: Any


class SaslInit(NamedTuple):
    mechanism: Symbol
    initial_response: bytes = None
    hostname: str = None


class SaslOutcome(NamedTuple):
    code: UByte
    additional_data: bytes = None


CODES: dict[type, int] = {
    Open: 0x10, Begin: 0x11, Attach: 0x12, Flow: 0x13, Transfer: 0x14, Disposition: 0x15, Detach: 0x16,
    End: 0x17, Close: 0x18, SaslMechanisms: 0x40, SaslInit: 0x41, SaslOutcome: 0x44,
}  # fmt: skip
_BY_CODE = {code: kind for kind, code in CODES.items()}
_HEADS = {kind: b"\x00\x53" + bytes((code,)) for kind, code in CODES.items()}
_FIELDS = {kind: tuple(kind.__annotations__.values()) for kind in CODES}
_MANDATORY = {kind: len(kind._fields) - len(kind._field_defaults) for kind in CODES}
# The answer to a begin names its channel, the first begin does not; likewise a flow before any begin.
_MAY_BE_NULL = {(Begin, 0), (Flow, 0)}
_CASTS = frozenset({UByte, UShort, UInt, ULong, Symbol})


def write(performative: NamedTuple) -> bytes:
    kind = type(performative)
    values = [
        form(value) if form in _CASTS and value is not None else value
        for value, form in zip(performative, _FIELDS[kind], strict=True)
    ]
    while values and values[-1] is None:
        values.pop()
    return _HEADS[kind] + encode(values)


def read(described: object) -> Any:
    """Raises AmqpError for what is no performative, or has a field of a wrong type."""
    if not isinstance(described, Described) or type(described.descriptor) is not ULong:
        raise AmqpError("a frame holds no performative")
    kind, values = _BY_CODE.get(described.descriptor), described.value
    if kind is None or type(values) is not list or len(values) > len(_FIELDS[kind]):
        raise AmqpError(f"no performative is 0x{described.descriptor:02x} with such fields")
    values = values + [None] * (_MANDATORY[kind] - len(values))
    for place, value in enumerate(values):
        form = _FIELDS[kind][place]
        if value is None:
            if place < _MANDATORY[kind] and (kind, place) not in _MAY_BE_NULL:
                raise AmqpError(f"{kind.__name__} has no {kind._fields[place]}")
        elif form is not Any and type(value) is not form:
            raise AmqpError(f"{kind.__name__}.{kind._fields[place]} is a {type(value).__name__}")
    return kind(*values)
