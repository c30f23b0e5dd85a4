"""What an orchestrator asks for, as history events and outgoing work."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loom_local.engine.protocol import CONTINUED_AS_NEW, event, failure, pb, seconds
from loom_local.engine.state import Instance, is_entity

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction

log = logging.getLogger("loom.engine")


@dataclass(slots=True)
class Applied:
    """The events to record, and how the execution ends, if it does."""

    events: list[pb.HistoryEvent] = field(default_factory=list[pb.HistoryEvent])
    completed: pb.CompleteOrchestrationAction | None = None
    continued: pb.CompleteOrchestrationAction | None = None
    rewound: pb.RewindOrchestrationAction | None = None


def apply_actions(
    transaction: "Transaction",
    engine: "Engine",
    instance: Instance,
    actions: Iterable[pb.OrchestratorAction],
) -> Applied:
    applied = Applied()
    for action in actions:
        kind = action.WhichOneof("orchestratorActionType")
        if kind == "completeOrchestration":
            done = action.completeOrchestration
            if done.orchestrationStatus == CONTINUED_AS_NEW:
                applied.continued = done
            else:
                applied.completed = done
        elif kind == "rewindOrchestration":
            applied.rewound = action.rewindOrchestration
        elif kind in _HANDLERS:
            applied.events.append(_HANDLERS[kind](transaction, engine, instance, action))
        else:
            raise NotImplementedError(f"the orchestrator of {instance.id} asked for {kind}")
    return applied


def _schedule_task(
    transaction: "Transaction", _: "Engine", instance: Instance, action: pb.OrchestratorAction
) -> pb.HistoryEvent:
    # The input stays with the task: replay does not need it, and history is replayed at every step.
    transaction.schedule(instance, action.id, action.scheduleTask)
    scheduled = pb.TaskScheduledEvent(name=action.scheduleTask.name)
    return event(transaction.now, action.id, taskScheduled=scheduled)


def _create_timer(
    transaction: "Transaction", _: "Engine", instance: Instance, action: pb.OrchestratorAction
) -> pb.HistoryEvent:
    fire_at = action.createTimer.fireAt
    instance.timed = True
    transaction.send(
        instance.id,
        event(transaction.now, timerFired=pb.TimerFiredEvent(fireAt=fire_at, timerId=action.id)),
        execution_id=instance.execution_id,
        visible_at=seconds(fire_at),
    )
    return event(transaction.now, action.id, timerCreated=pb.TimerCreatedEvent(fireAt=fire_at))


def _create_sub_orchestration(
    transaction: "Transaction", engine: "Engine", instance: Instance, action: pb.OrchestratorAction
) -> pb.HistoryEvent:
    asked = action.createSubOrchestration
    existing = engine.instances.get(asked.instanceId)
    refusal = None
    if existing is not None and not existing.terminal:
        refusal = failure("OrchestrationAlreadyExists", f"instance '{asked.instanceId}' already exists")
    elif is_entity(asked.instanceId):
        refusal = failure("InvalidInstanceId", f"'{asked.instanceId}' would be an entity: it begins with @")
    if refusal is not None:
        failed = pb.SubOrchestrationInstanceFailedEvent(taskScheduledId=action.id, failureDetails=refusal)
        transaction.send(
            instance.id,
            event(transaction.now, subOrchestrationInstanceFailed=failed),
            execution_id=instance.execution_id,
        )
    else:
        transaction.start(
            asked.instanceId,
            asked.name,
            asked.input.value if asked.HasField("input") else None,
            asked.version.value or None,
            parent=(instance, action.id),
            tags=dict(asked.tags),
            replaces=existing is not None,
        )
    created = pb.SubOrchestrationInstanceCreatedEvent(
        instanceId=asked.instanceId,
        name=asked.name,
        version=asked.version if asked.HasField("version") else None,
    )
    return event(transaction.now, action.id, subOrchestrationInstanceCreated=created)


def _send_event(
    transaction: "Transaction", _: "Engine", __: Instance, action: pb.OrchestratorAction
) -> pb.HistoryEvent:
    asked = action.sendEvent
    data = asked.data if asked.HasField("data") else None
    raised = pb.EventRaisedEvent(name=asked.name, input=data)
    transaction.send(asked.instance.instanceId, event(transaction.now, eventRaised=raised))
    sent = pb.EventSentEvent(instanceId=asked.instance.instanceId, name=asked.name, input=data)
    return event(transaction.now, action.id, eventSent=sent)


def _send_entity_message(
    transaction: "Transaction", _: "Engine", instance: Instance, action: pb.OrchestratorAction
) -> pb.HistoryEvent:
    kind = action.sendEntityMessage.WhichOneof("EntityMessageType")
    assert kind is not None
    body = getattr(action.sendEntityMessage, kind)
    outgoing = event(transaction.now, **{kind: body})
    visible_at = execution_id = None
    if kind == "entityOperationCalled":
        outgoing.entityOperationCalled.parentExecutionId.value = instance.execution_id
    if kind in {"entityOperationCalled", "entityOperationSignaled"} and body.HasField("scheduledTime"):
        visible_at = seconds(body.scheduledTime)
    if kind == "entityLockRequested":
        target, execution_id = body.lockSet[0], instance.execution_id
    else:
        target = body.targetInstanceId.value
    transaction.send(target, outgoing, execution_id=execution_id, visible_at=visible_at)
    return event(transaction.now, action.id, **{kind: body})


def _terminate(
    transaction: "Transaction", _: "Engine", __: Instance, action: pb.OrchestratorAction
) -> pb.HistoryEvent:
    asked = action.terminateOrchestration
    terminated = pb.ExecutionTerminatedEvent(input=asked.reason, recurse=asked.recurse)
    transaction.send(asked.instanceId, event(transaction.now, executionTerminated=terminated))
    sent = pb.EventSentEvent(instanceId=asked.instanceId, name="terminate")
    return event(transaction.now, action.id, eventSent=sent)


_HANDLERS: dict[
    str, Callable[["Transaction", "Engine", Instance, pb.OrchestratorAction], pb.HistoryEvent]
] = {
    "scheduleTask": _schedule_task,
    "createTimer": _create_timer,
    "createSubOrchestration": _create_sub_orchestration,
    "sendEvent": _send_event,
    "sendEntityMessage": _send_entity_message,
    "terminateOrchestration": _terminate,
}
