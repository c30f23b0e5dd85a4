"""One batch of an entity: what its lock admits, in order of commit, as one transaction."""

import logging
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_local.engine import locks
from loom_local.engine.activities import backoff
from loom_local.engine.protocol import event, failure, pb, seconds, text
from loom_local.engine.state import Entity, Message, is_entity

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction

log = logging.getLogger("loom.engine")

type Called = pb.EntityOperationCalledEvent


@dataclass(slots=True)
class Batch:
    """Operations to run in one go, with who waits for each answer."""

    messages: list[Message] = field(default_factory=list[Message])
    operations: list[pb.OperationRequest] = field(default_factory=list[pb.OperationRequest])
    callers: list[Called | None] = field(default_factory=list["Called | None"])


class EntityBatches:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def run(self, entity: Entity) -> None:
        entity.queued = False
        if entity.busy or not entity.inbox:
            return
        entity.busy = True
        pause = 0.0
        try:
            pause = await self._step(entity)
        finally:
            entity.busy = False
        if entity.inbox:
            self._engine.enqueue_entity(entity, pause)
        else:
            self._engine.entities.trim()

    async def _step(self, entity: Entity) -> float:
        """Run one batch; returns the seconds to wait before the next when it could not be run."""
        engine = self._engine
        transaction = engine.transaction()
        batch = self._admit(entity, transaction)
        if batch.operations:
            crashes = max(m.crashes for m in batch.messages)
            async with engine.suspects.watch(f"entity:{entity.id}", crashes) as refusal:
                result = _refused(batch, entity, refusal) if refusal else await self._operate(entity, batch)
                if result is None:
                    entity.inbox.extendleft(reversed(batch.messages))
                    batch = Batch()
                else:
                    self._apply(entity, transaction, batch, result)
        for message in batch.messages:
            transaction.consume(message)
        ids = b"".join(m.request_id for m in batch.messages if m.request_id)
        if ids:
            transaction.execute(
                "INSERT INTO requests VALUES (?, ?, ?)", engine.next_seq(), transaction.now, ids
            )
        if transaction.dirty:
            transaction.execute(
                "INSERT OR REPLACE INTO entities VALUES (?, ?, ?, ?, ?)",
                entity.id,
                entity.state,
                entity.modified_at,
                entity.locked_by,
                entity.lock_parent,
            )
            # The next batch forms while this one is synced: that is what makes batches.
            await transaction.commit()
        return backoff(entity.attempts) if entity.attempts else 0.0

    def _admit(self, entity: Entity, transaction: "Transaction") -> Batch:
        """Take from the inbox what may run now; requests for the lock and its release take effect here."""
        batch = Batch()
        while entity.inbox and len(batch.operations) < self._engine.limits.entity_batch:
            message = entity.inbox.popleft()
            parsed = pb.HistoryEvent.FromString(message.event)
            kind = parsed.WhichOneof("eventType")
            if kind == "entityUnlockSent":
                transaction.consume(message)
                if entity.locked_by == parsed.entityUnlockSent.criticalSectionId:
                    locks.release(self._engine, entity)
            elif kind == "entityOperationCalled" and (
                entity.locked_by is None
                or entity.lock_parent == parsed.entityOperationCalled.parentInstanceId.value
            ):
                _add(batch, message, parsed.entityOperationCalled, parsed.entityOperationCalled)
            elif entity.locked_by is not None:
                entity.blocked.append(message)
            elif kind == "entityLockRequested":
                if batch.operations:
                    entity.inbox.appendleft(message)
                    break
                transaction.consume(message)
                self._lock(entity, transaction, message, parsed)
            elif kind == "entityOperationSignaled":
                _add(batch, message, parsed.entityOperationSignaled, None)
            else:
                log.error("entity %s was sent a message it does not understand: %s", entity.id, kind)
                transaction.consume(message)
        return batch

    def _lock(
        self, entity: Entity, transaction: "Transaction", message: Message, parsed: pb.HistoryEvent
    ) -> None:
        """Take the lock and pass the request on to the next entity of the set, or tell the orchestration."""
        request = parsed.entityLockRequested
        parent = self._engine.instances.get(request.parentInstanceId.value)
        if parent is None or parent.terminal or parent.execution_id != message.execution_id:
            return  # that execution ended while its request was under way; what it holds was released then
        locks.acquire(self._engine, entity, request)
        if request.position + 1 < len(request.lockSet):
            request.position += 1
            transaction.send(request.lockSet[request.position], parsed, execution_id=message.execution_id)
        else:
            granted = pb.EntityLockGrantedEvent(criticalSectionId=request.criticalSectionId)
            transaction.send(
                request.parentInstanceId.value,
                event(transaction.now, entityLockGranted=granted),
                execution_id=message.execution_id,
            )

    async def _operate(self, entity: Entity, batch: Batch) -> pb.EntityBatchResult | None:
        """The entity's answer, or None when it could not be run and should be tried again later."""
        engine = self._engine
        name = entity.id.split("@", 2)[1]
        request = pb.EntityBatchRequest(
            instanceId=entity.id, entityState=text(entity.state), operations=batch.operations
        )
        try:
            answer = await engine.worker.run_entity(name, request.SerializeToString())
            result = pb.EntityBatchResult.FromString(answer)
        except Exception as error:
            entity.attempts += 1
            attempts = engine.limits.attempts
            log.exception("%s could not be run (attempt %d of %d)", entity.id, entity.attempts, attempts)
            if entity.attempts < attempts:
                return None
            entity.attempts = 0
            return _refused(batch, entity, f"{name} could not be run in {attempts} attempts: {error}")
        entity.attempts = 0
        return result

    def _apply(
        self, entity: Entity, transaction: "Transaction", batch: Batch, result: pb.EntityBatchResult
    ) -> None:
        if len(result.results) != len(batch.operations):
            log.error(
                "%s answered %d of %d operations: %s",
                entity.id,
                len(result.results),
                len(batch.operations),
                result.failureDetails.errorMessage or "no reason given",
            )
            missing = (
                result.failureDetails
                if result.HasField("failureDetails")
                else failure("EntityBatchFailed", "the entity did not answer")
            )
            if not result.results:  # it failed as a whole, and says nothing of its state
                result.entityState.value = entity.state or ""
            result = _answered(result, len(batch.operations), missing)
        entity.state = result.entityState.value if result.HasField("entityState") else None
        entity.state = entity.state or None
        entity.modified_at = transaction.now
        for caller, outcome in zip(batch.callers, result.results, strict=True):
            if caller is not None:
                _answer(transaction, caller, outcome)
        for action in result.actions:
            self._act(entity, transaction, action)

    def _act(self, entity: Entity, transaction: "Transaction", action: pb.OperationAction) -> None:
        if action.HasField("sendSignal"):
            asked = action.sendSignal
            signal = pb.EntityOperationSignaledEvent(
                requestId=str(uuid.uuid4()), operation=asked.name, targetInstanceId=text(asked.instanceId)
            )
            if asked.HasField("input"):
                signal.input.CopyFrom(asked.input)
            at = seconds(asked.scheduledTime) if asked.HasField("scheduledTime") else None
            sent = event(transaction.now, entityOperationSignaled=signal)
            transaction.send(asked.instanceId, sent, visible_at=at)
        elif action.HasField("startNewOrchestration"):
            start = action.startNewOrchestration
            existing = self._engine.instances.get(start.instanceId) if start.instanceId else None
            if is_entity(start.instanceId) or (existing is not None and not existing.terminal):
                log.warning(
                    "%s wanted to start %s, which is running already or an entity",
                    entity.id,
                    start.instanceId,
                )
                return
            transaction.start(
                start.instanceId,
                start.name,
                start.input.value if start.HasField("input") else None,
                start.version.value or None,
                at=seconds(start.scheduledTime) if start.HasField("scheduledTime") else None,
                replaces=existing is not None,
            )


