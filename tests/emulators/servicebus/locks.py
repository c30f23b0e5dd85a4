"""Locks on messages, and on sessions."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4

from tests.emulators.servicebus.errors import ServiceBusError

if TYPE_CHECKING:
    from tests.emulators.servicebus.messages import Message


class Receiver(Protocol):
    """A link that messages go out on."""

    session: "Session | None"

    @property
    def credit(self) -> int: ...

    @property
    def settled(self) -> bool:
        """Whether messages are gone once they are sent (receive and delete)."""
        ...

    def deliver(self, message: "Message") -> None: ...

    def detach(self, error: ServiceBusError | None = None) -> None: ...


@dataclass(slots=True, eq=False)
class Session:
    """Messages of one id. `until` is when its lock ends, if a receiver has it."""

    id: str
    state: bytes | None = None
    receiver: Receiver | None = None
    until: float = 0.0
    ready: list[int] = field(default_factory=list)
    locks: dict[UUID, "Lock"] = field(default_factory=dict)

    def idle(self) -> bool:
        return self.receiver is None and self.state is None and not self.ready


@dataclass(slots=True, eq=False)
class Lock:
    message: "Message"
    session: Session | None
    own_until: float
    token: UUID = field(default_factory=uuid4)

    @property
    def until(self) -> float:
        return self.session.until if self.session is not None else self.own_until


class Locks:
    """The locks on an entity's messages, the first to expire first: all last equally long."""

    def __init__(self, arm: Callable[[float], None]) -> None:
        self._by_token: dict[UUID, Lock] = {}
        self._arm = arm
        self._armed = False

    def __len__(self) -> int:
        return len(self._by_token)

    def add(self, message: "Message", session: Session | None, until: float) -> Lock:
        lock = message.lock = Lock(message, session, until)
        self._by_token[lock.token] = lock
        if session is not None:
            session.locks[lock.token] = lock
        elif not self._armed:
            self._armed = True
            self._arm(until)
        return lock

    def get(self, token: UUID) -> Lock | None:
        return self._by_token.get(token)

    def renew(self, lock: Lock, until: float) -> None:
        lock.own_until = until
        self._by_token[lock.token] = self._by_token.pop(lock.token)

    def remove(self, lock: Lock) -> None:
        del self._by_token[lock.token]
        if lock.session is not None:
            del lock.session.locks[lock.token]
        lock.message.lock = None

    def expired(self, now: float) -> list[Lock]:
        """Take those out that are not held by a session and at their end; watch for the next."""
        self._armed = False
        gone = []
        for lock in self._by_token.values():
            if lock.session is not None:
                continue
            if lock.until > now:
                self._armed = True
                self._arm(lock.until)
                break
            gone.append(lock)
        for lock in gone:
            self.remove(lock)
        return gone

    def all(self) -> list[Lock]:
        return list(self._by_token.values())


def push(ready: list[int], message: "Message") -> None:
    heapq.heappush(ready, message.number)
