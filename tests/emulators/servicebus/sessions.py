"""The sessions of an entity: who has which, who waits for the next that has messages."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.emulators.servicebus.errors import (
    ServiceBusError,
    session_cannot_be_locked,
    session_lock_lost,
    timed_out,
)
from tests.emulators.servicebus.locks import Receiver, Session

type Accepted = Callable[[Session | ServiceBusError], None]


@dataclass(slots=True, eq=False)
class _Waiter:
    receiver: Receiver
    accepted: Accepted


class Sessions:
    """`lock` gives the end of a lock that starts now; `at` calls later; `has_messages` looks into one."""

    def __init__(
        self,
        lock: Callable[[], float],
        at: Callable[[float, Callable[[], None]], None],
        has_messages: Callable[[Session], bool],
        released: Callable[[Session, bool], None],
    ) -> None:
        self._lock, self._at, self._has_messages, self._released = lock, at, has_messages, released
        self._by_id: dict[str, Session] = {}
        self._available: dict[str, None] = {}
        self._waiters: deque[_Waiter] = deque()

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def waiting(self) -> int:
        """How many wait for a session to be available."""
        return len(self._waiters)

    def get(self, id_: str) -> Session:
        return self._by_id.setdefault(id_, Session(id_))

    def held(self, id_: object) -> Session:
        """Raises session-lock-lost where nobody has it."""
        session = self._by_id.get(id_)
        if session is None or session.receiver is None:
            raise session_lock_lost()
        return session

    def accept(self, id_: str, receiver: Receiver) -> Session:
        """Raises session-cannot-be-locked where another has it."""
        session = self.get(id_)
        if session.receiver is not None:
            raise session_cannot_be_locked(id_)
        return self._own(session, receiver)

    def accept_next(self, receiver: Receiver, until: float, accepted: Accepted) -> None:
        """Call `accepted` with the next free session that has messages, at once or once there is one."""
        while self._available:
            id_ = next(iter(self._available))
            del self._available[id_]
            session = self.get(id_)
            if session.receiver is None and self._has_messages(session):
                accepted(self._own(session, receiver))
                return
        waiter = _Waiter(receiver, accepted)
        self._waiters.append(waiter)
        self._at(until, lambda: self._give_up(waiter))

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            waiter.accepted(timed_out())

    def _own(self, session: Session, receiver: Receiver) -> Session:
        session.receiver, receiver.session = receiver, session
        self.renew(session)
        return session

    def renew(self, session: Session) -> None:
        until = session.until = self._lock()
        receiver = session.receiver
        self._at(until, lambda: self._expire_if_due(session, receiver, until))

    def _expire_if_due(self, session: Session, receiver: Receiver | None, until: float) -> None:
        if session.receiver is receiver and session.until <= until:
            self.expire(session)

    def expire(self, session: Session) -> None:
        """Its receiver loses it; what it held counts as delivered once more."""
        receiver = session.receiver
        if receiver is not None:
            self.release(session, count=True)
            receiver.detach(session_lock_lost())

    def release(self, session: Session, *, count: bool) -> None:
        session.receiver = None
        self._released(session, count)
        if session.idle():
            self._by_id.pop(session.id, None)
        else:
            self.offer(session)

    def leave(self, receiver: Receiver) -> None:
        """A receiver is gone: what it held is ready again, uncounted."""
        self._waiters = deque(waiter for waiter in self._waiters if waiter.receiver is not receiver)
        if receiver.session is not None and receiver.session.receiver is receiver:
            self.release(receiver.session, count=False)

    def offer(self, session: Session) -> None:
        """It has messages, perhaps: for who waits, or who comes."""
        if session.receiver is not None or not self._has_messages(session):
            return
        if self._waiters:
            waiter = self._waiters.popleft()
            waiter.accepted(self._own(session, waiter.receiver))
        else:
            self._available[session.id] = None
