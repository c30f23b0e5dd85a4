"""The Durable Task messages the engine speaks: the SDK's generated protobuf, and the few events made here.

`durabletask.internal` is private; this module is the engine's only door to it, checked at start-up.
"""

import uuid
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version

from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf import timestamp_pb2, wrappers_pb2

SUPPORTED = {"durabletask": "1.12.0", "azure-functions-durable": "2.0.0rc3"}

PENDING = pb.ORCHESTRATION_STATUS_PENDING
RUNNING = pb.ORCHESTRATION_STATUS_RUNNING
SUSPENDED = pb.ORCHESTRATION_STATUS_SUSPENDED
FAILED = pb.ORCHESTRATION_STATUS_FAILED
COMPLETED = pb.ORCHESTRATION_STATUS_COMPLETED
TERMINATED = pb.ORCHESTRATION_STATUS_TERMINATED
CONTINUED_AS_NEW = pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW
TERMINAL = frozenset({COMPLETED, FAILED, TERMINATED})


class UnsupportedSdkError(Exception):
    """The installed Durable SDK is not the one this engine was built and tested against."""


def check_sdk() -> None:
    """Raise UnsupportedSdkError, naming what to install, unless the pinned SDK versions are present."""
    for package, expected in SUPPORTED.items():
        found = version(package)
        if found != expected:
            raise UnsupportedSdkError(
                f"{package} {found} is installed; this Loom works with {expected}: "
                f"pip install {package}=={expected}"
            )


def new_execution_id() -> str:
    return uuid.uuid4().hex


def timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    """Seconds since the epoch, UTC, to a protobuf timestamp (microseconds)."""
    micros = round(seconds * 1e6)
    return timestamp_pb2.Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


_stamp = lru_cache(maxsize=8)(timestamp)
"""For events, which copy it: all that one transaction writes has the same time."""


def seconds(stamp: timestamp_pb2.Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9


def text(value: str | None) -> wrappers_pb2.StringValue | None:
    return None if value is None else wrappers_pb2.StringValue(value=value)


def failure(error_type: str, message: str) -> pb.TaskFailureDetails:
    """Failure details for what no retry would mend."""
    return pb.TaskFailureDetails(errorType=error_type, errorMessage=message, isNonRetriable=True)


def event(at: float, event_id: int = -1, /, **kind: object) -> pb.HistoryEvent:
    return pb.HistoryEvent(eventId=event_id, timestamp=_stamp(at), **kind)  # pyright: ignore[reportArgumentType] - exactly one kind


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def as_past(event: bytes) -> bytes:
    """One element of `OrchestratorRequest.pastEvents` (field 3): history is kept ready to be joined."""
    return b"\x1a" + _varint(len(event)) + event


def as_new(event: bytes) -> bytes:
    """One element of `OrchestratorRequest.newEvents` (field 4)."""
    return b"\x22" + _varint(len(event)) + event


def orchestrator_request(
    instance_id: str, execution_id: str, history: bytes | bytearray, news: Iterable[bytes]
) -> bytes:
    """A whole OrchestratorRequest in wire form, without parsing what is already bytes."""
    head = pb.OrchestratorRequest(instanceId=instance_id, executionId=text(execution_id))
    return b"".join((head.SerializeToString(), history, *map(as_new, news)))


def events_of(history: bytes | bytearray) -> list[pb.HistoryEvent]:
    """The events of joined `as_past` bytes."""
    return list(pb.OrchestratorRequest.FromString(bytes(history)).pastEvents)
