"""Sticky execution: a program that waits is kept, and the next dispatch goes on with it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask import worker

from loom_core.sdk.context import LateStatus
from loom_core.sdk.kept import Kept

type Events = Sequence[pb.HistoryEvent]

KEPT_PROGRAMS = 1_000
KEPT_BYTES = 16 << 20

_ORDINARY = frozenset(
    {
        *("orchestratorStarted", "orchestratorCompleted", "eventRaised", "eventSent"),
        *("taskScheduled", "taskCompleted", "taskFailed", "timerCreated", "timerFired"),
        *("subOrchestrationInstanceCreated", "subOrchestrationInstanceCompleted"),
        *("subOrchestrationInstanceFailed", "entityOperationCalled", "entityOperationSignaled"),
        *("entityOperationCompleted", "entityOperationFailed"),
    }
)
"""Events that only ever add to a history. A rewind rewrites it, and leaves one of another kind behind."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A program between two dispatches, and how to recognise the history that brought it there."""

    executor: "StickyExecutor"
    context: LateStatus
    execution: str
    seen: int
    """Events of the history that it has been through."""
    last: bytes
    """Digest of those of its last dispatch; `count` of them."""
    count: int
    size: int

    def can_go_on(self, past: Events, new: Events) -> bool:
        """Whether a full replay of `past` would lead through the very same state.

        A history is only ever appended to, so it is the same up to the last dispatch if it is the same
        execution's and holds that dispatch's events where they belong. It does not if the dispatch was
        lost, since each begins with the time it happened.
        """
        return (
            len(past) >= self.seen
            and self.execution == _execution_of(past)
            and self.last == _digest(past[self.seen - self.count : self.seen])[0]
            and all(e.WhichOneof("eventType") in _ORDINARY for e in chain(past[self.seen :], new))
        )

    def go_on(self, past: Events, new: Events) -> worker.ExecutionResults | None:
        """The results of this dispatch, or None after any error: what comes of it is for a replay to say."""
        context: Any = self.context
        try:
            for is_replaying, events in ((True, past[self.seen :]), (False, new)):
                context._is_replaying = is_replaying  # noqa: SLF001
                for event in events:
                    self.executor.process_event(context, event)
            status = context._encoded_custom_status  # noqa: SLF001
            trace = context._orchestration_trace_context  # noqa: SLF001
            return worker.ExecutionResults(context.get_actions(), status, trace)
        except Exception:  # noqa: BLE001 - it is raised again where it counts, by the replay
            return None


class StickyExecutor(worker._OrchestrationExecutor):  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    """The SDK's executor, which leaves a waiting program as it is and goes on with it at the next dispatch.

    Else each dispatch replays the whole history: most of what an orchestration costs. Whatever is out of
    the ordinary is left to the full replay, which needs nothing that is kept here.
    """

    keeps: type = LateStatus
    """Programs, that is: they are deterministic by contract. Other orchestrators are replayed."""
    kept: Kept[Paused] = Kept(KEPT_PROGRAMS, KEPT_BYTES)

    def execute(self, instance_id: str, old_events: Events, new_events: Events) -> worker.ExecutionResults:
        paused = self.kept.take((self._registry, instance_id))
        if paused is not None and paused.can_go_on(old_events, new_events):
            results = paused.go_on(old_events, new_events)
            if results is not None:
                size = paused.size + _size(old_events[paused.seen :])
                paused.executor.keep(paused.context, old_events, new_events, size)
                return results
        del paused
        self.process_event = self._process_first
        try:
            results = super().execute(instance_id, old_events, new_events)
        finally:
            self.__dict__.pop("process_event", None)
        context = self.__dict__.pop("_context", None)
        if context is not None:
            self.keep(context, old_events, new_events, _size(old_events))
        return results

    def _process_first(self, ctx: Any, event: pb.HistoryEvent) -> None:
        """Catch the context of this replay, which is a local variable of the SDK's."""
        self._context = ctx
        del self.process_event
        self.process_event(ctx, event)

    def keep(self, context: Any, past: Events, new: Events, size: int) -> None:
        """Keep a program that waits; `size` bytes of history are `past`."""
        execution = _execution_of(chain(past, new))
        waits = not context._is_complete and not self._is_suspended  # noqa: SLF001
        if waits and execution and isinstance(context, self.keeps):
            last, added = _digest(new)
            seen = len(past) + len(new)
            paused = Paused(self, context, execution, seen, last, len(new), size + added)
            self.kept.put((self._registry, context.instance_id), paused)


def _size(events: Iterable[pb.HistoryEvent]) -> int:
    return sum(event.ByteSize() for event in events)


def _execution_of(events: Iterable[pb.HistoryEvent]) -> str:
    started = next((e.executionStarted for e in events if e.HasField("executionStarted")), None)
    return started.orchestrationInstance.executionId.value if started is not None else ""


def _digest(events: Iterable[pb.HistoryEvent]) -> tuple[bytes, int]:
    """The digest and the length of what these events are in wire form."""
    wire = b"".join(event.SerializeToString() for event in events)
    return hashlib.sha256(wire).digest(), len(wire)


def _is_suspendable(event: pb.HistoryEvent) -> bool:
    """Whether a suspended execution sets this event aside.

    The SDK sets a second suspension aside too, and then never comes to the end of what it has set aside.
    """
    kinds = ("executionSuspended", "executionResumed", "executionTerminated")
    return event.WhichOneof("eventType") not in kinds


worker._OrchestrationExecutor = StickyExecutor  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
worker._is_suspendable = _is_suspendable  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
