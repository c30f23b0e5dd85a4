"""From the wish for a link to the link, or to its refusal; with sessions that can take a while."""

from typing import TYPE_CHECKING

from tests.emulators.servicebus.amqp.performatives import Attach
from tests.emulators.servicebus.amqp.types import Described, Symbol, ULong
from tests.emulators.servicebus.broker import path
from tests.emulators.servicebus.errors import ServiceBusError, invalid
from tests.emulators.servicebus.faults import DetachedError
from tests.emulators.servicebus.limits import check_receiver
from tests.emulators.servicebus.links import Inlet, Outlet, address
from tests.emulators.servicebus.locks import Session
from tests.emulators.servicebus.nodes import EntityReceiver, Replies, Requests, Sender
from tests.emulators.servicebus.queue import Queue

if TYPE_CHECKING:
    from tests.emulators.servicebus.channel import Channel

CBS, MANAGEMENT = "$cbs", "/$management"
NODE_LIMIT = 1024 * 1024
MAX_WAIT = 65.0
_FILTER, _UNTIL = Symbol("com.microsoft:session-filter"), Symbol("com.microsoft:locked-until-utc")
_BATCH = Symbol("com.microsoft:max-message-batch-size")
_TIMEOUT = "com.microsoft:timeout"
_FILTERS = 7  # their place in a source
_YEAR_ONE = 62_135_596_800  # seconds from there to 1970


class Attaching:
    def __init__(self, channel: "Channel", attach: Attach) -> None:
        self._channel, self._attach = channel, attach
        self.outlet: Outlet | None = None
        self._receiver: EntityReceiver | None = None

    def start(self) -> None:
        """Raises AmqpError, DroppedError."""
        where = address(self._attach.source if self._attach.role else self._attach.target)
        try:
            if where == CBS or where.lower().endswith(MANAGEMENT):
                self._attach_node(where)
            else:
                self._channel.connection.tokens.authorize(path(where))
                queue = self._channel.connection.server.broker.entity(where)
                self._channel.connection.server.attempt("attach", queue, lambda: self._attach_entity(queue))
        except DetachedError as ended:
            self._refuse(ServiceBusError(str(ended), "A fault was asked for."))
        except ServiceBusError as error:
            self._refuse(error)

    def _attach_node(self, where: str) -> None:
        self._channel.connection.server.stats.count("attach.node")
        queue = None
        if where != CBS:
            entity = where[: -len(MANAGEMENT)]
            self._channel.connection.tokens.authorize(path(entity))
            queue = self._channel.connection.server.broker.entity(entity)
        if self._attach.role:
            self._accept(Replies(Outlet(self._channel, self._attach, NODE_LIMIT)))
        else:
            self._accept(Requests(Inlet(self._channel, self._attach, NODE_LIMIT), where, queue))

    def _attach_entity(self, queue: Queue) -> None:
        limit = queue.properties.max_message_bytes
        if not self._attach.role:
            if queue.is_dead_letters:
                raise ServiceBusError("amqp:not-allowed", "Nothing can be sent to a dead-letter queue.")
            sender = Sender(Inlet(self._channel, self._attach, limit), queue)
            self._accept(sender, properties={_BATCH: ULong(limit)})
            return
        self.outlet = Outlet(self._channel, self._attach, limit)
        self._receiver = EntityReceiver(self.outlet, queue)
        wanted, session = self._session()
        check_receiver(queue, with_session=wanted)
        if wanted:
            queue.accept_session(session, self._receiver, self._timeout(), self._session_accepted)
        else:
            self._accept(self._receiver)

    def _session(self) -> tuple[bool, str | None]:
        """Whether one is asked for, and which; None is the next available."""
        source = self._attach.source.value
        filters = source[_FILTERS] if len(source) > _FILTERS else None
        if not isinstance(filters, dict) or _FILTER not in filters:
            return False, None
        session = filters[_FILTER]
        session = session.value if isinstance(session, Described) else session
        if not isinstance(session, str | None):
            raise invalid("The id of a session is a string.")
        return True, session

    def _timeout(self) -> float:
        milliseconds = (self._attach.properties or {}).get(_TIMEOUT)
        return min(milliseconds / 1000, MAX_WAIT) if isinstance(milliseconds, int) else MAX_WAIT

    def _session_accepted(self, outcome: Session | ServiceBusError) -> None:
        if isinstance(outcome, ServiceBusError):
            self._refuse(outcome)
            return
        source = self._attach.source
        fields = [*source.value[:_FILTERS], {_FILTER: outcome.id}, *source.value[_FILTERS + 1 :]]
        ticks = int((outcome.until + _YEAR_ONE) * 10_000_000)
        self._accept(self._receiver, Described(source.descriptor, fields), {_UNTIL: ticks})

    def _accept(
        self,
        node: Sender | EntityReceiver | Requests | Replies,
        source: Described | None = None,
        properties: dict | None = None,
    ) -> None:
        attach = self._attach
        outlet = node.outlet if isinstance(node, EntityReceiver | Replies) else None
        answer = Attach(
            attach.name,
            attach.handle,
            not attach.role,
            attach.snd_settle_mode,
            attach.rcv_settle_mode,
            source or attach.source,
            attach.target,
            initial_delivery_count=0 if outlet is not None else None,
            max_message_size=None if outlet is not None else node.inlet.limit,
            properties=properties,
        )
        self._channel.attached(attach.handle, node, answer)

    def _refuse(self, error: ServiceBusError) -> None:
        """As the standard has it: a link to nowhere, which ends at once."""
        attach = self._attach
        count = 0 if attach.role else None
        answer = Attach(attach.name, attach.handle, not attach.role, initial_delivery_count=count)
        self._channel.refused(attach.handle, answer, error)

    def give_up(self) -> None:
        """The client no longer waits for it."""
        if self._receiver is not None:
            self._receiver.queue.leave(self._receiver)
