"""A stream of bytes as protocol headers and frames, and back."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.emulators.servicebus.amqp import performatives
from tests.emulators.servicebus.amqp.decode import decode
from tests.emulators.servicebus.amqp.types import AmqpError

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"
MAX_FRAME = 64 * 1024

AMQP, SASL = 0, 1
_HEAD = struct.Struct(">IBBH")


class Frame(NamedTuple):
    kind: int
    channel: int
    performative: NamedTuple
    payload: bytes


def frame(channel: int, performative: NamedTuple, payload: bytes = b"", kind: int = AMQP) -> bytes:
    body = performatives.write(performative) + payload
    return _HEAD.pack(len(body) + 8, 2, kind, channel) + body


class Reader:
    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes | Frame]:
        """Give the headers (as bytes) and frames that are whole by now. Raises AmqpError."""
        self._data += data
        while len(self._data) >= 8:
            if self._data.startswith(b"AMQP"):
                header = bytes(self._data[:8])
                del self._data[:8]
                yield header
                continue
            size, offset, kind, channel = _HEAD.unpack_from(self._data)
            if not 8 <= offset * 4 <= size <= MAX_FRAME:
                raise AmqpError(f"a frame of {size} bytes", "amqp:connection:framing-error")
            if len(self._data) < size:
                return
            body = bytes(self._data[offset * 4 : size])
            del self._data[:size]
            if body:
                described, end = decode(body)
                yield Frame(kind, channel, performatives.read(described), body[end:])
