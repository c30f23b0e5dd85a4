"""The broker against a model of it: whatever the order of events, restarts included."""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from loom_local.broker import Broker, Delivery, LockLostError, Message, QueueProperties, SessionLock
from loom_local.database import Database

MAX_DELIVERIES = 3
LOCK = 60.0
TTL = 500.0
WINDOW = 200.0
PROPERTIES = {
    sessions: QueueProperties(
        requires_session=sessions, max_delivery_count=MAX_DELIVERIES, default_ttl=TTL, duplicate_window=WINDOW
    )
    for sessions in (False, True)
}
SESSIONS = ("ada", "bob", "cyd")


@dataclass(slots=True)
class Known:
    """What the model knows of a message: `queue` is where it must be found, None once it is gone."""

    body: bytes
    session: str
    queue: str | None
    order: int
    expires: float
    due: float | None = None
    deliveries: int = 0
    locked_until: float = 0.0
    delivery: Delivery | None = None


@dataclass(slots=True)
class Model:
    messages: dict[bytes, Known] = field(default_factory=dict)
    ids: dict[tuple[str, str], float] = field(default_factory=dict)
    sessions: dict[str, tuple[str, float]] = field(default_factory=dict)


class BrokerMachine(RuleBasedStateMachine):
    deliveries = Bundle("deliveries")
    locks = Bundle("locks")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_000.0
        self.model = Model()
        self.order = 0
        self.open()

    def open(self) -> None:
        self.database = Database.open(Path(self.folder.name) / "loom.db", durable=False)
        self.broker = Broker(self.database, clock=lambda: self.now)
        self.run(self.declare())

    async def declare(self) -> None:
        await self.broker.declare("work", PROPERTIES[False])
        await self.broker.declare("mail", PROPERTIES[True])
        await self.broker.tick()

    def run[T](self, work) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.broker.drain())
        self.database.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
        self.folder.cleanup()

    def next_order(self) -> int:
        self.order += 1
        return self.order

    def waiting(self, queue: str, session: str | None = None) -> list[Known]:
        """Messages that can be received now, in order."""
        found = [
            m
            for m in self.model.messages.values()
            if m.queue == queue
            and m.due is None
            and m.locked_until <= self.now
            and session in (None, m.session)
        ]
        return sorted(found, key=lambda m: m.order)

    def bury_dead(self, waiting: list[Known], limit: int) -> list[Known]:
        """Follow the broker through a lane: what is dead on the way is buried, up to `limit` are alive."""
        alive: list[Known] = []
        for message in waiting:
            if len(alive) == limit:
                break
            if message.expires <= self.now or message.deliveries >= MAX_DELIVERIES:
                message.queue, message.order = "dead", self.next_order()
            else:
                alive.append(message)
        return alive

    # Sending

    @rule(
        queue=st.sampled_from(["work", "mail"]),
        sessions=st.lists(st.sampled_from(SESSIONS), min_size=1, max_size=4),
        ids=st.lists(st.sampled_from([None, "i", "j", None, "k"]), min_size=4, max_size=4),
        delay=st.sampled_from([None, None, None, 30.0, 90.0]),
    )
    def send(self, queue: str, sessions: list[str], ids: list[str | None], delay: float | None) -> None:
        sent = []
        for session, message_id in zip(sessions, ids, strict=False):
            body = f"{queue} {self.next_order()}".encode()
            due = None if delay is None else self.now + delay
            sent.append(
                Message(body=body, session_id=session, message_id=message_id, scheduled_enqueue_time=due)
            )
        results = self.run(self.broker.send(queue, sent))
        for message, result in zip(sent, results, strict=True):
            key = (queue, message.message_id or "")
            duplicate = message.message_id is not None and self.model.ids.get(key, 0) > self.now
            assert result.duplicate == duplicate
            if duplicate:
                continue
            if message.message_id is not None:
                self.model.ids[key] = self.now + WINDOW
            due = message.scheduled_enqueue_time
            self.model.messages[message.body] = Known(
                message.body,
                message.session_id or "",
                queue,
                self.next_order(),
                expires=(due or self.now) + TTL,
                due=due,
            )

    # Receiving

    @rule(target=deliveries, limit=st.integers(1, 3))
    def receive(self, limit: int):
        found = self.run(self.broker.receive("work", limit))
        expected = self.bury_dead(self.waiting("work"), limit)
        if len(found) < len(expected):  # the end of a page in memory: fewer, but the first ones
            assert found
            expected = expected[: len(found)]
        return self.delivered(found, expected)

    @rule(target=locks)
    def accept(self):
        locks = self.run(self.broker.accept_sessions("mail"))
        held = {s for s, (_, until) in self.model.sessions.items() if until > self.now}
        free = {m.session for m in self.waiting("mail")} - held
        assert {lock.session for lock in locks} <= free
        assert bool(locks) == bool(free)
        for lock in locks:
            self.model.sessions[lock.session] = (lock.token, self.now + LOCK)
        return multiple(*locks)

    @rule(target=deliveries, lock=locks, limit=st.integers(1, 2))
    def receive_session(self, lock: SessionLock, limit: int):
        if not self.holds(lock):
            self.loses(self.broker.receive_session(lock, limit))
            return multiple()
        found = self.run(self.broker.receive_session(lock, limit))
        expected = self.bury_dead(self.waiting("mail", lock.session), limit)
        if len(found) < len(expected):
            assert found
            expected = expected[: len(found)]
        return self.delivered(found, expected, until=self.model.sessions[lock.session][1])

    def delivered(self, found: list[Delivery], expected: list[Known], until: float | None = None):
        assert [d.stored.message.body for d in found] == [m.body for m in expected]
        for delivery, message in zip(found, expected, strict=True):
            message.deliveries += 1
            message.delivery = delivery
            message.locked_until = self.now + LOCK if until is None else until
            assert delivery.stored.delivery_count == message.deliveries
            assert delivery.locked_until == message.locked_until
        return multiple(*found)

    # Settling

    def held(self, delivery: Delivery) -> Known | None:
        """The message, if this delivery is the one that has it locked."""
        message = self.model.messages[delivery.stored.message.body]
        if message.queue != delivery.stored.queue or message.delivery is not delivery:
            return None
        if delivery.lane and self.model.sessions.get(delivery.lane, ("", 0))[0] != delivery.token:
            return None
        return message if message.locked_until > self.now else None

    def holds(self, lock: SessionLock) -> bool:
        token, until = self.model.sessions.get(lock.session, ("", 0.0))
        return token == lock.token and until > self.now

    def loses(self, work) -> None:
        try:
            self.run(work)
        except LockLostError:
            return
        raise AssertionError("the lock should have been lost")

    @rule(delivery=consumes(deliveries))
    def complete(self, delivery: Delivery) -> None:
        message = self.held(delivery)
        if message is None:
            self.loses(self.broker.complete(delivery))
        else:
            self.run(self.broker.complete(delivery))
            message.queue = None

    @rule(delivery=consumes(deliveries))
    def abandon(self, delivery: Delivery) -> None:
        message = self.held(delivery)
        if message is None:
            self.loses(self.broker.abandon(delivery))
            return
        self.run(self.broker.abandon(delivery))
        message.locked_until = 0.0
        if message.deliveries >= MAX_DELIVERIES:
            message.queue, message.order = "dead", self.next_order()

    @rule(delivery=consumes(deliveries))
    def dead_letter(self, delivery: Delivery) -> None:
        message = self.held(delivery)
        if message is None:
            self.loses(self.broker.dead_letter(delivery, "because"))
            return
        self.run(self.broker.dead_letter(delivery, "because"))
        message.queue, message.order, message.locked_until = "dead", self.next_order(), 0.0

    @rule(lock=consumes(locks))
    def release(self, lock: SessionLock) -> None:
        self.run(self.broker.release_session(lock))
        if self.holds(lock):
            self.end_session(lock.session)

    def end_session(self, session: str) -> None:
        del self.model.sessions[session]
        for message in self.model.messages.values():
            if message.queue == "mail" and message.session == session:
                message.locked_until = 0.0

    @rule(lock=locks)
    def renew(self, lock: SessionLock) -> None:
        if not self.holds(lock):
            self.loses(self.broker.renew_session(lock))
            return
        self.run(self.broker.renew_session(lock))
        _, until = self.model.sessions[lock.session]
        for message in self.model.messages.values():
            if message.queue == "mail" and message.session == lock.session and message.locked_until == until:
                message.locked_until = self.now + LOCK
        self.model.sessions[lock.session] = (lock.token, self.now + LOCK)

    # Time, and what else happens

    @rule(seconds=st.sampled_from([61.0, 20.0, 210.0, 600.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self.tick()

    def tick(self) -> None:
        self.run(self.broker.tick())
        due = [m for m in self.model.messages.values() if m.due is not None and m.due <= self.now]
        for message in sorted(due, key=lambda m: (m.due, m.order)):
            message.due, message.order = None, self.next_order()

    @rule()
    def restart(self) -> None:
        self.run(self.broker.drain())
        self.database.close()
        self.open()
        self.model.sessions.clear()
        for message in self.model.messages.values():
            message.locked_until = 0.0
        self.tick()

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        dead = {
            stored.message.body: (name, stored.sequence_number)
            for name in ("work", "mail")
            for stored in self.run(self.broker.dead_letters(name))
        }
        if not dead:
            return
        body = data.draw(st.sampled_from(sorted(dead)))
        self.run(self.broker.replay(*dead[body]))
        message = self.model.messages[body]
        message.queue, message.order, message.deliveries = dead[body][0], self.next_order(), 0
        message.expires, message.locked_until = self.now + TTL, 0.0

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        found = {name: self.run(self.broker.peek(name)) for name in ("work", "mail")}
        for name, stored in found.items():
            mine = [m for m in self.model.messages.values() if m.queue == name and m.due is None]
            assert [s.message.body for s in stored] == [m.body for m in sorted(mine, key=lambda m: m.order)]
            assert [s.delivery_count for s in stored] == [
                m.deliveries for m in sorted(mine, key=lambda m: m.order)
            ]
        dead = [s for name in ("work", "mail") for s in self.run(self.broker.dead_letters(name))]
        buried = [m.body for m in self.model.messages.values() if m.queue == "dead"]
        assert sorted(s.message.body for s in dead) == sorted(buried)


TestBrokerAgainstItsModel = BrokerMachine.TestCase
TestBrokerAgainstItsModel.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
