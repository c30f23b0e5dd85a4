"""A queue, a subscription, their dead letters; a topic is a queue that keeps only what is scheduled."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.emulators.servicebus import errors
from tests.emulators.servicebus.duplicates import Duplicates
from tests.emulators.servicebus.errors import ServiceBusError
from tests.emulators.servicebus.forwarding import forward
from tests.emulators.servicebus.limits import check, check_room
from tests.emulators.servicebus.locks import Lock, Locks, Receiver, Session, push
from tests.emulators.servicebus.messages import ACTIVE, NEVER, SCHEDULED, Message
from tests.emulators.servicebus.properties import Properties
from tests.emulators.servicebus.sessions import Accepted, Sessions

if TYPE_CHECKING:
    from tests.emulators.servicebus.broker import Broker

DEAD_LETTERS = "/$deadletterqueue"

type Routes = Callable[[Message], Iterable["Queue"]]


class Queue:
    """Every method raises ServiceBusError. `routes`: where messages go instead of staying."""

    def __init__(self, broker: "Broker", name: str, properties: Properties, *, dead: bool = False) -> None:
        self.broker, self.name, self.properties = broker, name, properties
        self.key = name.lower()
        self.sessions_required = properties.sessions
        self.messages: dict[int, Message] = {}
        self.last = 0
        self.size = 0
        self.ready: list[int] = []
        self.receivers: deque[Receiver] = deque()
        self.routes: Routes | None = None
        self.forwards_dead_letters: Callable[[], Queue] | None = None
        self.is_dead_letters, self.is_topic = dead, False
        self.locks = Locks(lambda when: broker.timers.at(when, self._unlock_expired))
        self.sessions = Sessions(self._lock_end, broker.timers.at, self._has_ready, self._session_released)
        self.duplicates = Duplicates(
            properties.duplicate_window, lambda id_, until: broker.journal.seen(self.key, id_, until)
        )
        self.dead_letters: Queue | None = None

    # ---- in

    def send(self, messages: list[Message]) -> list[int]:
        """Accept all or none; give their numbers. A duplicate gets a number that nothing has."""
        if self.is_dead_letters:
            raise errors.not_allowed("Nothing can be sent to a dead-letter queue.")
        self.decide_sessions(any(message.session_id is not None for message in messages))
        for message in messages:
            check(self, message)
        check_room(self, messages)
        return [self.accept(message) for message in messages]

    def decide_sessions(self, wanted: bool) -> None:
        if self.sessions_required is None:
            self.sessions_required = wanted
            self.broker.journal.numbered(self)

    def accept(self, message: Message, hops: int = 0) -> int:
        now = self.broker.now()
        self.last += 1
        self.broker.journal.numbered(self)
        detects = self.properties.duplicate_detection and message.message_id is not None
        if detects and not self.duplicates.add(message.message_id, now):
            return self.last
        message.number = self.last
        if message.due is not None and message.due > now:
            message.state = SCHEDULED
            self._keep(message)
            self.broker.timers.at(message.due, lambda: self._come_due(message))
        else:
            message.enqueued = now
            self._activate(message, hops)
        return message.number

    def _come_due(self, message: Message) -> None:
        if self.messages.get(message.number) is message and message.state == SCHEDULED:
            message.enqueued = message.due or 0.0
            # As if it had been sent just now: a scheduled message's number ends with its waiting.
            self.discard(message)
            self.last += 1
            self.broker.journal.numbered(self)
            message.number = self.last
            self._activate(message)

    def _activate(self, message: Message, hops: int = 0) -> None:
        message.state = ACTIVE
        if self.routes is not None:
            self.discard(message)
            for target in self.routes(message):
                forward(self, message, target, hops + 1)
            return
        times = [ttl for ttl in (message.ttl, self.properties.ttl) if ttl is not None]
        message.expires = min(message.enqueued + min(times), NEVER) if times else None
        self._keep(message)
        self._watch(message)
        self._make_ready(message)

    def _watch(self, message: Message) -> None:
        if message.expires is not None and not self.is_dead_letters:
            self.broker.timers.at(message.expires, lambda: self._expire_if_ready(message))

    def restore(self, message: Message) -> None:
        """Take back what the journal kept."""
        self.messages[message.number] = message
        self.size += message.size
        if message.state == SCHEDULED:
            self.broker.timers.at(message.due or 0.0, lambda: self._come_due(message))
        elif message.state == ACTIVE:
            self._watch(message)
            self._make_ready(message)

    def _keep(self, message: Message) -> None:
        if message.number not in self.messages:
            self.size += message.size
        self.messages[message.number] = message
        self.broker.journal.put(self, message)

    def discard(self, message: Message) -> None:
        if self.messages.pop(message.number, None) is not None:
            self.size -= message.size
            self.broker.journal.remove(self, message.number)

    # ---- out

    def _make_ready(self, message: Message) -> None:
        if self.sessions_required:
            session = self.sessions.get(message.session_id or "")
            push(session.ready, message)
            self.sessions.offer(session)
        else:
            push(self.ready, message)
        self.broker.wake(self)

    def _next(self, ready: list[int], *, take: bool) -> Message | None:
        now = self.broker.now()
        while ready:
            message = self.messages.get(ready[0])
            stale = message is None or message.state != ACTIVE or message.lock is not None
            if not stale and (self.is_dead_letters or message.expires is None or message.expires > now):
                if take:
                    heapq.heappop(ready)
                return message
            heapq.heappop(ready)
            if not stale:
                self.expire(message)
        return None

    def _has_ready(self, session: Session) -> bool:
        return self._next(session.ready, take=False) is not None

    def pump(self) -> None:
        """Deliver to receivers that have credit, in turns."""
        idle = 0
        while self.receivers and idle < len(self.receivers):
            receiver = self.receivers[0]
            self.receivers.rotate(-1)
            ready = receiver.session.ready if receiver.session is not None else self.ready
            if receiver.credit > 0 and (message := self._next(ready, take=True)) is not None:
                self._hand(receiver, message)
                idle = 0
            else:
                idle += 1

    def _hand(self, receiver: Receiver, message: Message) -> None:
        if receiver.settled:
            self.discard(message)
        else:
            self.lock(message, receiver.session)
        receiver.deliver(message)

    def lock(self, message: Message, session: Session | None) -> Lock:
        return self.locks.add(message, session, self._lock_end())

    def _lock_end(self) -> float:
        return self.broker.now() + self.properties.lock_duration

    def accept_session(self, id_: str | None, receiver: Receiver, timeout: float, accepted: Accepted) -> None:
        """Call `accepted` with the session or the error; `id_` None is the next available one."""
        if id_ is None:
            self.sessions.accept_next(receiver, self.broker.now() + timeout, accepted)
            self.broker.wake(self)  # to set the alarm anew
            return
        try:
            accepted(self.sessions.accept(id_, receiver))
        except ServiceBusError as error:
            accepted(error)

    def listen(self, receiver: Receiver) -> None:
        self.receivers.append(receiver)
        self.broker.wake(self)

    def leave(self, receiver: Receiver) -> None:
        """Locked messages of a queue without sessions stay locked, as they do in Azure."""
        if receiver in self.receivers:
            self.receivers.remove(receiver)
        self.sessions.leave(receiver)
        self.broker.wake(self)

    # ---- back, and to the dead letters

    def put_back(self, message: Message, *, count: bool) -> None:
        """After its lock: ready again (or still deferred), or dead when it came too often."""
        if count:
            message.deliveries += 1
            self.broker.journal.put(self, message)
        if message.deliveries >= self.properties.max_deliveries and not self.is_dead_letters:
            reason = "Message could not be consumed after {} delivery attempts."
            self.bury(message, "MaxDeliveryCountExceeded", reason.format(self.properties.max_deliveries))
        elif message.state == ACTIVE:
            self._make_ready(message)

    def bury(self, message: Message, reason: str | None = None, description: str | None = None) -> None:
        self.discard(message)
        dead = message.moved(source=self.name)
        why = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        dead.amend({name: text for name, text in why.items() if text is not None})
        if self.forwards_dead_letters is not None:
            forward(self, dead, self.forwards_dead_letters(), 1)
        elif self.dead_letters is not None:
            self.dead_letters.inter(dead)

    def inter(self, message: Message) -> None:
        self._keep(message)
        self._make_ready(message)

    def expire(self, message: Message) -> None:
        if self.properties.dead_letter_expired:
            self.bury(message, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self.discard(message)

    def _expire_if_ready(self, message: Message) -> None:
        current = self.messages.get(message.number) is message
        if current and message.state == ACTIVE and message.lock is None:
            self.expire(message)

    def expire_locks(self) -> None:
        """All of them, now."""
        for session in self.sessions:
            self.sessions.expire(session)
        for lock in self.locks.all():
            self.unlock(lock, count=True)

    def unlock(self, lock: Lock, *, count: bool) -> None:
        self.locks.remove(lock)
        self.put_back(lock.message, count=count)

    def _unlock_expired(self) -> None:
        for lock in self.locks.expired(self.broker.now()):
            self.put_back(lock.message, count=True)

    def _session_released(self, session: Session, count: bool) -> None:
        for lock in list(session.locks.values()):
            self.unlock(lock, count=count)