def _add(
    batch: Batch,
    message: Message,
    operation: pb.EntityOperationCalledEvent | pb.EntityOperationSignaledEvent,
    caller: Called | None,
) -> None:
    batch.messages.append(message)
    batch.operations.append(
        pb.OperationRequest(
            requestId=operation.requestId,
            operation=operation.operation,
            input=operation.input if operation.HasField("input") else None,
        )
    )
    batch.callers.append(caller)


def _answer(transaction: "Transaction", caller: Called, outcome: pb.OperationResult) -> None:
    if outcome.HasField("failure"):
        failed = pb.EntityOperationFailedEvent(
            requestId=caller.requestId, failureDetails=outcome.failure.failureDetails
        )
        answer = event(transaction.now, entityOperationFailed=failed)
    else:
        done = pb.EntityOperationCompletedEvent(requestId=caller.requestId)
        if outcome.success.HasField("result"):
            done.output.CopyFrom(outcome.success.result)
        answer = event(transaction.now, entityOperationCompleted=done)
    execution_id = caller.parentExecutionId.value or None
    transaction.send(caller.parentInstanceId.value, answer, execution_id=execution_id)


def _refused(batch: Batch, entity: Entity, reason: str) -> pb.EntityBatchResult:
    """A result in which every operation failed and nothing changed."""
    log.error("%s: %d operations failed: %s", entity.id, len(batch.operations), reason)
    unchanged = pb.EntityBatchResult(entityState=text(entity.state))
    return _answered(unchanged, len(batch.operations), failure("PoisonWorkItem", reason))


def _answered(
    result: pb.EntityBatchResult, count: int, details: pb.TaskFailureDetails
) -> pb.EntityBatchResult:
    failed = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=details))
    results = [*result.results, *([failed] * count)][:count]
    return pb.EntityBatchResult(entityState=result.entityState, actions=result.actions, results=results)
