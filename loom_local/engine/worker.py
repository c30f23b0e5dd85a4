"""What the engine needs from whoever runs user code."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ActivityCall:
    name: str
    input: str | None
    """JSON."""
    instance_id: str
    task_id: int


@dataclass(frozen=True, slots=True)
class ActivityOutcome:
    result: str | None = None
    """JSON."""
    failure: bytes | None = None
    """TaskFailureDetails in wire form; set when the activity failed."""


class Worker(Protocol):
    """Runs user code. Failures of user code are results; what is raised means the work item could not be run.

    A raised work item is tried again after a pause, and failed for good after `EngineLimits.attempts`.
    """

    async def run_orchestrator(self, name: str, request: bytes) -> bytes:
        """OrchestratorRequest to OrchestratorResponse, both in wire form."""
        ...

    async def run_activity(self, call: ActivityCall) -> ActivityOutcome: ...

    async def run_entity(self, name: str, request: bytes) -> bytes:
        """EntityBatchRequest to EntityBatchResult, both in wire form."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds on everything that can grow. Counts unless said otherwise."""

    orchestrations: int = 64
    """Orchestration steps at a time."""
    entities: int = 64
    """Entity batches at a time."""
    activities: int = 256
    """Activities at a time."""
    entity_batch: int = 500
    """Operations in one entity batch."""
    attempts: int = 10
    """Runs of a work item that raises, before it is failed."""
    crashes: int = 3
    """Crashes a work item may be pending in before it runs alone, and then may itself cause."""
    history_events: int = 100_000
    """Events of one execution; more fails it."""
    history_bytes: int = 256 << 20
    """Bytes of one execution's history; more fails it."""
    loaded_instances: int = 2_000
    """Waiting orchestrations kept in memory; the others are read again when something happens to them."""
    loaded_entities: int = 20_000
    requests: int = 100_000
    """Signals whose request id is remembered, so that a client's retry is not a second signal."""
    request_age: float = 600.0
    """Seconds for which they are."""
