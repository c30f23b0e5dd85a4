"""AMQP values and frames, and bytes that are neither."""

import asyncio
import contextlib
import logging
import uuid
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulators.servicebus import serve
from tests.emulators.servicebus.amqp import performatives as amqp
from tests.emulators.servicebus.amqp.decode import decode
from tests.emulators.servicebus.amqp.encode import encode
from tests.emulators.servicebus.amqp.frames import AMQP_HEADER, SASL_HEADER, Reader, frame
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
from tests.emulators.servicebus.messages import Message, answer
from tests.emulators.servicebus.tokens import Tokens


def whole(kind, bits, *, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high).map(kind)


NAMES = st.text("abc-é", min_size=1, max_size=300)
SYMBOLS = st.text("abc:-", max_size=300).map(Symbol)
KINDS = [
    st.booleans(),
    whole(UByte, 8, signed=False),
    whole(UShort, 16, signed=False),
    whole(UInt, 32, signed=False),
    whole(ULong, 64, signed=False),
    whole(Byte, 8, signed=True),
    whole(Short, 16, signed=True),
    whole(Int, 32, signed=True),
    whole(int, 64, signed=True),
    whole(Timestamp, 64, signed=True),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False, width=32).map(Float),
    st.binary(max_size=300),
    NAMES,
    SYMBOLS,
    st.binary(min_size=16, max_size=16).map(lambda data: uuid.UUID(bytes=data)),
    st.binary(min_size=16, max_size=16).map(lambda data: Opaque(0x94, data)),
]
ARRAYS = st.one_of([st.lists(kind, min_size=1, max_size=5).map(Array) for kind in KINDS])
VALUES = st.recursive(
    st.one_of(st.none(), ARRAYS, *KINDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(NAMES, inner, max_size=4),
        st.builds(Described, st.integers(0, 2**64 - 1).map(ULong), inner),
        st.lists(st.lists(inner, max_size=3), min_size=1, max_size=3).map(Array),
    ),
    max_leaves=12,
)


def typed(value):
    """With the types, which comparing alone ignores."""
    match value:
        case Described():
            return ("described", typed(value.descriptor), typed(value.value))
        case dict():
            return (dict, [(typed(key), typed(entry)) for key, entry in value.items()])
        case list():
            return (type(value), [typed(entry) for entry in value])
    return (type(value), value)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_every_value_comes_back_with_its_type(value):
    data = encode(value)
    assert typed(decode(data)[0]) == typed(value)
    assert decode(data)[1] == len(data)


@given(st.binary(max_size=200) | VALUES.map(encode), st.data())
@settings(max_examples=200, deadline=None)
def test_broken_bytes_are_an_error_and_nothing_else(data, draw):
    if data and draw.draw(st.booleans()):
        place = draw.draw(st.integers(0, len(data) - 1))
        data = data[:place] + draw.draw(st.binary(max_size=3)) + data[place + 1 :]
    for read in (decode, Message.decode):
        # Any other error is a defect.
        with contextlib.suppress(AmqpError):
            read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xa0\x05abc",
        b"\xc0\x02\x05\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        b"\xc1\x02\x01\x40",
        b"\x00" * 100,
        b"\xc1\x05\x02\xc0\x01\x00\x40",
        b"\x56\x02",
        b"\x99",
    ],
    ids=[
        "nothing",
        "short",
        "miscounted",
        "huge array",
        "odd map",
        "deep",
        "list as key",
        "boolean",
        "unknown",
    ],
)
def test_what_is_no_value_is_refused(data):
    with pytest.raises(AmqpError):
        decode(data)


def test_frames_are_read_from_any_pieces():
    transfer = amqp.Transfer(UInt(1), UInt(2), b"tag", UInt(0), False, True)
    stream = AMQP_HEADER + frame(3, transfer, b"payload") + frame(0, amqp.Close())
    for size in (1, 7, len(stream)):
        reader = Reader()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        header, first, second = [item for piece in pieces for item in reader.feed(piece)]
        assert header == AMQP_HEADER
        assert (first.channel, first.performative, first.payload) == (3, transfer, b"payload")
        assert second.performative == amqp.Close()


@pytest.mark.parametrize(
    "fields",
    [[], [None], ["one"], [UInt(1)] * 12, [UInt(1), None, "text"]],
    ids=["none", "null", "wrong type", "too many", "wrong type later"],
)
def test_a_performative_with_wrong_fields_is_refused(fields):
    with pytest.raises(AmqpError):
        amqp.read(Described(ULong(0x14), fields))


SOURCE = Described(ULong(0x28), ["q"])
TERMINI = st.sampled_from(
    [
        None,
        *(Described(ULong(0x28), [name]) for name in ("q", "$cbs", "q/$management")),
        Described(ULong(1), UInt(4)),
    ]
)
OPERATIONS = ["renew-lock", "renew-session-lock", "set-session-state", "schedule-message", "peek-message"]
OPERATIONS += ["cancel-scheduled-message", "receive-by-sequence-number", "update-disposition", "put-token"]
FIELDS = [
    "lock-tokens",
    "session-id",
    "sequence-numbers",
    "messages",
    "message-count",
    "from-sequence-number",
]
REQUESTS = st.tuples(
    st.sampled_from(OPERATIONS), st.dictionaries(st.sampled_from(FIELDS), VALUES) | VALUES
).map(lambda asked: answer(uuid.UUID(int=1), {"operation": "com.microsoft:" + asked[0]}, asked[1]))


def made(kind, *places, **named):
    parts = st.fixed_dictionaries(dict(zip(kind._fields, places, strict=False)) | named)
    return parts.map(lambda fields: kind(**fields))


PERFORMATIVES = st.one_of(
    made(amqp.Open, NAMES),
    made(amqp.Begin, st.none(), whole(UInt, 32, signed=False), st.just(UInt(9)), st.just(UInt(9))),
    made(
        amqp.Attach,
        NAMES,
        st.integers(0, 2).map(UInt),
        st.booleans(),
        source=TERMINI,
        target=TERMINI,
    ),
    made(amqp.Flow, st.none(), *[whole(UInt, 32, signed=False)] * 3, handle=st.sampled_from([None, UInt(0)])),
    made(
        amqp.Transfer,
        st.integers(0, 2).map(UInt),
        st.sampled_from([None, UInt(1)]),
        message_format=st.sampled_from([UInt(0), UInt(0x80013700)]),
        more=st.booleans(),
    ),
    made(amqp.Disposition, st.booleans(), *[whole(UInt, 32, signed=False)] * 2, state=st.just(SOURCE)),
    made(amqp.Detach, st.integers(0, 2).map(UInt)),
    made(amqp.End),
)
STREAMS = st.one_of(
    st.binary(max_size=100),
    st.lists(st.tuples(st.integers(0, 1), PERFORMATIVES, st.binary(max_size=30) | REQUESTS), max_size=8).map(
        lambda items: b"".join(frame(*item) for item in items)
    ),
)
OPENED = frame(0, amqp.Open("fuzz")) + frame(1, amqp.Begin(None, 0, 100, 100))


@given(st.sampled_from([b"", SASL_HEADER, AMQP_HEADER + OPENED]), st.lists(STREAMS, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_from_a_stranger_are_a_defect_of_the_server(caplog, head, streams):
    async def talk():
        async with serve() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head + b"".join(streams))
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            assert not server.stopped.is_set()

    # Who may come in is another matter, and would keep most bytes out.
    with caplog.at_level(logging.ERROR), patch.object(Tokens, "authorize"):
        asyncio.run(talk())
    assert not caplog.records
