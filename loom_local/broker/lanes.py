"""What the broker holds in memory: who has what locked, and a window of what is ready.

It is all a hint: every delivery is confirmed by its own commit, and after a crash every lock is gone.
"""

import asyncio
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

from loom_local.broker.messages import DEAD_LETTERS, QueueProperties, StoredMessage
from loom_local.broker.store import MessageStore


@dataclass(slots=True, eq=False)
class Lease:
    token: str
    until: float


type Locked = tuple[StoredMessage, Lease]


@dataclass(slots=True, eq=False)
class Lane:
    """Messages delivered in order: a whole queue, or one session of it while `lease` locks it.

    `ready` is a heap by sequence number; `loaded` is the highest number read into it, so the rest lies
    beyond that in the database. `out` has the locked messages, each with the lease it is locked under.
    """

    queue: str
    name: str = ""
    lease: Lease | None = None
    ready: list[tuple[int, StoredMessage]] = field(default_factory=list[tuple[int, StoredMessage]])
    loaded: int = 0
    out: dict[int, Locked] = field(default_factory=dict[int, Locked])

    def take(self, store: MessageStore) -> StoredMessage | None:
        """Take the first message, reading the next page if the window is empty."""
        if not self.ready:
            # Ascending, hence a heap already.
            self.ready = [(m.sequence_number, m) for m in store.ready(self.queue, self.name, self.loaded)]
            if not self.ready:
                return None
            self.loaded = self.ready[-1][0]
        return heapq.heappop(self.ready)[1]

    def give_back(self, stored: StoredMessage) -> None:
        """Make a message ready again, in its old place."""
        heapq.heappush(self.ready, (stored.sequence_number, stored))

    def claim(self, sequence: int, token: str, now: float) -> StoredMessage | None:
        """End the lock of a message and return it, unless the lock was lost."""
        stored, lease = self.out.get(sequence, (None, None))
        if lease is None or lease.token != token or lease.until <= now:
            return None
        del self.out[sequence]
        return stored

    def expire(self, now: float) -> bool:
        """Make ready what has outlived its lock; say whether there was any."""
        lost = [stored for stored, lease in self.out.values() if lease.until <= now]
        for stored in lost:
            del self.out[stored.sequence_number]
            self.give_back(stored)
        return bool(lost)


class Queue:
    """One queue's lanes: a single one named '' or, with sessions, those that are locked."""

    def __init__(self, name: str, properties: QueueProperties) -> None:
        self.name = name
        self.properties = properties
        self.dead_letters = name.endswith(DEAD_LETTERS)
        self.lanes: dict[str, Lane] = {}
        self.news = asyncio.Event()
        self._cursor = ""

    def tell(self) -> None:
        """Wake whoever waits for something to receive."""
        self.news.set()
        self.news = asyncio.Event()

    def whole(self) -> Lane:
        return self.lanes.setdefault("", Lane(self.name))

    def exhausted(self, stored: StoredMessage) -> bool:
        return not self.dead_letters and stored.delivery_count >= self.properties.max_delivery_count

    def expired(self, stored: StoredMessage, now: float) -> bool:
        return not self.dead_letters and stored.expires_at <= now

    def idle_sessions(self, store: MessageStore) -> Iterator[str]:
        """Name sessions that have messages and no receiver, starting after the last one named."""
        start, wrapped = self._cursor, False
        while True:
            session = store.next_session(self.name, self._cursor)
            if session is None and wrapped:
                return
            if session is None:
                self._cursor, wrapped = "", True
                continue
            if wrapped and session > start:
                return
            self._cursor = session
            if session not in self.lanes:
                yield session

    def expire(self, now: float) -> bool:
        """End every lock whose time is up; say whether there was any."""
        ended = [n for n, lane in self.lanes.items() if lane.lease is not None and lane.lease.until <= now]
        for name in ended:
            del self.lanes[name]
        return any([bool(ended), *(lane.expire(now) for lane in self.lanes.values())])

    def deadlines(self) -> Iterator[float]:
        for lane in self.lanes.values():
            if lane.lease is not None:
                yield lane.lease.until
            else:
                yield from (lease.until for _, lease in lane.out.values())
