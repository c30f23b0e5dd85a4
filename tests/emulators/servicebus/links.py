"""Links as AMQP has them: one way, with credit. What they carry is the business of `nodes`."""

import struct
from typing import TYPE_CHECKING
from uuid import UUID

from tests.emulators.servicebus.amqp.frames import MAX_FRAME
from tests.emulators.servicebus.amqp.performatives import Attach, Flow, Transfer
from tests.emulators.servicebus.amqp.types import AmqpError, Described

if TYPE_CHECKING:
    from tests.emulators.servicebus.channel import Channel

CREDIT = 1000
SETTLED = 1


def address(terminus: Described | None) -> str:
    """Raises AmqpError."""
    if terminus is None:
        return ""
    if type(terminus.value) is not list:
        raise AmqpError("a terminus is no list")
    found = terminus.value[0] if terminus.value else None
    if not isinstance(found, str | None):
        raise AmqpError("an address is no string")
    return found or ""


class Inlet:
    """From a client to the broker."""

    def __init__(self, channel: "Channel", attach: Attach, limit: int) -> None:
        self.channel, self.attach, self.limit = channel, attach, limit
        self.credit = 0
        self._count = attach.initial_delivery_count or 0
        self._first: Transfer | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def grant(self) -> None:
        if self.credit < CREDIT // 2:
            self.credit = CREDIT
            self.flow()

    def flow(self) -> None:
        self.channel.flow(
            handle=self.attach.handle, delivery_count=self._count & 0xFFFFFFFF, link_credit=self.credit
        )

    def take(self, transfer: Transfer, part: bytes) -> tuple[Transfer, bytes, int] | None:
        """The first frame of a delivery, its bytes and how many there were, once it is whole.

        Of one that is too long, the bytes are dropped as they come.
        """
        first = self._first = self._first or transfer
        self._size += len(part)
        self._parts.append(part)
        if self._size > self.limit:
            self._parts.clear()
        if transfer.more and not transfer.aborted:
            return None
        payload, size = b"".join(self._parts), self._size
        self._first, self._parts, self._size = None, [], 0
        if transfer.aborted:
            return None
        self._count += 1
        self.credit -= 1
        self.grant()
        return first, payload, size


class Outlet:
    """From the broker to a client."""

    def __init__(self, channel: "Channel", attach: Attach, limit: int) -> None:
        self.channel, self.attach = channel, attach
        self.settled = attach.snd_settle_mode == SETTLED
        self._credit, self._count = 0, 0
        self._frames = limit // (channel.connection.max_frame // 2) + 1

    @property
    def credit(self) -> int:
        """How many messages of any size the client can take now."""
        if self.channel.connection.closed:
            return 0
        return min(self._credit, self.channel.window // self._frames)

    def refill(self, flow: Flow) -> None:
        ahead = (flow.delivery_count or 0) - self._count
        self._credit = max(0, ahead + (flow.link_credit or 0))

    def drain(self) -> None:
        self._count += self._credit
        self._credit = 0
        self.flow(drain=True)

    def flow(self, *, drain: bool = False) -> None:
        count = self._count & 0xFFFFFFFF
        self.channel.flow(
            handle=self.attach.handle,
            delivery_count=count,
            link_credit=self._credit,
            available=0,
            drain=drain,
        )

    def transfer(self, payload: bytes, token: UUID | None) -> int:
        """Send it, in as many frames as it takes; give its number on the channel."""
        channel = self.channel
        self._count += 1
        self._credit -= 1
        number = channel.next_delivery()
        room = min(channel.connection.max_frame, MAX_FRAME) - 128
        tag = token.bytes_le if token is not None else struct.pack(">I", self._count & 0xFFFFFFFF)
        handle = self.attach.handle
        for at in range(0, len(payload), room):
            more = at + room < len(payload)
            if at == 0:
                frame = Transfer(handle, number, tag, 0, self.settled, more)
            else:
                frame = Transfer(handle, more=more)
            channel.send_transfer(frame, payload[at : at + room])
        return number
