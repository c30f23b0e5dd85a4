"""Batches of entity operations as plain values, and what became of them, in the runtime's wire form."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from loom_core.wire.json import Json, dump
from loom_core.wire.messages import instance_id


@dataclass(frozen=True, slots=True)
class Request:
    """`state` is what the entity keeps (None for a new one); operations are names with their inputs."""

    instance: str
    state: Any
    operations: Sequence[tuple[str, Any]]


def read(body: str) -> Request:
    """Read an EntityBatchRequest in base64."""
    request = pb.EntityBatchRequest.FromString(base64.b64decode(body))
    operations = [(one.operation, _input(one)) for one in request.operations]
    state = json.loads(request.entityState.value or "null")
    return Request(request.instanceId, state, operations)


def _input(operation: pb.OperationRequest) -> Any:
    """What is no JSON is a text: it fails its own operation, and not the batch."""
    try:
        return json.loads(operation.input.value) if operation.HasField("input") else None
    except ValueError:
        return operation.input.value


def write(
    state: Json,
    results: Iterable[Json | Exception],
    signals: Iterable[tuple[str, str, Json, float | None]],
    starts: Iterable[tuple[str, str, Json]],
) -> str:
    """An EntityBatchResult in base64: what the entity keeps, and an answer or an error to each operation.

    `signals` are addresses of actors, operations, inputs and times in seconds since the epoch; `starts` are
    orchestrations, which run the program of their name, ids of instances and payloads.
    """
    actions: list[pb.OperationAction] = []
    for to, name, given, due in signals:
        signal = pb.SendSignalAction(instanceId=instance_id(to), name=name)
        signal.input.value = dump(given)
        if due is not None:
            signal.scheduledTime.CopyFrom(Timestamp(seconds=int(due), nanos=int(due % 1 * 1e9)))
        actions.append(pb.OperationAction(id=len(actions), sendSignal=signal))
    for name, instance, given in starts:
        start = pb.StartNewOrchestrationAction(instanceId=instance, name=name)
        start.input.value = dump({"program": name, "payload": given})
        actions.append(pb.OperationAction(id=len(actions), startNewOrchestration=start))
    result = pb.EntityBatchResult(results=map(_result, results), actions=actions)
    result.entityState.value = dump(state)
    return base64.b64encode(result.SerializeToString()).decode()


def _result(outcome: Json | Exception) -> pb.OperationResult:
    if isinstance(outcome, Exception):
        kind = type(outcome).__name__  # which the SDK drops, so that the message tells it too
        details = pb.TaskFailureDetails(errorType=kind, errorMessage=f"{kind}: {outcome}")
        return pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=details))
    success = pb.OperationResultSuccess()
    success.result.value = dump(outcome)
    return pb.OperationResult(success=success)
