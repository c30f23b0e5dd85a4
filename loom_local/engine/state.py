"""The engine's nouns: instances, entities, messages and tasks, as they are in memory."""

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from loom_local.database.database import Value
from loom_local.engine.protocol import PENDING, TERMINAL


class Message(NamedTuple):
    """One row of the inbox."""

    seq: int
    target: str
    execution_id: str | None
    """The execution it answers, or that asks for a lock; None for what reaches whichever is current."""
    visible_at: float | None
    event: bytes
    request_id: bytes | None = None
    crashes: int = 0


class Task(NamedTuple):
    """One scheduled activity."""

    seq: int
    instance_id: str
    execution_id: str
    task_id: int
    name: str
    version: str | None
    input: str | None
    crashes: int = 0


INSTANCE_COLUMNS = (
    "id, execution_id, name, version, status, created_at, updated_at, completed_at, scheduled_at, "
    "parent_id, parent_execution_id, parent_task_id, tags, custom_status, output, failure"
)


@dataclass(slots=True, eq=False)
class Instance:
    """An orchestration. The first sixteen fields are its row."""

    id: str
    execution_id: str
    name: str
    version: str | None
    status: int
    created_at: float
    updated_at: float
    completed_at: float | None = None
    scheduled_at: float | None = None
    parent_id: str | None = None
    parent_execution_id: str | None = None
    parent_task_id: int | None = None
    tags: str | None = None
    custom_status: str | None = None
    output: str | None = None
    failure: bytes | None = None

    history: bytearray = field(default_factory=bytearray)
    events: int = 0
    steps: int = 0
    timed: bool = False
    """It may have timers that are not yet due."""
    inbox: deque[Message] = field(default_factory=deque)
    busy: bool = False
    queued: bool = False
    attempts: int = 0
    not_before: float = 0.0
    uncommitted: int = 0
    last_commit: asyncio.Future[tuple[int, ...]] | None = None

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def begun(self) -> bool:
        """Whether its start has come. Until then, whatever else is sent to it waits in the inbox."""
        return self.status != PENDING or bool(self.inbox and self._is_start(self.inbox[0]))

    def receive(self, message: Message) -> None:
        """Put a message into the inbox; the start comes before all others."""
        if not self.begun and self._is_start(message):
            self.inbox.appendleft(message)
        else:
            self.inbox.append(message)

    def _is_start(self, message: Message) -> bool:
        return message.execution_id == self.execution_id

    @property
    def settled(self) -> bool:
        """Whether the disk knows all that memory knows."""
        return self.last_commit is None or self.last_commit.done()

    @property
    def idle(self) -> bool:
        """Nothing in memory that is not on disk, and nothing to do."""
        return not (self.inbox or self.busy or self.queued or self.uncommitted)

    def tag_map(self) -> dict[str, str]:
        return json.loads(self.tags) if self.tags else {}

    def row(self) -> tuple[Value, ...]:
        return (
            self.id,
            self.execution_id,
            self.name,
            self.version,
            self.status,
            self.created_at,
            self.updated_at,
            self.completed_at,
            self.scheduled_at,
            self.parent_id,
            self.parent_execution_id,
            self.parent_task_id,
            self.tags,
            self.custom_status,
            self.output,
            self.failure,
        )


@dataclass(slots=True, eq=False)
class Entity:
    """An entity. While it is locked, messages it may not yet take wait apart, in their order."""

    id: str
    state: str | None = None
    modified_at: float = 0.0
    locked_by: str | None = None
    """The critical section that holds it."""
    lock_parent: str | None = None
    """The orchestration whose critical section that is."""

    inbox: deque[Message] = field(default_factory=deque)
    blocked: deque[Message] = field(default_factory=deque)
    busy: bool = False
    queued: bool = False
    attempts: int = 0

    @property
    def idle(self) -> bool:
        return not (self.inbox or self.blocked or self.busy or self.queued or self.locked_by)


def is_entity(target: str) -> bool:
    return target.startswith("@")
