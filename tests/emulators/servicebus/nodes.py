"""What links lead to: an entity to send to or receive from, and the two nodes that answer requests."""

from tests.emulators.servicebus import management
from tests.emulators.servicebus.amqp.performatives import Transfer
from tests.emulators.servicebus.amqp.types import AmqpError, Int
from tests.emulators.servicebus.errors import ServiceBusError, invalid, too_large
from tests.emulators.servicebus.links import Inlet, Outlet
from tests.emulators.servicebus.locks import Session
from tests.emulators.servicebus.messages import BATCH_FORMAT, Message, Request, answer, unbatched
from tests.emulators.servicebus.queue import Queue


class Sender:
    """A client sends to an entity."""

    def __init__(self, inlet: Inlet, queue: Queue) -> None:
        self.inlet, self.queue = inlet, queue

    def receive(self, transfer: Transfer, payload: bytes, size: int) -> None:
        """Raises ServiceBusError."""
        attempt = self.inlet.channel.connection.server.attempt
        attempt("send", self.queue, lambda: self._accept(transfer, payload, size))

    def _accept(self, transfer: Transfer, payload: bytes, size: int) -> None:
        if size > self.inlet.limit:
            raise too_large(size, self.inlet.limit)
        batch = transfer.message_format == BATCH_FORMAT
        try:
            messages = [Message.decode(part) for part in (unbatched(payload) if batch else [payload])]
        except AmqpError as error:
            raise invalid(error.description) from error
        self.queue.send(messages)
        stats = self.inlet.channel.connection.server.stats
        stats.count("send.batch", batch)
        stats.count("send.message", len(messages))

    def detached(self) -> None:
        pass


class EntityReceiver:
    """A client receives from an entity."""

    def __init__(self, outlet: Outlet, queue: Queue) -> None:
        self.outlet, self.queue = outlet, queue
        self.session: Session | None = None
        self.listening = False

    @property
    def credit(self) -> int:
        return self.outlet.credit

    @property
    def settled(self) -> bool:
        return self.outlet.settled

    def deliver(self, message: Message) -> None:
        server = self.outlet.channel.connection.server
        server.stats.count("receive")
        fault = server.faults.take("receive", self.queue.key)
        if fault is not None and fault.action in ("drop", "lose"):
            self.outlet.channel.connection.abort()
            return
        lock = message.lock
        number = self.outlet.transfer(message.encode(), lock.token if lock is not None else None)
        if lock is not None:
            self.outlet.channel.unsettled[number] = (self, lock.token)
        if fault is not None and fault.action == "expire":
            self.queue.expire_locks()
        elif fault is not None:
            self.detach(ServiceBusError(fault.condition, "A fault was asked for."))

    def detach(self, error: ServiceBusError | None = None) -> None:
        self.outlet.channel.detach(self.outlet.attach.handle, error)

    def detached(self) -> None:
        self.queue.leave(self)


class Replies:
    """A client receives answers."""

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self._waiting: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self._waiting.append(payload)
        self.refilled()

    def refilled(self) -> None:
        while self._waiting and self.outlet.credit > 0:
            self.outlet.transfer(self._waiting.pop(0), None)

    def detached(self) -> None:
        pass


class Requests:
    """A client asks: `queue` is None for $cbs."""

    def __init__(self, inlet: Inlet, node: str, queue: Queue | None) -> None:
        self.inlet, self.node, self.queue = inlet, node, queue

    def receive(self, _transfer: Transfer, payload: bytes, size: int) -> None:
        """Raises ServiceBusError."""
        if size > self.inlet.limit:
            raise too_large(size, self.inlet.limit)
        try:
            request = Request.decode(payload)
        except AmqpError as error:
            raise invalid(error.description) from error
        application, body = self._put_token(request) if self.queue is None else self._manage(request)
        replies = self.inlet.channel.replies(self.node)
        if replies is not None:
            replies.send(answer(request.message_id, application, body))

    def _manage(self, request: Request) -> tuple[dict, object]:
        operation = management.operation(request)
        attempt = self.inlet.channel.connection.server.attempt
        try:
            if operation is None:
                return management.run(self.queue, request, self._owns)
            return attempt(
                operation,
                self.queue,
                lambda: management.run(self.queue, request, self._owns),
                lambda: management.expire(self.queue, request),
            )
        except ServiceBusError as error:
            return management.refusal(error)

    def _owns(self, session: Session) -> bool:
        receiver = session.receiver
        own = self.inlet.channel.connection
        return isinstance(receiver, EntityReceiver) and receiver.outlet.channel.connection is own

    def _put_token(self, request: Request) -> tuple[dict, object]:
        connection, asked = self.inlet.channel.connection, request.application
        try:
            connection.server.attempt(
                "token",
                None,
                lambda: connection.tokens.put(asked.get("type"), asked.get("name"), request.body),
            )
        except ServiceBusError as error:
            return {"status-code": Int(error.status), "status-description": error.description}, None
        return {"status-code": Int(202), "status-description": "Accepted"}, None

    def detached(self) -> None:
        pass
