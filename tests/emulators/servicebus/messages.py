"""A message in a queue: the sections its sender wrote, kept as they came, and what the broker knows of it."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from tests.emulators.servicebus.amqp.decode import decode
from tests.emulators.servicebus.amqp.encode import encode
from tests.emulators.servicebus.amqp.types import AmqpError, Described, Int, Symbol, Timestamp, UByte, UInt

if TYPE_CHECKING:
    from tests.emulators.servicebus.locks import Lock

HEADER, DELIVERY, ANNOTATIONS, PROPERTIES, APPLICATION, DATA, SEQUENCE, VALUE, FOOTER = range(0x70, 0x79)
ACTIVE, DEFERRED, SCHEDULED = 0, 1, 2
BATCH_FORMAT = 0x80013700
NEVER = 253_402_300_799.0

_SHAPES = {
    HEADER: list, DELIVERY: dict, ANNOTATIONS: dict, PROPERTIES: list, APPLICATION: dict, DATA: bytes,
    SEQUENCE: list, FOOTER: dict,
}  # fmt: skip
# Annotations that are the broker's to write.
_ENQUEUED, _NUMBER, _FIRST_NUMBER, _STATE, _LOCKED_UNTIL, _SOURCE = map(
    Symbol,
    (
        "x-opt-enqueued-time",
        "x-opt-sequence-number",
        "x-opt-enqueue-sequence-number",
        "x-opt-message-state",
        "x-opt-locked-until",
        "x-opt-deadletter-source",
    ),
)
_OURS = frozenset((_ENQUEUED, _NUMBER, _FIRST_NUMBER, _STATE, _LOCKED_UNTIL, _SOURCE))
_DUE = Symbol("x-opt-scheduled-enqueue-time")


def sections(payload: bytes) -> list[tuple[int, bytes, object]]:
    """Code, bytes and value of each section. Raises AmqpError."""
    found, at = [], 0
    while at < len(payload):
        section, end = decode(payload, at)
        if not isinstance(section, Described) or section.descriptor not in range(HEADER, FOOTER + 1):
            raise AmqpError("a message holds something that is no section")
        shape = _SHAPES.get(section.descriptor)
        if shape is not None and type(section.value) is not shape:
            raise AmqpError(f"section 0x{section.descriptor:02x} is a {type(section.value).__name__}")
        found.append((int(section.descriptor), payload[at:end], section.value))
        at = end
    return found


def section(code: int, value: object) -> bytes:
    return b"\x00\x53" + bytes((code,)) + encode(value)


def unbatched(payload: bytes) -> list[bytes]:
    """The messages in a batch: one per data section."""
    return [value for code, _, value in sections(payload) if code == DATA]


@dataclass(slots=True, eq=False)
class Message:
    size: int = 0
    durable: bool = False
    priority: int | None = None
    ttl: float | None = None
    annotations: dict = field(default_factory=dict)
    properties: list = field(default_factory=list)
    application: dict = field(default_factory=dict)
    raw_properties: bytes = b""
    body: bytes = b""
    number: int = 0
    state: int = ACTIVE
    deliveries: int = 0
    enqueued: float = 0.0
    due: float | None = None
    expires: float | None = None
    lock: "Lock | None" = None

    @property
    def message_id(self) -> str | UUID | None:
        return self.property(0)

    @property
    def session_id(self) -> str | None:
        return self.property(10)

    def property(self, place: int) -> object:
        return self.properties[place] if place < len(self.properties) else None

    @staticmethod
    def decode(payload: bytes, *, stored: bool = False) -> "Message":
        """From a sender, or (`stored`) as `stored()` wrote it. Raises AmqpError."""
        message, body = Message(size=len(payload)), []
        for code, raw, value in sections(payload):
            if code == HEADER:
                message._read_header(value)
            elif code == ANNOTATIONS:
                message.annotations = value if stored else {k: v for k, v in value.items() if k not in _OURS}
            elif code == PROPERTIES:
                message.properties, message.raw_properties = value, raw
            elif code == APPLICATION:
                message.application = value
            elif code != DELIVERY:
                body.append(raw)
        message.body = b"".join(body)
        due = message.annotations.get(_DUE)
        if due is not None and type(due) is not Timestamp:
            raise AmqpError(f"{_DUE} is a {type(due).__name__}")
        message.due = due / 1000 if due is not None else None
        if not isinstance(message.session_id, str | None) or isinstance(message.message_id, list | dict):
            raise AmqpError("an id has a wrong type")
        return message

    def _read_header(self, fields: list) -> None:
        durable, priority, ttl = (fields + [None] * 3)[:3]
        if type(priority) not in (UByte, type(None)) or type(ttl) not in (UInt, type(None)):
            raise AmqpError("the header of a message has a field of a wrong type")
        self.durable, self.priority = durable is True, priority
        self.ttl = ttl / 1000 if ttl is not None else None

    def encode(self) -> bytes:
        """As a receiver gets it."""
        ours = {
            _ENQUEUED: _time(self.enqueued),
            _NUMBER: self.number,
            _FIRST_NUMBER: self.annotations.get(_FIRST_NUMBER, self.number),
            _STATE: Int(self.state),
        }
        if self.lock is not None:
            ours[_LOCKED_UNTIL] = _time(self.lock.until)
        return self._encode(self.annotations | ours)

    def stored(self) -> bytes:
        return self._encode(self.annotations)

    def _encode(self, annotations: dict) -> bytes:
        ttl = UInt(min(int(self.ttl * 1000), 2**32 - 1)) if self.ttl is not None else None
        header = section(HEADER, [self.durable, self.priority, ttl, None, UInt(self.deliveries)])
        application = section(APPLICATION, self.application) if self.application else b""
        return header + section(ANNOTATIONS, annotations) + self.raw_properties + application + self.body

    def moved(self, *, source: str = "") -> "Message":
        """For another entity: unlocked, active, undelivered. `source` is where it died, if it did."""
        other = copy.copy(self)
        other.annotations = self.annotations | {
            _FIRST_NUMBER: self.annotations.get(_FIRST_NUMBER, self.number)
        }
        other.lock, other.state, other.due, other.expires = None, ACTIVE, None, None
        if source:
            other.annotations[_SOURCE] = source
            other.ttl = None
        else:
            other.deliveries = 0
        return other

    def amend(self, properties: dict | None) -> None:
        """Set application properties, as who settles a message may."""
        if properties:
            self.application = self.application | properties


def _time(seconds: float) -> Timestamp:
    return Timestamp(int(seconds * 1000))


def answer(correlation_id: object, application: dict, body: object) -> bytes:
    """A message from the broker itself."""
    return (
        section(PROPERTIES, [None] * 5 + [correlation_id])
        + section(APPLICATION, application)
        + section(VALUE, body)
    )


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks $management or $cbs."""

    message_id: object
    application: dict
    body: object

    @staticmethod
    def decode(payload: bytes) -> "Request":
        parts = {code: value for code, _, value in sections(payload)}
        properties = parts.get(PROPERTIES) or []
        return Request(properties[0] if properties else None, parts.get(APPLICATION) or {}, parts.get(VALUE))
