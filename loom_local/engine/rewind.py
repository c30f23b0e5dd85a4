"""Taking a failed instance up again: what failed, and what its failure cut off, is done anew."""

from typing import TYPE_CHECKING

from loom_local.engine.protocol import COMPLETED, FAILED, RUNNING, as_past, event, pb, text
from loom_local.engine.state import Instance

if TYPE_CHECKING:
    from loom_local.engine.engine import Engine
    from loom_local.engine.transaction import Transaction

_TAG = b"\xf2\x01"
"""Of HistoryEvent field 30, executionRewound: a cheap look before the parse."""


def is_rewind(raw: bytes) -> bool:
    return _TAG in raw and pb.HistoryEvent.FromString(raw).HasField("executionRewound")


def request_rewind(
    engine: "Engine",
    transaction: "Transaction",
    instance: Instance,
    reason: str,
    *,
    parent_execution_id: str | None = None,
) -> None:
    """Take a failed instance up again, with its history."""
    engine.instances.revive(instance)
    instance.status = RUNNING
    instance.output = instance.failure = instance.completed_at = None
    asked = pb.ExecutionRewoundEvent(reason=text(reason))
    if parent_execution_id is not None:
        instance.parent_execution_id = parent_execution_id
        asked.parentExecutionId.value = parent_execution_id
    transaction.save(instance)
    transaction.touch(instance)
    transaction.send(instance.id, event(transaction.now, executionRewound=asked))


def rewind(
    engine: "Engine",
    instance: Instance,
    transaction: "Transaction",
    rewound: pb.RewindOrchestrationAction,
) -> None:
    """Replace the history by the one the SDK has cleaned of failures, and wake what has to run again."""
    for past in rewound.newHistory:
        if past.HasField("executionStarted"):
            instance.execution_id = past.executionStarted.orchestrationInstance.executionId.value
    answered = {_answers(past) for past in rewound.newHistory}
    history = [
        past
        for past in rewound.newHistory
        if (past.WhichOneof("eventType"), past.eventId) in answered
        or _goes_on(engine, instance, transaction, past)
    ]
    transaction.clear_history(instance)
    instance.status = RUNNING
    step = b"".join(as_past(past.SerializeToString()) for past in history)
    transaction.execute("INSERT INTO history VALUES (?, 0, ?, ?)", instance.id, len(history), step)
    instance.history += step
    instance.events, instance.steps = len(history), 1
    again = event(transaction.now, genericEvent=pb.GenericEvent(data=text("rewound")))
    transaction.send(instance.id, again, execution_id=instance.execution_id)


def _answers(past: pb.HistoryEvent) -> tuple[str, int] | None:
    """The kind and id of the event to which this one is the answer."""
    match past.WhichOneof("eventType"):
        case "taskCompleted":
            return "taskScheduled", past.taskCompleted.taskScheduledId
        case "timerFired":
            return "timerCreated", past.timerFired.timerId
        case "subOrchestrationInstanceCompleted":
            return "subOrchestrationInstanceCreated", past.subOrchestrationInstanceCompleted.taskScheduledId
        case _:
            return None


def _goes_on(engine: "Engine", instance: Instance, transaction: "Transaction", past: pb.HistoryEvent) -> bool:
    """Whether an event without an answer stays in the history; what does not is asked for again by replay.

    The failure dropped the activities and timers that were under way, and the answers of children since.
    """
    kind = past.WhichOneof("eventType")
    if kind != "subOrchestrationInstanceCreated":
        return kind not in {"taskScheduled", "timerCreated"}
    child = engine.instances.get(past.subOrchestrationInstanceCreated.instanceId)
    if child is None or (child.parent_id, child.parent_task_id) != (instance.id, past.eventId):
        return False
    if child.status == FAILED:
        request_rewind(
            engine,
            transaction,
            child,
            "its parent was rewound",
            parent_execution_id=instance.execution_id,
        )
    elif not child.terminal or child.status == COMPLETED:
        child.parent_execution_id = instance.execution_id
        if child.terminal:
            engine.steps.tell_parent(child, transaction)
        else:
            transaction.save(child)
            transaction.touch(child)
    else:
        return False
    return True
