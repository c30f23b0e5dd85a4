"""Instances and entities of the engine as the JSON documents of the Durable extension."""

import json
from collections.abc import Sequence
from typing import Any

RUNTIME_STATUS = {
    0: "Running",
    1: "Completed",
    2: "ContinuedAsNew",
    3: "Failed",
    4: "Canceled",
    5: "Terminated",
    6: "Pending",
    7: "Suspended",
}
"""The names of the protocol's OrchestrationStatus numbers."""

ENDED = frozenset({"Completed", "Failed", "Canceled", "Terminated"})


def status_document(state: Any, *, show_input: bool) -> dict[str, Any]:
    """Describe an OrchestrationState message."""
    output = _value(state.output.value)
    if output is None and state.HasField("failureDetails"):
        output = f"{state.failureDetails.errorType}: {state.failureDetails.errorMessage}"
    return {
        "name": state.name,
        "instanceId": state.instanceId,
        "runtimeStatus": RUNTIME_STATUS[state.orchestrationStatus],
        "input": _value(state.input.value) if show_input else None,
        "customStatus": _value(state.customStatus.value),
        "output": output,
        "createdTime": _time(state.createdTimestamp),
        "lastUpdatedTime": _time(state.lastUpdatedTimestamp),
    }


def history_document(events: Sequence[Any], *, show_input: bool, show_output: bool) -> list[dict[str, Any]]:
    """Describe HistoryEvent messages; a task that has ended is one entry, with the time it was scheduled."""
    from azure.durable_functions.internal.compat.history_projection import project_history  # noqa: PLC0415
    from durabletask import history  # noqa: PLC0415  cold start

    decode: Any = history._from_protobuf  # noqa: SLF001  the SDK's own client decodes with it
    return project_history(
        [decode(event) for event in events], show_input=show_input, show_history_output=show_output
    )


def entity_document(entity: Any) -> dict[str, Any]:
    """Describe an EntityMetadata message."""
    _, name, key = entity.instanceId.split("@", 2)
    document: dict[str, Any] = {
        "entityId": {"name": name, "key": key},
        "lastOperationTime": _time(entity.lastModifiedTime),
    }
    if entity.HasField("serializedState"):
        document["state"] = _value(entity.serializedState.value)
    return document


def _value(text: str) -> Any:
    """Payloads are JSON; one that is not stands for itself."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _time(stamp: Any) -> str:
    return f"{stamp.ToDatetime():%Y-%m-%dT%H:%M:%SZ}"
