"""What the queues in memory hold: messages, in lanes, under locks."""

import json
from dataclasses import dataclass, replace

from loom_core.ports.queue import DeadLetter, Delivery, QueueMessage


@dataclass(slots=True)
class Lock:
    """On one message or, in a queue with sessions, on all that were received together."""

    token: str
    until: float


@dataclass(slots=True)
class Held:
    """`message` without its body, which is JSON text, so that no caller shares an object with the queue."""

    number: int
    message: QueueMessage
    body: str
    enqueued_at: float
    expires: float
    attempts: int = 0
    lock: Lock | None = None
    dead: DeadLetter | None = None


type Lane = dict[int, Held]


class Queue:
    """Lanes of messages by number: one a session, or one in all."""

    def __init__(self, *, sessions: bool) -> None:
        self.sessions = sessions
        self.lanes: dict[str, Lane] = {}
        self.scheduled: dict[int, Held] = {}
        self.due: list[tuple[float, int]] = []
        self.ids: dict[str, float] = {}

    def lane_of(self, message: QueueMessage) -> str:
        return (message.session_id or "") if self.sessions else ""

    def add(self, held: Held) -> None:
        self.lanes.setdefault(self.lane_of(held.message), {})[held.number] = held

    def find(self, delivery: Delivery) -> Held | None:
        return self.lanes.get(self.lane_of(delivery.message), {}).get(delivery.number)

    def remove(self, held: Held) -> None:
        name = self.lane_of(held.message)
        del self.lanes[name][held.number]
        if not self.lanes[name]:
            del self.lanes[name]

    def is_held(self, name: str, now: float) -> bool:
        """Whether somebody receives from this session."""
        return any(is_locked(held, now) for held in self.lanes[name].values())


def is_locked(held: Held, now: float) -> bool:
    return held.lock is not None and held.lock.until > now


def delivery_of(queue: str, held: Held, lock: Lock | None = None) -> Delivery:
    return Delivery(
        queue=queue,
        number=held.number,
        message=replace(held.message, body=json.loads(held.body)),
        attempts=held.attempts,
        enqueued_at=held.enqueued_at,
        token=lock.token if lock else "",
        locked_until=lock.until if lock else 0.0,
        dead=held.dead,
    )
