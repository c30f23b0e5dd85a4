"""Queues in dictionaries, with Service Bus's semantics."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from loom_core.adapters.limits import check_messages, check_queue
from loom_core.adapters.memory.messages import Held, Lock, Queue, delivery_of, is_locked
from loom_core.errors import ConflictError, InvalidError, NotFoundError, Problem
from loom_core.ports.queue import DEAD_LETTERS, DeadLetter, Delivery, Outcome, QueueMessage

_LONGEST_PEEK = 250
_LOOK_AGAIN = 0.05
"""Seconds after which one who waits looks whether a lock has run out or a message has come due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """Durations in seconds."""

    lock_duration: float = 60.0
    max_delivery_count: int = 10
    duplicate_window: float = 30 * 60.0
    longest_ttl: float = 14 * 86_400.0


class MemoryMessageQueue:
    """Queues come into being when they are first named; those in `sessions` have sessions. On one loop only.

    `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        sessions: Collection[str] = (),
        *,
        rules: QueueRules = QueueRules(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = frozenset(sessions)
        self._rules = rules
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()

    async def send(self, queue: str, messages: Sequence[QueueMessage]) -> tuple[int | None, ...]:
        bodies = check_messages(queue, messages)
        into = self._queue(queue)
        if into.sessions and (without := [i for i, m in enumerate(messages) if not m.session_id]):
            told = "this queue has sessions: every message needs a session id"
            raise InvalidError([Problem(f"$[{i}].sessionId", told) for i in without])
        numbers = tuple(self._add(into, m, body) for m, body in zip(messages, bodies, strict=True))
        self._tell()
        return numbers

    async def cancel(self, queue: str, number: int) -> None:
        if self._queue(queue).scheduled.pop(number, None) is None:
            raise NotFoundError(f"queue {queue!r} has no scheduled message {number}")

    async def receive(
        self, queue: str, *, session: str | None = None, limit: int = 1, wait: float = 0.0
    ) -> tuple[Delivery, ...]:
        if session is not None and not self._queue(queue).sessions:
            raise InvalidError(f"queue {queue!r} has no sessions")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            news = self._news
            found = self._take(queue, session, limit)
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_AGAIN)):
                    await news.wait()

    async def renew(self, delivery: Delivery) -> float:
        _, lock = self._claim(delivery)
        lock.until = self._clock() + self._rules.lock_duration
        return lock.until

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        queue, (held, _) = self._queue(delivery.queue), self._claim(delivery)
        held.lock = None
        if outcome == "complete":
            queue.remove(held)
        elif isinstance(outcome, DeadLetter):
            self._bury(delivery.queue, held, outcome)
        else:
            self._bury_if_spent(delivery.queue, held)
        self._tell()

    async def peek(self, queue: str, *, after: int = 0, limit: int = 100) -> tuple[Delivery, ...]:
        self._refresh(peeked := self._queue(queue))
        waiting = (held for lane in peeked.lanes.values() for held in lane.values() if held.number > after)
        found = sorted(waiting, key=lambda held: held.number)
        return tuple(delivery_of(queue, held) for held in found[: max(0, min(limit, _LONGEST_PEEK))])

    def _queue(self, name: str) -> Queue:
        check_queue(name)
        if name not in self._queues:
            self._queues[name] = Queue(sessions=name in self._sessions)
        return self._queues[name]

    def _add(self, queue: Queue, message: QueueMessage, body: str) -> int | None:
        now, number = self._clock(), next(self._numbers)
        due = message.due if message.due is not None and message.due > now else None
        if not self._is_new(queue, message.message_id, now):
            return number if due else None
        ttl = min(message.ttl or self._rules.longest_ttl, self._rules.longest_ttl)
        bare = replace(message, body=None, due=None, ttl=None, properties=dict(message.properties))
        held = Held(number, bare, body, now, (due or now) + ttl)
        if due is None:
            queue.add(held)
            return None
        queue.scheduled[number] = held
        heapq.heappush(queue.due, (due, number))
        return number

    def _is_new(self, queue: Queue, message_id: str, now: float) -> bool:
        for old in [*itertools.takewhile(lambda seen: queue.ids[seen] <= now, queue.ids)]:
            del queue.ids[old]
        if message_id in queue.ids:
            return False
        queue.ids[message_id] = now + self._rules.duplicate_window
        return True

    def _refresh(self, queue: Queue) -> None:
        """Enqueue, with new numbers, the scheduled messages whose time has come."""
        now = self._clock()
        while queue.due and queue.due[0][0] <= now:
            due, number = heapq.heappop(queue.due)
            if held := queue.scheduled.pop(number, None):
                queue.add(replace(held, number=next(self._numbers), enqueued_at=due))

    def _take(self, name: str, session: str | None, limit: int) -> tuple[Delivery, ...]:
        queue, now = self._queue(name), self._clock()
        self._refresh(queue)
        wanted = [session] if session is not None else [*queue.lanes]
        for lane in wanted:
            if lane not in queue.lanes or (queue.sessions and queue.is_held(lane, now)):
                continue
            if found := self._lock(name, [*queue.lanes[lane].values()], limit):
                if lane in queue.lanes:  # whoever was served makes way for the others
                    queue.lanes[lane] = queue.lanes.pop(lane)
                return found
        return ()

    def _lock(self, name: str, lane: Sequence[Held], limit: int) -> tuple[Delivery, ...]:
        queue, now = self._queue(name), self._clock()
        shared: Lock | None = None
        found: list[Delivery] = []
        for held in lane:
            if len(found) >= limit:
                break
            if is_locked(held, now) or self._bury_if_expired(name, held) or self._bury_if_spent(name, held):
                continue
            if shared is None or not queue.sessions:
                shared = Lock(f"{name}#{next(self._numbers)}", now + self._rules.lock_duration)
            held.lock = shared
            held.attempts += 1
            found.append(delivery_of(name, held, shared))
        return tuple(found)

    def _claim(self, delivery: Delivery) -> tuple[Held, Lock]:
        held = self._queue(delivery.queue).find(delivery)
        lock = held.lock if held else None
        if held is None or lock is None or lock.token != delivery.token or lock.until <= self._clock():
            raise ConflictError(f"queue {delivery.queue!r}: the lock is lost on message {delivery.number}")
        return held, lock

    def _bury_if_expired(self, name: str, held: Held) -> bool:
        if name.endswith(DEAD_LETTERS) or held.expires > self._clock():
            return False
        why = DeadLetter("TTLExpiredException", "The message expired before its delivery.")
        self._bury(name, held, why)
        return True

    def _bury_if_spent(self, name: str, held: Held) -> bool:
        if name.endswith(DEAD_LETTERS) or held.attempts < self._rules.max_delivery_count:
            return False
        said = f"The message could not be consumed in {held.attempts} deliveries."
        self._bury(name, held, DeadLetter("MaxDeliveryCountExceeded", said))
        return True

    def _bury(self, name: str, held: Held, why: DeadLetter) -> None:
        self._queue(name).remove(held)
        dead = replace(held, number=next(self._numbers), lock=None, dead=why)
        self._queue(name.removesuffix(DEAD_LETTERS) + DEAD_LETTERS).add(dead)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
