"""A client's connection: bytes to frames, frames to channels, and back once the journal has it."""

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from tests.emulators.servicebus.amqp.frames import (
    AMQP,
    AMQP_HEADER,
    EMPTY_FRAME,
    MAX_FRAME,
    SASL,
    SASL_HEADER,
    Frame,
    Reader,
    frame,
)
from tests.emulators.servicebus.amqp.performatives import (
    Begin,
    Close,
    End,
    Open,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
)
from tests.emulators.servicebus.amqp.types import AmqpError, Array, Symbol
from tests.emulators.servicebus.channel import Channel
from tests.emulators.servicebus.errors import ServiceBusError, described
from tests.emulators.servicebus.faults import DroppedError
from tests.emulators.servicebus.tokens import Tokens

if TYPE_CHECKING:
    from tests.emulators.servicebus.server import Server

MAX_CHANNEL = 255
MIN_FRAME = 512
IDLE_MILLISECONDS = 240_000
_MECHANISMS = Array([Symbol("ANONYMOUS"), Symbol("MSSBCBS")])

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    def __init__(self, server: "Server") -> None:
        self.server = server
        self.tokens = Tokens(server.keys)
        self.max_frame = MIN_FRAME
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._reader = Reader()
        self._channels: dict[int, Channel] = {}
        self._out: list[bytes] = []
        self._opened = self._closing = False
        self._beat: asyncio.TimerHandle | None = None

    # ---- asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.server.stats.count("connect")
        self.server.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True
        self.server.connections.discard(self)
        if self._beat is not None:
            self._beat.cancel()
        self._end_channels()
        self.server.work_to_do()

    def data_received(self, data: bytes) -> None:
        if self.closed or self._closing:
            return
        try:
            for item in self._reader.feed(data):
                self._receive(item)
                if self.closed or self._closing:
                    return
        except DroppedError:
            self.abort()
        except AmqpError as error:
            self._fail(error.condition, error.description)
        except Exception:
            logger.exception("a frame was not understood")
            self._fail("amqp:internal-error", "The broker has a defect.")

    # ---- out

    def send(self, channel: int, performative: NamedTuple, payload: bytes = b"", kind: int = AMQP) -> None:
        self._out.append(frame(channel, performative, payload, kind))
        self.server.work_to_do(self)

    def flush(self) -> None:
        """Everything so far is in the journal: out with the answers."""
        if self._out and not self.closed:
            self._transport.write(b"".join(self._out))
        self._out.clear()
        if self._closing:
            self._transport.close()

    def abort(self) -> None:
        """End it without a word; unsent answers are lost."""
        self.closed = True
        self._out.clear()
        self._transport.abort()

    def detach_links(self, entity: str | None, error: ServiceBusError) -> None:
        for channel in self._channels.values():
            channel.detach_all(entity, error)

    def _fail(self, condition: str, description: str) -> None:
        if not self._opened:
            self.send(0, Open("broker"))
        self.send(0, Close(described(condition, description)))
        self._closing = True
        self._end_channels()

    def _end_channels(self) -> None:
        for channel in self._channels.values():
            channel.end()
        self._channels.clear()

    def _keep_alive(self, seconds: float) -> None:
        if not self.closed:
            self._transport.write(EMPTY_FRAME)
            self._beat = asyncio.get_running_loop().call_later(seconds, self._keep_alive, seconds)

    # ---- in

    def _receive(self, item: bytes | Frame) -> None:
        if isinstance(item, bytes):
            self._header(item)
        elif item.kind == SASL:
            if not isinstance(item.performative, SaslInit):
                raise AmqpError("an unexpected SASL frame", "amqp:not-allowed")
            self.send(0, SaslOutcome(0), kind=SASL)
        elif item.kind == AMQP:
            self._performative(item)
        else:
            raise AmqpError(f"no frame is of type {item.kind}", "amqp:connection:framing-error")

    def _header(self, header: bytes) -> None:
        if header not in (AMQP_HEADER, SASL_HEADER):
            self._out.append(AMQP_HEADER)
            self._closing = True
            self.server.work_to_do(self)
            return
        self._out.append(header)
        if header == SASL_HEADER:
            self.send(0, SaslMechanisms(_MECHANISMS), kind=SASL)
        self.server.work_to_do(self)

    def _performative(self, item: Frame) -> None:
        channel = self._channels.get(item.channel)
        match item.performative:
            case Open() as opening if not self._opened:
                self._open(opening)
            case _ if not self._opened:
                raise AmqpError("a connection begins with open", "amqp:illegal-state")
            case Close():
                self.send(0, Close())
                self._closing = True
                self._end_channels()
            case Begin() as begin if channel is None and item.channel <= MAX_CHANNEL:
                channel = self._channels[item.channel] = Channel(self, item.channel, begin)
                channel.begun()
            case End() if channel is not None:
                del self._channels[item.channel]
                channel.end()
                self.send(item.channel, End())
            case performative if channel is not None:
                channel.receive(performative, item.payload)
            case performative:
                name = type(performative).__name__
                raise AmqpError(f"{name} on channel {item.channel} is out of place", "amqp:not-allowed")

    def _open(self, opening: Open) -> None:
        self._opened = True
        self.max_frame = min(max(opening.max_frame_size or MAX_FRAME, MIN_FRAME), MAX_FRAME)
        self.send(0, Open("broker", None, MAX_FRAME, MAX_CHANNEL, IDLE_MILLISECONDS))
        if opening.idle_time_out:
            seconds = max(0.1, opening.idle_time_out / 2000)
            self._beat = asyncio.get_running_loop().call_later(seconds, self._keep_alive, seconds)
