"""Values to bytes, in the shortest encoding of their type."""

import struct
from collections.abc import Callable
from uuid import UUID

from tests.emulators.servicebus.amqp.types import (
    Array,
    Byte,
    Described,
    Float,
    Int,
    Opaque,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

_U32 = struct.Struct(">I")
_DOUBLE, _FLOAT = struct.Struct(">d"), struct.Struct(">f")


def _number(
    form: str, wide: int, short: int | None = None, zero: int | None = None
) -> Callable[[int], bytes]:
    """An encoder with its wide code and those for one byte and for nothing, where the type has them."""
    pack = struct.Struct(">B" + form).pack
    small = range(-128, 128) if form.islower() else range(256)
    narrow = struct.Struct(">Bb" if form.islower() else ">BB").pack

    def encoded(value: int) -> bytes:
        if value == 0 and zero is not None:
            return bytes((zero,))
        if short is not None and value in small:
            return narrow(short, value)
        return pack(wide, value)

    return encoded


def _variable(short: int, data: bytes) -> bytes:
    if len(data) < 256:
        return bytes((short, len(data))) + data
    return bytes((short + 0x10,)) + _U32.pack(len(data)) + data


def _compound(short: int, count: int, body: bytes) -> bytes:
    if len(body) < 255 and count < 256:
        return bytes((short, len(body) + 1, count)) + body
    return bytes((short + 0x10,)) + _U32.pack(len(body) + 4) + _U32.pack(count) + body


def _list(values: list) -> bytes:
    return _compound(0xC0, len(values), b"".join(map(encode, values))) if values else b"\x45"


def _map(values: dict) -> bytes:
    return _compound(0xC1, 2 * len(values), b"".join(encode(k) + encode(v) for k, v in values.items()))


# How the elements of an array are written: all alike, so that one code says it for all.
_ELEMENTS: dict[type, tuple[int, Callable[..., bytes]]] = {
    type(None): (0x40, lambda _value: b""),
    bool: (0x56, lambda value: b"\x01" if value else b"\x00"),
    UByte: (0x50, struct.Struct(">B").pack),
    Byte: (0x51, struct.Struct(">b").pack),
    UShort: (0x60, struct.Struct(">H").pack),
    Short: (0x61, struct.Struct(">h").pack),
    UInt: (0x70, _U32.pack),
    Int: (0x71, struct.Struct(">i").pack),
    ULong: (0x80, struct.Struct(">Q").pack),
    int: (0x81, struct.Struct(">q").pack),
    Timestamp: (0x83, struct.Struct(">q").pack),
    Float: (0x72, _FLOAT.pack),
    float: (0x82, _DOUBLE.pack),
    UUID: (0x98, lambda value: value.bytes),
    bytes: (0xB0, lambda value: _U32.pack(len(value)) + value),
    str: (0xB1, lambda value: _U32.pack(len(value.encode())) + value.encode()),
    Symbol: (0xB3, lambda value: _U32.pack(len(value)) + value.encode("ascii")),
    list: (0xD0, lambda value: _wide(value, len(value))),
    dict: (0xD1, lambda value: _wide([part for pair in value.items() for part in pair], 2 * len(value))),
    Array: (0xF0, lambda value: _array_body(value)),  # noqa: PLW0108 - defined below
}


def _wide(values: list, count: int) -> bytes:
    body = b"".join(map(encode, values))
    return _U32.pack(len(body) + 4) + _U32.pack(count) + body


def _array_body(values: Array) -> bytes:
    head, write = _constructor(values[0] if values else None)
    body = head + b"".join(map(write, values))
    return _U32.pack(len(body) + 4) + _U32.pack(len(values)) + body


def _constructor(sample: object) -> tuple[bytes, Callable[..., bytes]]:
    if isinstance(sample, Described):
        head, write = _constructor(sample.value)
        return b"\x00" + encode(sample.descriptor) + head, lambda value: write(value.value)
    if isinstance(sample, Opaque):
        return bytes((sample.code,)), lambda value: value.data
    code, write = _ELEMENTS[type(sample)]
    return bytes((code,)), write


_ENCODERS: dict[type, Callable[..., bytes]] = {
    type(None): lambda _value: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    UByte: _number("B", 0x50),
    UShort: _number("H", 0x60),
    UInt: _number("I", 0x70, 0x52, 0x43),
    ULong: _number("Q", 0x80, 0x53, 0x44),
    Byte: _number("b", 0x51),
    Short: _number("h", 0x61),
    Int: _number("i", 0x71, 0x54),
    int: _number("q", 0x81, 0x55),
    Timestamp: _number("q", 0x83),
    Float: lambda value: b"\x72" + _FLOAT.pack(value),
    float: lambda value: b"\x82" + _DOUBLE.pack(value),
    UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _variable(0xA0, value),
    str: lambda value: _variable(0xA1, value.encode()),
    Symbol: lambda value: _variable(0xA3, value.encode("ascii")),
    list: _list,
    dict: _map,
    Array: lambda value: b"\xf0" + _array_body(value),
    Opaque: lambda value: bytes((value.code,)) + value.data,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
}


def encode(value: object) -> bytes:
    """Raises KeyError for a type that AMQP does not have, struct.error for a number beyond its type."""
    return _ENCODERS[type(value)](value)
