"""Everything one step changes, as one atomic commit.

Orchestrators have no effects of their own, so a message to one is delivered as soon as its transaction is
queued at the single, ordered writer. Whatever leaves the engine (activities, entities, timers, answers to
clients) waits for the commit.
"""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from loom_local.database import Statement
from loom_local.database.database import Value
from loom_local.engine.protocol import PENDING, event, pb, text, timestamp
from loom_local.engine.state import Instance, Message, Task, is_entity

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine

PLACES = ", ".join("?" * 16)


class Transaction:
    """Collects statements, messages, tasks and new instances; `commit` makes them so."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.now = engine.clock()
        self.statements: list[Statement] = []
        self._consumed: list[tuple[Value, ...]] = []
        self._messages: list[Message] = []
        self._tasks: list[Task] = []
        self._done: list[tuple[Value, ...]] = []
        self._touched: dict[str, Instance] = {}
        self._after: list[Callable[[], None]] = []

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.statements or self._consumed or self._messages or self._done)

    def execute(self, sql: str, *parameters: Value) -> None:
        self.statements.append((sql, parameters))

    def consume(self, message: Message) -> None:
        """Take a message out of the inbox."""
        self._consumed.append((message.seq,))

    def done(self, task: int) -> None:
        """Take an activity out of the queue."""
        self._done.append((task,))

    def send(
        self,
        target: str,
        sent: pb.HistoryEvent,
        *,
        execution_id: str | None = None,
        visible_at: float | None = None,
        request_id: bytes | None = None,
    ) -> None:
        """Put a message into an instance's or entity's inbox, visible at once or at a time."""
        later = visible_at if visible_at is not None and visible_at > self.now else None
        self._messages.append(
            Message(
                self._engine.next_seq(), target, execution_id, later, sent.SerializeToString(), request_id
            )
        )

    def schedule(self, instance: Instance, task_id: int, action: pb.ScheduleTaskAction) -> None:
        """Put an activity into the queue."""
        self._tasks.append(
            Task(
                self._engine.next_seq(),
                instance.id,
                instance.execution_id,
                task_id,
                action.name,
                action.version.value or None,
                action.input.value if action.HasField("input") else None,
            )
        )

    def start(
        self,
        instance_id: str,
        name: str,
        encoded: str | None,
        version: str | None = None,
        *,
        parent: tuple[Instance, int] | None = None,
        tags: dict[str, str] | None = None,
        at: float | None = None,
        replaces: bool = False,
    ) -> Instance:
        """Create an instance; with `replaces`, in the place of one that has ended or been abandoned."""
        instance = Instance(
            id=instance_id or uuid.uuid4().hex,
            execution_id=uuid.uuid4().hex,
            name=name,
            version=version,
            status=PENDING,
            created_at=self.now,
            updated_at=self.now,
            scheduled_at=at,
            tags=json.dumps(tags) if tags else None,
        )
        started = pb.ExecutionStartedEvent(name=name, version=text(version), input=text(encoded), tags=tags)
        started.orchestrationInstance.instanceId = instance.id
        started.orchestrationInstance.executionId.value = instance.execution_id
        if at is not None:
            started.scheduledStartTimestamp.CopyFrom(timestamp(at))
        if parent is not None:
            above, task_id = parent
            instance.parent_id, instance.parent_execution_id = above.id, above.execution_id
            instance.parent_task_id = task_id
            link = started.parentInstance
            link.taskScheduledId = task_id
            link.name.value = above.name
            link.orchestrationInstance.instanceId = above.id
            link.orchestrationInstance.executionId.value = above.execution_id
        if replaces:
            self.execute("DELETE FROM history WHERE id = ?", instance.id)
        self.execute(f"INSERT OR REPLACE INTO instances VALUES ({PLACES})", *instance.row())
        self.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?)", instance.id, encoded)
        self.touch(instance)
        instance.timed = at is not None
        self._engine.instances.add(instance)
        sent = event(self.now, executionStarted=started)
        self.send(instance.id, sent, execution_id=instance.execution_id, visible_at=at)
        return instance

    def abandon(self, instance: Instance) -> None:
        """Drop the scheduled activities, the timers and the unread messages of an instance."""
        while instance.inbox:
            self.consume(instance.inbox.popleft())
        for seq in self._engine.outstanding.pop(instance.id, ()):
            self.done(seq)
        if instance.timed:
            instance.timed = False
            self._engine.timers.cancel(instance.id)
            self.execute("DELETE FROM inbox WHERE target = ? AND visible_at IS NOT NULL", instance.id)
            self._messages = [m for m in self._messages if m.target != instance.id or m.visible_at is None]

    def clear_history(self, instance: Instance) -> None:
        self.execute("DELETE FROM history WHERE id = ?", instance.id)
        instance.history = bytearray()
        instance.events = instance.steps = 0

    def save(self, instance: Instance) -> None:
        """Write what a step can change of the instance's row."""
        self.execute(
            "UPDATE instances SET execution_id = ?, version = ?, status = ?, updated_at = ?, "
            "completed_at = ?, parent_execution_id = ?, custom_status = ?, output = ?, failure = ? "
            "WHERE id = ?",
            instance.execution_id,
            instance.version,
            instance.status,
            instance.updated_at,
            instance.completed_at,
            instance.parent_execution_id,
            instance.custom_status,
            instance.output,
            instance.failure,
            instance.id,
        )

    def touch(self, instance: Instance) -> None:
        """Say that this commit changes the instance, so that it stays in memory until then."""
        self._touched[instance.id] = instance

    def after_commit(self, action: Callable[[], None]) -> None:
        self._after.append(action)

    def commit(self, *, patient: bool = False) -> asyncio.Future[tuple[int, ...]]:
        """Queue the commit; deliver to orchestrators at once and to everything else when it is on disk.

        `patient` says that a step which commits more is about to follow.
        """
        if self._consumed:
            self.statements.append(("DELETE FROM inbox WHERE seq = ?", self._consumed))
        if self._done:
            self.statements.append(("DELETE FROM tasks WHERE seq = ?", self._done))
        if self._messages:
            rows: list[tuple[Value, ...]] = [
                (m.seq, m.target, m.execution_id, m.visible_at, m.request_id, m.event) for m in self._messages
            ]
            columns = "seq, target, execution_id, visible_at, request_id, event"
            self.statements.append((f"INSERT INTO inbox ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows))
        if self._tasks:
            tasks: list[tuple[Value, ...]] = [task[:7] for task in self._tasks]
            columns = "seq, instance_id, execution_id, task_id, name, version, input"
            self.statements.append((f"INSERT INTO tasks ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", tasks))
            for task in self._tasks:
                self._engine.outstanding[task.instance_id][task.seq] = task
        committed = self._engine.database.submit(self.statements, patient=patient)
        for instance in self._touched.values():
            instance.uncommitted += 1
            instance.last_commit = committed
        committed.add_done_callback(self._committed)
        for message in self._messages:
            if message.visible_at is None and not is_entity(message.target):
                self._engine.deliver(message)
        return committed

    def _committed(self, _: asyncio.Future[tuple[int, ...]]) -> None:
        try:
            self._take_effect()
        except Exception as error:  # noqa: BLE001 - asyncio would log it and go on without what was to happen
            self._engine.on_defect(error)

    def _take_effect(self) -> None:
        engine = self._engine
        for instance in self._touched.values():
            instance.uncommitted -= 1
        for message in self._messages:
            if message.visible_at is not None:
                if self._awaited(message):
                    engine.timers.add(message)
            elif is_entity(message.target):
                engine.deliver(message)
        for task in self._tasks:
            engine.activities.put(task)
        for action in self._after:
            action()
        for instance in self._touched.values():
            engine.instances.release(instance)

    def _awaited(self, timer: Message) -> bool:
        """Whether a timer is still of use: its run may have ended before this commit was on disk."""
        instance = self._touched.get(timer.target)
        return instance is None or (not instance.terminal and instance.execution_id == timer.execution_id)
