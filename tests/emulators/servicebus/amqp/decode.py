"""Bytes to values. Whatever the bytes are, the outcome is a value or an AmqpError."""

import struct
from collections.abc import Callable
from uuid import UUID

from tests.emulators.servicebus.amqp.types import (
    AmqpError,
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

MAX_DEPTH = 32
# An array of nulls costs nothing on the wire, and a list entry each in memory.
MAX_EMPTY_ELEMENTS = 1024

_U32 = struct.Struct(">I")


def _number(code: str, kind: type) -> tuple[int, Callable[[bytes, int], object]]:
    form = struct.Struct(">" + code)
    return form.size, lambda data, at: kind(form.unpack_from(data, at)[0])


def _opaque(code: int, width: int) -> tuple[int, Callable[[bytes, int], object]]:
    return width, lambda data, at: Opaque(code, data[at : at + width])


def _boolean(data: bytes, at: int) -> bool:
    if data[at] > 1:
        raise AmqpError("a boolean is 0 or 1")
    return data[at] == 1


_FIXED: dict[int, tuple[int, Callable[[bytes, int], object]]] = {
    0x40: (0, lambda _data, _at: None),
    0x41: (0, lambda _data, _at: True),
    0x42: (0, lambda _data, _at: False),
    0x43: (0, lambda _data, _at: UInt(0)),
    0x44: (0, lambda _data, _at: ULong(0)),
    0x45: (0, lambda _data, _at: []),
    0x50: _number("B", UByte),
    0x51: _number("b", Byte),
    0x52: _number("B", UInt),
    0x53: _number("B", ULong),
    0x54: _number("b", Int),
    0x55: _number("b", int),
    0x56: (1, _boolean),
    0x60: _number("H", UShort),
    0x61: _number("h", Short),
    0x70: _number("I", UInt),
    0x71: _number("i", Int),
    0x72: _number("f", Float),
    0x73: _opaque(0x73, 4),
    0x74: _opaque(0x74, 4),
    0x80: _number("Q", ULong),
    0x81: _number("q", int),
    0x82: _number("d", float),
    0x83: _number("q", Timestamp),
    0x84: _opaque(0x84, 8),
    0x94: _opaque(0x94, 16),
    0x98: (16, lambda data, at: UUID(bytes=data[at : at + 16])),
}
_VARIABLE: dict[int, Callable[[bytes], object]] = {
    0xA0: bytes,
    0xB0: bytes,
    0xA1: lambda data: str(data, "utf-8"),
    0xB1: lambda data: str(data, "utf-8"),
    0xA3: lambda data: Symbol(str(data, "ascii")),
    0xB3: lambda data: Symbol(str(data, "ascii")),
}
_LISTS, _MAPS, _ARRAYS = (0xC0, 0xD0), (0xC1, 0xD1), (0xE0, 0xF0)


def decode(data: bytes, at: int = 0) -> tuple[object, int]:
    """The value at a position, and the position behind it."""
    try:
        return _value(data, at, 0)
    except (IndexError, struct.error, ValueError, TypeError) as error:
        raise AmqpError(f"at byte {at}: {error}") from error


def _value(data: bytes, at: int, depth: int) -> tuple[object, int]:
    if data[at]:
        return _plain(data, at + 1, data[at], depth)
    return _described(data, at + 1, depth)


def _described(data: bytes, at: int, depth: int) -> tuple[Described, int]:
    if depth > MAX_DEPTH:
        raise AmqpError(f"values are nested more than {MAX_DEPTH} deep")
    descriptor, at = _value(data, at, depth + 1)
    value, at = _value(data, at, depth + 1)
    return Described(descriptor, value), at


def _plain(data: bytes, at: int, code: int, depth: int) -> tuple[object, int]:
    if code in _FIXED:
        width, read = _FIXED[code]
        _inside(data, at + width)
        return read(data, at), at + width
    if code in _VARIABLE:
        at, end = _extent(data, at, wide=code >= 0xB0)
        return _VARIABLE[code](data[at:end]), end
    if code in _LISTS or code in _MAPS or code in _ARRAYS:
        return _compound(data, at, code, depth)
    raise AmqpError(f"0x{code:02x} is no type")


def _inside(data: bytes, end: int) -> None:
    if end > len(data):
        raise AmqpError("a value is longer than what holds it")


def _extent(data: bytes, at: int, *, wide: bool) -> tuple[int, int]:
    size, at = (_U32.unpack_from(data, at)[0], at + 4) if wide else (data[at], at + 1)
    _inside(data, at + size)
    return at, at + size


def _compound(data: bytes, at: int, code: int, depth: int) -> tuple[object, int]:
    if depth > MAX_DEPTH:
        raise AmqpError(f"values are nested more than {MAX_DEPTH} deep")
    wide = bool(code & 0x10)
    at, end = _extent(data, at, wide=wide)
    count, at = (_U32.unpack_from(data, at)[0], at + 4) if wide else (data[at], at + 1)
    if code in _ARRAYS:
        values, at = _elements(data, at, count, depth)
    else:
        values = []
        for _ in range(min(count, end - at + 1)):
            value, at = _value(data, at, depth + 1)
            values.append(value)
    if at != end or len(values) != count:
        raise AmqpError("the size of a compound value is not that of its parts")
    if code in _MAPS:
        if count % 2:
            raise AmqpError("a map has a key without a value")
        return dict(zip(values[::2], values[1::2], strict=True)), end
    return values, end


def _elements(data: bytes, at: int, count: int, depth: int) -> tuple[Array, int]:
    code, at = data[at], at + 1
    descriptor, described = None, code == 0
    if described:
        descriptor, at = _value(data, at, depth + 1)
        code, at = data[at], at + 1
    if code in _FIXED and not _FIXED[code][0] and count > MAX_EMPTY_ELEMENTS:
        raise AmqpError(f"an array of more than {MAX_EMPTY_ELEMENTS} empty values")
    values = Array()
    for _ in range(count):
        value, at = _plain(data, at, code, depth + 1)
        values.append(Described(descriptor, value) if described else value)
    return values, at
