"""One step of an orchestration: replay it over what is new, then commit all it asked for at once."""

import logging
import time
from typing import TYPE_CHECKING

from loom_local.engine.actions import Applied, apply_actions
from loom_local.engine.activities import backoff
from loom_local.engine.locks import release_locks
from loom_local.engine.protocol import (
    COMPLETED,
    FAILED,
    PENDING,
    RUNNING,
    SUSPENDED,
    TERMINATED,
    as_past,
    event,
    failure,
    new_execution_id,
    orchestrator_request,
    pb,
    text,
)
from loom_local.engine.rewind import is_rewind, rewind
from loom_local.engine.state import Instance, Message

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction

log = logging.getLogger("loom.engine")

LONG_HISTORY = 500
"""Events from which steps are spaced out, so that replay does not eat the machine: a step waits until what
is replayed has cost at most a quarter of the time."""
AHEAD = 16
"""Steps one instance may be ahead of the disk."""


class Orchestrations:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def run(self, instance: Instance) -> None:
        instance.queued = False
        if instance.busy or not instance.inbox or not self._engine.instances.current(instance):
            return
        instance.busy = True
        try:
            if instance.uncommitted > AHEAD and instance.last_commit is not None:
                await instance.last_commit
            await self._step(instance)
        finally:
            instance.busy = False
        if instance.inbox and self._engine.instances.current(instance):
            self._engine.enqueue(instance)
        else:
            self._engine.instances.release(instance)

    async def _step(self, instance: Instance) -> None:
        engine = self._engine
        # They stay in the inbox, for whoever replaces the run to consume. The SDK takes a rewind only alone.
        messages = [instance.inbox[0]] if is_rewind(instance.inbox[0].event) else list(instance.inbox)
        current = [m for m in messages if m.execution_id in {None, instance.execution_id}]
        if not current:
            self._finish(instance, messages, [], None)
            return
        started = event(engine.clock(), orchestratorStarted=pb.OrchestratorStartedEvent()).SerializeToString()
        news = [started, *(m.event for m in current)]
        crashes = max(m.crashes for m in current)
        async with engine.suspects.watch(f"instance:{instance.id}", crashes) as refusal:
            response = _failed(refusal) if refusal else await self._replay(instance, news)
            # A run that was replaced meanwhile has nothing to finish: its messages went with it.
            if response is not None and engine.instances.current(instance):
                self._finish(instance, messages, news, response)

    def _finish(
        self,
        instance: Instance,
        messages: list[Message],
        news: list[bytes],
        response: pb.OrchestratorResponse | None,
    ) -> None:
        transaction = self._engine.transaction()
        for message in messages:
            instance.inbox.popleft()
            transaction.consume(message)
        if response is not None:
            self._apply(instance, transaction, news, response)
        transaction.touch(instance)
        transaction.commit()

    async def _replay(self, instance: Instance, news: list[bytes]) -> pb.OrchestratorResponse | None:
        """The orchestrator's answer, or None when it could not be run and should be tried again later."""
        engine = self._engine
        request = orchestrator_request(instance.id, instance.execution_id, instance.history, news)
        before = time.perf_counter()
        try:
            answer = await engine.worker.run_orchestrator(instance.name, request)
            response = pb.OrchestratorResponse.FromString(answer)
        except Exception as error:
            instance.attempts += 1
            attempts = engine.limits.attempts
            log.exception(
                "%s could not be replayed (attempt %d of %d)", instance.id, instance.attempts, attempts
            )
            if instance.attempts >= attempts:
                return _failed(f"{instance.name} could not be replayed in {attempts} attempts: {error}")
            instance.not_before = engine.clock() + backoff(instance.attempts)
            return None
        instance.attempts = 0
        if instance.events > LONG_HISTORY:
            instance.not_before = engine.clock() + min(3 * (time.perf_counter() - before), 2.0)
        return response

    def _apply(
        self,
        instance: Instance,
        transaction: "Transaction",
        news: list[bytes],
        response: pb.OrchestratorResponse,
    ) -> None:
        before = instance.status
        if instance.status == PENDING:
            instance.status = RUNNING
        _follow_suspension(instance, news)
        if response.HasField("customStatus"):
            instance.custom_status = response.customStatus.value
        instance.updated_at = transaction.now
        applied = apply_actions(transaction, self._engine, instance, response.actions)
        if applied.continued is not None:
            self._continue_as_new(instance, transaction, applied.continued)
        elif applied.rewound is not None:
            rewind(self._engine, instance, transaction, applied.rewound)
        else:
            self._append(instance, transaction, news, applied)
        transaction.save(instance)
        if instance.status != before and (notify := self._engine.waiters.snapshot(instance)):
            transaction.after_commit(notify)

    def _append(
        self, instance: Instance, transaction: "Transaction", news: list[bytes], applied: Applied
    ) -> None:
        """Add what happened to the history, and end the instance when it is complete."""
        now = transaction.now
        events = [*news, *(e.SerializeToString() for e in applied.events)]
        events.append(event(now, orchestratorCompleted=pb.OrchestratorCompletedEvent()).SerializeToString())
        done = applied.completed or self._overgrown(instance, len(events))
        if done is not None:
            if done.orchestrationStatus == TERMINATED:
                self._terminate_children(instance, transaction, news)
            events.append(self._complete(instance, transaction, done).SerializeToString())
        step = b"".join(map(as_past, events))
        transaction.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?)", instance.id, instance.steps, len(events), step
        )
        instance.history += step
        instance.events += len(events)
        instance.steps += 1

    def _overgrown(self, instance: Instance, added: int) -> pb.CompleteOrchestrationAction | None:
        limits = self._engine.limits
        if instance.events + added <= limits.history_events and len(instance.history) <= limits.history_bytes:
            return None
        reason = (
            f"the history has {instance.events + added} events ({len(instance.history) >> 20} MB); the limit "
            f"is {limits.history_events} ({limits.history_bytes >> 20} MB). Use continue_as_new, or "
            "sub-orchestrations."
        )
        return _failed(reason, "HistoryTooLarge").actions[0].completeOrchestration

    def _complete(
        self, instance: Instance, transaction: "Transaction", done: pb.CompleteOrchestrationAction
    ) -> pb.HistoryEvent:
        instance.status = done.orchestrationStatus
        instance.output = done.result.value if done.HasField("result") else None
        instance.failure = (
            done.failureDetails.SerializeToString() if done.HasField("failureDetails") else None
        )
        instance.completed_at = transaction.now
        transaction.abandon(instance)
        release_locks(self._engine, transaction, instance.id)
        self.tell_parent(instance, transaction)
        completed = pb.ExecutionCompletedEvent(
            orchestrationStatus=instance.status, result=text(instance.output)
        )
        if instance.failure is not None:
            completed.failureDetails.CopyFrom(done.failureDetails)
        return event(transaction.now, executionCompleted=completed)

    def _terminate_children(self, instance: Instance, transaction: "Transaction", news: list[bytes]) -> None:
        """End what a terminated instance started, when whoever terminated it asked for that."""
        for raw in news:
            parsed = pb.HistoryEvent.FromString(raw)
            if parsed.executionTerminated.recurse:
                for child_id in self._engine.queries.children(instance.id):
                    child = self._engine.instances.get(child_id)
                    if child is not None and not child.terminal:
                        transaction.send(
                            child_id, event(transaction.now, executionTerminated=parsed.executionTerminated)
                        )
                return

    def end(self, instance: Instance, transaction: "Transaction", output: str | None) -> None:
        """Terminate an instance without asking its orchestrator."""
        done = pb.CompleteOrchestrationAction(orchestrationStatus=TERMINATED, result=text(output))
        self._append(instance, transaction, [], Applied(completed=done))
        instance.updated_at = transaction.now
        transaction.save(instance)
        transaction.touch(instance)
        if notify := self._engine.waiters.snapshot(instance):
            transaction.after_commit(notify)

    @staticmethod
    def tell_parent(instance: Instance, transaction: "Transaction") -> None:
        if instance.parent_id is None or instance.parent_task_id is None:
            return
        task_id = instance.parent_task_id
        if instance.status == COMPLETED:
            done = pb.SubOrchestrationInstanceCompletedEvent(
                taskScheduledId=task_id, result=text(instance.output)
            )
            told = event(transaction.now, subOrchestrationInstanceCompleted=done)
        else:
            failed = pb.SubOrchestrationInstanceFailedEvent(taskScheduledId=task_id)
            if instance.failure is not None:
                failed.failureDetails.ParseFromString(instance.failure)
            else:
                verb = "terminated" if instance.status == TERMINATED else "failed"
                failed.failureDetails.CopyFrom(failure("SubOrchestrationFailed", f"{instance.id} was {verb}"))
            told = event(transaction.now, subOrchestrationInstanceFailed=failed)
        transaction.send(instance.parent_id, told, execution_id=instance.parent_execution_id)

    @staticmethod
    def _continue_as_new(
        instance: Instance, transaction: "Transaction", done: pb.CompleteOrchestrationAction
    ) -> None:
        """Begin the next generation: its start, then the events carried over, then those still unread."""
        unread = [m for m in instance.inbox if m.execution_id is None]
        transaction.abandon(instance)
        transaction.clear_history(instance)
        instance.execution_id = new_execution_id()
        instance.status = RUNNING
        if done.HasField("newVersion"):
            instance.version = done.newVersion.value
        encoded = done.result.value if done.HasField("result") else None
        transaction.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?)", instance.id, encoded)
        started = pb.ExecutionStartedEvent(
            name=instance.name,
            version=text(instance.version),
            input=text(encoded),
            tags=instance.tag_map(),
        )
        started.orchestrationInstance.instanceId = instance.id
        started.orchestrationInstance.executionId.value = instance.execution_id
        if instance.parent_id is not None:
            link = started.parentInstance
            link.taskScheduledId = instance.parent_task_id or 0
            link.orchestrationInstance.instanceId = instance.parent_id
            link.orchestrationInstance.executionId.value = instance.parent_execution_id or ""
        transaction.send(
            instance.id, event(transaction.now, executionStarted=started), execution_id=instance.execution_id
        )
        for carried in (*done.carryoverEvents, *(pb.HistoryEvent.FromString(m.event) for m in unread)):
            transaction.send(instance.id, carried)


_SUSPENSION = (b"\xaa\x01", b"\xb2\x01")
"""The tags of HistoryEvent fields 21 and 22: a cheap look before the parse."""


def _follow_suspension(instance: Instance, news: list[bytes]) -> None:
    for raw in news:
        if not any(tag in raw for tag in _SUSPENSION):
            continue
        kind = pb.HistoryEvent.FromString(raw).WhichOneof("eventType")
        if kind == "executionSuspended":
            instance.status = SUSPENDED
        elif kind == "executionResumed":
            instance.status = RUNNING


def _failed(reason: str, error_type: str = "PoisonWorkItem") -> pb.OrchestratorResponse:
    done = pb.CompleteOrchestrationAction(
        orchestrationStatus=FAILED, failureDetails=failure(error_type, reason)
    )
    return pb.OrchestratorResponse(actions=[pb.OrchestratorAction(id=-1, completeOrchestration=done)])
