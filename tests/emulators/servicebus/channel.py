"""An AMQP session: windows, the links of a client, what it has not settled yet."""

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tests.emulators.servicebus.amqp.performatives import (
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Transfer,
)
from tests.emulators.servicebus.amqp.types import AmqpError, Described
from tests.emulators.servicebus.attaching import Attaching
from tests.emulators.servicebus.errors import ServiceBusError, described
from tests.emulators.servicebus.faults import DetachedError
from tests.emulators.servicebus.links import address
from tests.emulators.servicebus.nodes import EntityReceiver, Replies, Requests, Sender
from tests.emulators.servicebus.outcomes import ACCEPTED, rejected, settle

if TYPE_CHECKING:
    from tests.emulators.servicebus.connection import Connection

WINDOW = 1 << 16
MAX_HANDLE = 255

type Node = Sender | EntityReceiver | Requests | Replies


class Channel:
    def __init__(self, connection: "Connection", number: int, begin: Begin) -> None:
        self.connection, self.number = connection, number
        self.unsettled: dict[int, tuple[EntityReceiver, UUID]] = {}
        self.window = begin.incoming_window
        self._next_incoming, self._granted = begin.next_outgoing_id, WINDOW
        self._next_outgoing, self._deliveries = 1, 0
        self._nodes: dict[int, Node] = {}
        self._pending: dict[int, Attaching] = {}

    # ---- out

    def send(self, performative: NamedTuple, payload: bytes = b"") -> None:
        self.connection.send(self.number, performative, payload)

    def send_transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._next_outgoing = (self._next_outgoing + 1) & 0xFFFFFFFF
        self.window -= 1
        self.send(transfer, payload)

    def next_delivery(self) -> int:
        self._deliveries = (self._deliveries + 1) & 0xFFFFFFFF
        return self._deliveries

    def begun(self) -> None:
        self.send(Begin(self.number, self._next_outgoing, WINDOW, WINDOW, MAX_HANDLE))

    def flow(self, **link: int | bool) -> None:
        self.send(Flow(self._next_incoming, self._granted, self._next_outgoing, WINDOW, **link))

    def detach(self, handle: int, error: ServiceBusError | None = None) -> None:
        """End a link, if it is there."""
        node, pending = self._nodes.pop(handle, None), self._pending.pop(handle, None)
        if node is None and pending is None:
            return
        if pending is not None:
            pending.give_up()
        self.send(Detach(handle, True, described(error.condition, error.description) if error else None))
        if node is not None:
            node.detached()

    def detach_all(self, entity: str | None, error: ServiceBusError) -> None:
        for handle, node in list(self._nodes.items()):
            if isinstance(node, Sender | EntityReceiver) and entity in (None, node.queue.key):
                self.detach(handle, error)

    def end(self) -> None:
        for pending in self._pending.values():
            pending.give_up()
        for node in self._nodes.values():
            node.detached()
        self._nodes.clear()
        self._pending.clear()
        self.unsettled.clear()

    def replies(self, node: str) -> Replies | None:
        """The link for the answers of a node: the newest."""
        for candidate in reversed(self._nodes.values()):
            if isinstance(candidate, Replies) and address(candidate.outlet.attach.source) == node:
                return candidate
        return None

    # ---- in

    def receive(self, performative: NamedTuple, payload: bytes) -> None:
        """Raises AmqpError, DroppedError."""
        match performative:
            case Transfer():
                self._transfer(performative, payload)
            case Disposition():
                self._disposition(performative)
            case Flow():
                self._flow(performative)
            case Attach():
                self._attach(performative)
            case Detach():
                self.detach(performative.handle)
            case _:
                raise AmqpError(f"{type(performative).__name__} is out of place", "amqp:not-allowed")

    def _attach(self, attach: Attach) -> None:
        if attach.handle > MAX_HANDLE or attach.handle in self._nodes or attach.handle in self._pending:
            raise AmqpError(f"handle {attach.handle} cannot be had", "amqp:session:handle-in-use")
        pending = self._pending[attach.handle] = Attaching(self, attach)
        pending.start()

    def attached(self, handle: int, node: Node, attach: Attach) -> None:
        del self._pending[handle]
        self._nodes[handle] = node
        self.send(attach)
        if isinstance(node, Sender | Requests):
            node.inlet.grant()
        elif isinstance(node, EntityReceiver):
            node.queue.listen(node)

    def refused(self, handle: int, attach: Attach, error: ServiceBusError) -> None:
        del self._pending[handle]
        self.send(attach)
        self.send(Detach(handle, True, described(error.condition, error.description)))

    def _flow(self, flow: Flow) -> None:
        ahead = 1 if flow.next_incoming_id is None else flow.next_incoming_id
        self.window = (ahead + flow.incoming_window - self._next_outgoing) & 0xFFFFFFFF
        if flow.handle is None:
            self._wake_all()
            if flow.echo:
                self.flow()
            return
        node, pending = self._nodes.get(flow.handle), self._pending.get(flow.handle)
        if pending is not None and pending.outlet is not None:
            pending.outlet.refill(flow)
        elif isinstance(node, EntityReceiver):
            node.outlet.refill(flow)
            node.queue.broker.wake(node.queue)
            if flow.drain:
                node.queue.pump()
                node.outlet.drain()
        elif isinstance(node, Replies):
            node.outlet.refill(flow)
            node.refilled()
        elif isinstance(node, Sender | Requests) and flow.echo:
            node.inlet.flow()

    def _wake_all(self) -> None:
        for node in self._nodes.values():
            if isinstance(node, EntityReceiver):
                node.queue.broker.wake(node.queue)

    def _transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._next_incoming = (self._next_incoming + 1) & 0xFFFFFFFF
        self._granted -= 1
        if self._granted < WINDOW // 2:
            self._granted = WINDOW
            self.flow()
        node = self._nodes.get(transfer.handle)
        if node is None:
            return  # it was sent before the client knew that the link had ended
        if not isinstance(node, Sender | Requests):
            raise AmqpError("a transfer on a link that receives", "amqp:not-allowed")
        whole = node.inlet.take(transfer, payload)
        if whole is not None:
            self._deliver(node, *whole)

    def _deliver(self, node: Sender | Requests, first: Transfer, payload: bytes, size: int) -> None:
        if first.delivery_id is None:
            raise AmqpError("a delivery has no id", "amqp:invalid-field")
        try:
            node.receive(first, payload, size)
            state = Described(ACCEPTED, [])
        except DetachedError as ended:
            self.detach(first.handle, ServiceBusError(str(ended), "A fault was asked for."))
            return
        except ServiceBusError as error:
            state = rejected(error)
        if not first.settled:
            self.send(Disposition(True, first.delivery_id, None, True, state))

    def _disposition(self, disposition: Disposition) -> None:
        if not disposition.role:
            return  # a sender's word on what the broker has settled at once
        first = disposition.first
        last = first if disposition.last is None else disposition.last
        # No more than there are: the range is the client's.
        for number in [n for n in self.unsettled if first <= n <= last] if last > first else [first]:
            receiver, token = self.unsettled.pop(number, (None, None))
            if receiver is None:
                continue
            try:
                state = settle(receiver, token, disposition.state)
            except DetachedError as ended:
                receiver.detach(ServiceBusError(str(ended), "A fault was asked for."))
                return
            if not disposition.settled:
                self.send(Disposition(False, number, None, True, state))
