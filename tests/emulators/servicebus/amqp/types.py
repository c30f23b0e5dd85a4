"""AMQP 1.0 values as Python values that remember their type: what was decoded is encoded as it was.

Plain Python stands for the commonest types: None null, bool boolean, int long, float double, str string,
bytes binary, UUID uuid, list list, dict map. The others are the classes here.
"""

from dataclasses import dataclass


class AmqpError(Exception):
    """Bytes that are no AMQP, or a frame out of place: the connection is closed with it."""

    def __init__(self, description: str, condition: str = "amqp:decode-error") -> None:
        super().__init__(description)
        self.condition, self.description = condition, description


class Symbol(str):
    __slots__ = ()


class UByte(int):
    __slots__ = ()


class UShort(int):
    __slots__ = ()


class UInt(int):
    __slots__ = ()


class ULong(int):
    __slots__ = ()


class Byte(int):
    __slots__ = ()


class Short(int):
    __slots__ = ()


class Int(int):
    __slots__ = ()


class Timestamp(int):
    """Milliseconds since the epoch."""

    __slots__ = ()


class Float(float):
    """32 bits."""

    __slots__ = ()


class Array(list):
    """Values of one type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Opaque:
    """A type nobody computes with here (char and the decimals): its code, and its bytes."""

    code: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Described:
    descriptor: object
    value: object
