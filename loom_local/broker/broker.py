"""The broker: send, receive under a lock, settle.

It lives on one event loop and acknowledges nothing before its commit. Locks are in memory only, so a crash
frees them all; the count of deliveries is committed before each delivery, so that a message which brings
the process down is dead-lettered in the end.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from loom_core.errors import ConflictError, InvalidError, NotFoundError
from loom_local.broker.alarm import Alarm
from loom_local.broker.lanes import Lane, Lease, Queue
from loom_local.broker.messages import (
    DEAD_LETTERS,
    LARGEST_BATCH,
    Delivery,
    LockLostError,
    Message,
    QueueCounts,
    QueueProperties,
    SendResult,
    SessionLock,
    StoredMessage,
    name_problems,
    problems,
)
from loom_local.broker.store import PAGE, MessageStore
from loom_local.database import Database, Statement

MOST_QUEUES = 1_000


class Broker:
    """The queues of one database. Construct it anywhere; use it on one event loop only.

    `clock` gives seconds since the epoch, `new_id` unique ids: of locks, and of messages sent without one.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._database = database
        self._store = MessageStore(database)
        self._clock = clock
        self._new_id = new_id
        self._sequence = self._store.last_sequence()
        self._queues = {name: Queue(name, found) for name, found in self._store.queues().items()}
        self._draining = False
        self._alarm = Alarm(clock, self.tick)

    async def declare(self, name: str, properties: QueueProperties) -> None:
        """Create a queue, or give it other properties; nothing of it may be locked.

        Raises InvalidError for a bad name, ConflictError when sessions are asked for and it holds messages
        without one.
        """
        known = self._queues.get(name)
        if known is not None and known.properties == properties:
            return
        if found := [*name_problems(name)]:
            raise InvalidError(found)
        if known is None and len(self._queues) >= MOST_QUEUES:
            raise ConflictError(f"there are {MOST_QUEUES} queues already")
        if properties.requires_session and self._store.holds_messages_without_session(name):
            raise ConflictError(
                f"queue {name!r} is to have sessions now, but holds messages without a session id: "
                "receive or purge those first"
            )
        self._queues[name] = Queue(name, properties)
        self._queues.pop(name + DEAD_LETTERS, None)
        await self._database.submit(self._store.save_queue(name, properties))

    async def queues(self) -> dict[str, QueueProperties]:
        """Give every declared queue's properties by name."""
        return {name: q.properties for name, q in self._queues.items() if not q.dead_letters}

    async def send(self, name: str, messages: Sequence[Message]) -> list[SendResult]:
        """Store all the messages or none, in order; return after the commit.

        Creates the queue, without sessions, if nobody has declared it. Raises InvalidError with every
        problem of every message.
        """
        if name not in self._queues:
            await self.declare(name, QueueProperties())
        queue, now = self._queue(name), self._clock()
        self._check(queue, messages)
        statements: list[Statement] = []
        sent: list[tuple[int, int, Message]] = []
        for message in messages:
            sequence = self._next_sequence()
            statements += self._store.insert(
                sequence, name, message, queue.properties, generated_id=self._new_id(), now=now
            )
            sent.append((sequence, len(statements) - 1, message))
        submitted = self._database.submit(statements)
        submitted.add_done_callback(lambda _: queue.tell())
        # Shielded: a sender that goes away must not take the news of its messages along.
        counts = await asyncio.shield(submitted)
        for due in (m.scheduled_enqueue_time for m in messages if m.scheduled_enqueue_time):
            self._alarm.set(due)
        return [
            SendResult(sequence, duplicate=False)
            if counts[index]
            else SendResult(self._store.first_sequence_of(name, message.message_id or ""), duplicate=True)
            for sequence, index, message in sent
        ]

    async def cancel_scheduled(self, name: str, sequence: int) -> None:
        """Remove a scheduled message. Raises NotFoundError when there is none of that number (any more)."""
        (count,) = await self._database.submit([self._store.remove_scheduled(sequence, name)])
        if not count:
            raise NotFoundError(f"queue {name!r} has no scheduled message {sequence}")

    @staticmethod
    def _check(queue: Queue, messages: Sequence[Message]) -> None:
        if queue.dead_letters:
            raise InvalidError("nobody sends to a dead-letter queue; reject a message instead")
        if not 1 <= len(messages) <= LARGEST_BATCH:
            raise InvalidError(f"send 1 to {LARGEST_BATCH} messages at a time")
        found = [p for i, m in enumerate(messages) for p in problems(i, m, queue.properties)]
        if found:
            raise InvalidError(found)

    async def receive(self, name: str, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """Lock messages of a queue without sessions, waiting up to `wait` seconds for the first.

        Gives at most `limit`, and at most what is in memory (256 messages, about 1 MB).
        Raises NotFoundError, or InvalidError if the queue has sessions.
        """
        queue = self._queue(name)
        if queue.properties.requires_session:
            raise InvalidError(f"queue {name!r} has sessions: accept one and receive from that")
        return await self._until(queue, wait, lambda: self._deliver(queue, queue.whole(), limit))

    async def accept_sessions(
        self, name: str, limit: int = 1, wait: float = 0.0, *, session: str | None = None
    ) -> list[SessionLock]:
        """Lock up to `limit` sessions that have messages, each in its turn; or the named one, empty or not.

        Raises NotFoundError, or InvalidError if the queue has no sessions.
        """
        queue = self._queue(name)
        if not queue.properties.requires_session:
            raise InvalidError(f"queue {name!r} has no sessions")

        async def attempt() -> list[SessionLock]:
            if session is None:
                names = [*itertools.islice(queue.idle_sessions(self._store), limit)]
            else:
                names = [session] if session not in queue.lanes else []
            return [self._lock_session(queue, name) for name in names]

        return await self._until(queue, wait, attempt)

    async def receive_session(self, lock: SessionLock, limit: int = 1, wait: float = 0.0) -> list[Delivery]:
        """Lock up to `limit` of the session's messages, in order. Raises LockLostError."""
        queue = self._queue(lock.queue)

        async def attempt() -> list[Delivery]:
            return await self._deliver(queue, self._session_lane(lock), limit)

        return await self._until(queue, wait, attempt)

    async def renew(self, *deliveries: Delivery) -> None:
        """Lock messages of a queue without sessions for another lock duration. Raises LockLostError."""
        now = self._clock()
        lost: list[Delivery] = []
        for delivery in deliveries:
            queue = self._queue(delivery.stored.queue)
            _, lease = queue.whole().out.get(delivery.stored.sequence_number, (None, None))
            if lease is not None and lease.token == delivery.token and lease.until > now:
                lease.until = now + queue.properties.lock_duration
            else:
                lost.append(delivery)
        _raise_if_lost(lost)

    async def renew_session(self, lock: SessionLock) -> None:
        """Lock a session, and what was received from it, for another lock duration. Raises LockLostError."""
        lease = self._session_lane(lock).lease
        assert lease is not None
        lease.until = self._clock() + self._queue(lock.queue).properties.lock_duration

    async def release_session(self, lock: SessionLock) -> None:
        """Give a session to whoever accepts it next, with its unsettled messages. Does nothing if lost."""
        with suppress(LockLostError):
            self._session_lane(lock)
            queue = self._queue(lock.queue)
            del queue.lanes[lock.session]
            queue.tell()

    async def drain(self) -> None:
        """Let receivers go, for good: whoever waits gets nothing. What is held can still be settled."""
        self._draining = True
        self._alarm.stop()
        for queue in self._queues.values():
            queue.tell()

    async def complete(self, *deliveries: Delivery) -> None:
        """Remove messages; return after the commit. Raises LockLostError for those no longer held."""
        held, lost = self._claim(deliveries)
        if held:
            removals = [self._store.remove(d.stored.sequence_number, d.stored.queue) for d in held]
            counts = await self._database.submit(removals)
            lost += [d for d, count in zip(held, counts, strict=True) if not count]
        _raise_if_lost(lost)

    async def abandon(self, *deliveries: Delivery) -> None:
        """Make messages ready again at once; dead-letter those delivered too often. Raises LockLostError."""
        held, lost = self._claim(deliveries)
        exhausted: list[StoredMessage] = []
        for delivery in held:
            queue = self._queue(delivery.stored.queue)
            if queue.exhausted(delivery.stored):
                exhausted.append(delivery.stored)
            else:
                queue.lanes[delivery.lane].give_back(delivery.stored)
                queue.tell()
        if exhausted:
            await self._database.submit([s for stored in exhausted for s in self._bury_exhausted(stored)])
            self._tell_dead_letters(exhausted)
        _raise_if_lost(lost)

    async def dead_letter(self, delivery: Delivery, reason: str, description: str = "") -> None:
        """Move a message to the dead letters; return after the commit. Raises LockLostError."""
        held, lost = self._claim([delivery])
        if held:
            await self._database.submit(self._bury(delivery.stored, reason, description))
            self._tell_dead_letters([delivery.stored])
        _raise_if_lost(lost)

    async def peek(self, name: str, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """List messages, locked or not, with numbers above `after`: at most `limit` and about 1 MB."""
        queue, limit = self._queue(name), min(limit, PAGE)
        if queue.properties.requires_session:
            return self._store.peek(name, after, limit)
        return self._store.ready(name, "", after, limit)

    async def dead_letters(self, name: str, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """List dead letters like `peek`."""
        return await self.peek(name + DEAD_LETTERS, after, limit)

    async def replay(self, name: str, sequence: int) -> int:
        """Send a dead letter again, as if for the first time; return its new number. Raises NotFoundError."""
        queue = self._queue(name)
        now, new = self._clock(), self._next_sequence()
        move = self._store.move(
            sequence,
            name + DEAD_LETTERS,
            new=new,
            to=name,
            by_session=queue.properties.requires_session,
            enqueued=now,
            expires=now + queue.properties.default_ttl,
            deliveries=0,
        )
        found, _ = await self._database.submit(move)
        if not found:
            raise NotFoundError(f"queue {name!r} has no dead letter {sequence}")
        queue.tell()
        return new

    async def purge_dead_letters(self, name: str, before: float) -> int:
        """Delete the dead letters that died before a time; return how many."""
        self._queue(name)
        (count,) = await self._database.submit([self._store.remove_dead(name, before)])
        return count

    async def counts(self, name: str) -> QueueCounts:
        active, scheduled, dead = self._store.counts(name)
        locked = sum(len(lane.out) for lane in self._queue(name).lanes.values())
        return QueueCounts(active, locked, scheduled, dead)

    async def tick(self) -> None:
        """Do what has come due: end locks, enqueue scheduled messages, forget old ids.

        Call it once to start; from then on the broker calls it when something is due.
        """
        now = self._clock()
        for queue in self._queues.values():
            if queue.expire(now):
                queue.tell()
        due = self._store.due(now)
        statements: list[Statement] = []
        for sequence, name in due:
            new, sessions = self._next_sequence(), self._queue(name).properties.requires_session
            statements += self._store.move(
                sequence, name, new=new, to=name, by_session=sessions, enqueued=now
            )
        if self._store.has_old_ids(now):
            statements.append(self._store.forget_ids(now))
        if statements:
            await self._database.submit(statements)
        for name in {name for _, name in due}:
            self._queue(name).tell()
        if self._store.has_old_ids(now):
            self._alarm.set(now)
        deadlines = [at for queue in self._queues.values() for at in queue.deadlines()]
        self._alarm.set(min([self._store.next_due() or float("inf"), *deadlines]))

    def _queue(self, name: str) -> Queue:
        queue = self._queues.get(name)
        parent = self._queues.get(name.removesuffix(DEAD_LETTERS))
        if queue is None and parent is not None:
            queue = Queue(name, replace(parent.properties, requires_session=False))
            self._queues[name] = queue
        if queue is None:
            known = ", ".join(sorted(n for n, q in self._queues.items() if not q.dead_letters)) or "none"
            raise NotFoundError(f"there is no queue {name[:80]!r}; the queues are: {known}")
        return queue

    def _next_sequence(self) -> int:
        # Numbers are taken and submitted in one step, so commits follow the order of numbers.
        self._sequence += 1
        return self._sequence

    async def _until[T](
        self, queue: Queue, wait: float, attempt: Callable[[], Awaitable[list[T]]]
    ) -> list[T]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while not self._draining:
            news = queue.news
            found = await attempt()
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()
        return []

    async def _deliver(self, queue: Queue, lane: Lane, limit: int) -> list[Delivery]:
        while True:
            taken, dead = self._take(queue, lane, limit)
            if not taken and not dead:
                return []
            # None is left over if all were dead, or had gone elsewhere since they were read.
            if deliveries := await self._lock(queue, lane, taken, dead):
                return deliveries

    def _take(self, queue: Queue, lane: Lane, limit: int) -> tuple[list[StoredMessage], list[Statement]]:
        """Take what can be delivered; bury what has expired or was delivered too often."""
        now = self._clock()
        taken: list[StoredMessage] = []
        dead: list[Statement] = []
        # What is taken comes from one page, so that memory does not depend on the size of messages.
        while len(taken) < limit and len(dead) < PAGE and (lane.ready or not taken):
            stored = lane.take(self._store)
            if stored is None:
                break
            if queue.expired(stored, now):
                dead += self._bury(stored, "TTLExpiredException", "The message expired before its delivery.")
            elif queue.exhausted(stored):
                dead += self._bury_exhausted(stored)
            else:
                taken.append(replace(stored, delivery_count=stored.delivery_count + 1))
        return taken, dead

    async def _lock(
        self, queue: Queue, lane: Lane, taken: Sequence[StoredMessage], dead: Sequence[Statement]
    ) -> list[Delivery]:
        """Lock messages, commit that their delivery begins, and only then hand them over."""
        locked = [(stored, lane.lease or self._lease(queue)) for stored in taken]
        lane.out.update((stored.sequence_number, (stored, lease)) for stored, lease in locked)
        try:
            counts = await self._database.submit([*map(self._store.count_delivery, taken), *dead])
        except asyncio.CancelledError:
            for stored, lease in locked:
                if lane.claim(stored.sequence_number, lease.token, self._clock()):
                    lane.give_back(stored)
            queue.tell()
            raise
        if dead:
            self._queue(queue.name + DEAD_LETTERS).tell()
        for stored, count in zip(taken, counts, strict=False):
            if not count:
                lane.out.pop(stored.sequence_number, None)
        return [
            Delivery(stored, lane.name, lease.token, lease.until)
            for (stored, lease), count in zip(locked, counts, strict=False)
            if count
        ]

    def _lease(self, queue: Queue) -> Lease:
        lease = Lease(self._new_id(), self._clock() + queue.properties.lock_duration)
        self._alarm.set(lease.until)
        return lease

    def _lock_session(self, queue: Queue, session: str) -> SessionLock:
        lease = self._lease(queue)
        queue.lanes[session] = Lane(queue.name, session, lease)
        return SessionLock(queue.name, session, lease.token, lease.until)

    def _session_lane(self, lock: SessionLock) -> Lane:
        lane = self._queue(lock.queue).lanes.get(lock.session)
        lease = lane.lease if lane is not None else None
        if lane is None or lease is None or lease.token != lock.token or lease.until <= self._clock():
            raise LockLostError(f"the lock on session {lock.session!r} of queue {lock.queue!r} is lost")
        return lane

    def _claim(self, deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
        now = self._clock()
        held: list[Delivery] = []
        lost: list[Delivery] = []
        for delivery in deliveries:
            lane = self._queue(delivery.stored.queue).lanes.get(delivery.lane)
            found = lane and lane.claim(delivery.stored.sequence_number, delivery.token, now)
            (held if found else lost).append(delivery)
        return held, lost

    def _bury(self, stored: StoredMessage, reason: str, description: str) -> list[Statement]:
        return self._store.move(
            stored.sequence_number,
            stored.queue,
            new=self._next_sequence(),
            to=stored.queue.removesuffix(DEAD_LETTERS) + DEAD_LETTERS,
            dead=(self._clock(), reason, description),
        )

    def _bury_exhausted(self, stored: StoredMessage) -> list[Statement]:
        said = f"The message could not be consumed in {stored.delivery_count} deliveries."
        return self._bury(stored, "MaxDeliveryCountExceeded", said)

    def _tell_dead_letters(self, dead: Sequence[StoredMessage]) -> None:
        for name in {stored.queue.removesuffix(DEAD_LETTERS) for stored in dead}:
            self._queue(name + DEAD_LETTERS).tell()


def _raise_if_lost(lost: Sequence[Delivery]) -> None:
    if lost:
        numbers = ", ".join(str(d.stored.sequence_number) for d in lost)
        raise LockLostError(f"queue {lost[0].stored.queue!r}: the lock is lost on message {numbers}")
