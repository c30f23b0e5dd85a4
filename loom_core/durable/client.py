"""Runs over a Durable Functions client."""

import asyncio
import contextlib
import json
from collections.abc import Generator
from functools import lru_cache
from typing import Any, Final, cast

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import grpc.aio
from azure.durable_functions import DurableFunctionsClient
from durabletask.client import OrchestrationState, OrchestrationStatus

from loom_core.durable import sdk
from loom_core.durable.driver import ORCHESTRATION
from loom_core.durable.runs import (
    PREFIX,
    RUN_ID,
    Control,
    Page,
    Run,
    Start,
    Status,
    keyed_run_id,
    new_run_id,
)
from loom_core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from loom_core.wire.json import Json

_STATUS: Final[dict[OrchestrationStatus, Status]] = {
    OrchestrationStatus.PENDING: "pending",
    OrchestrationStatus.RUNNING: "running",
    OrchestrationStatus.CONTINUED_AS_NEW: "running",
    OrchestrationStatus.SUSPENDED: "suspended",
    OrchestrationStatus.COMPLETED: "completed",
    OrchestrationStatus.FAILED: "failed",
    OrchestrationStatus.TERMINATED: "cancelled",
}

_WANTED: Final[dict[Control, Status]] = {"cancel": "cancelled", "suspend": "suspended", "resume": "running"}

# Names no status that may be replaced: a run, finished or not, is never overwritten by one of the same id.
_NEVER_REPLACE: Final = pb.OrchestrationIdReusePolicy()


@lru_cache(maxsize=8)
def durable_runs(binding: str) -> "DurableRuns":
    """The process's own client for a durable client binding string; it stays open as long as the process.

    The client that `durable_client_input` injects is closed when the function returns, which is before the
    body of a streamed response is produced.
    """
    return DurableRuns(DurableFunctionsClient(binding))


class DurableRuns:
    """Implements `loom_core.durable.runs.Runs`."""

    def __init__(self, client: DurableFunctionsClient) -> None:
        self._client = client

    async def start(self, start: Start, key: str | None = None) -> tuple[str, bool]:
        run_id = new_run_id() if key is None else keyed_run_id(start.pipeline, key)
        # An older Durable extension ignores the reuse policy, so a finished run is looked for first.
        if key is not None and await self._is_same(run_id, start):
            return run_id, False
        call = {
            "program": "pipeline",
            "pipeline": start.pipeline,
            "version": start.version,
            "request": start.request,
            "payload": {"run": run_id, "definition": start.definition, "input": start.input}
            | ({"library": start.library} if start.library else {}),
        }
        try:
            with _grpc_errors():
                await self._client.schedule_new_orchestration(
                    ORCHESTRATION, input=call, instance_id=run_id, reuse_id_policy=_NEVER_REPLACE
                )
        except ConflictError:
            if key is not None and await self._is_same(run_id, start):
                return run_id, False
            raise
        return run_id, True

    async def _is_same(self, run_id: str, start: Start) -> bool:
        with _grpc_errors():
            state = await self._client.get_orchestration_state(run_id)
        if state is None:
            return False
        if _object(state.serialized_input).get("request") != start.request:
            raise ConflictError(
                f"this Idempotency-Key belongs to {run_id}, which has another input; use a new key"
            )
        return True

    async def get(self, run_id: str) -> Run:
        return _run(await self._state(run_id))

    async def list(self, *, status: Status | None = None, limit: int = 50, after: str | None = None) -> Page:
        wanted = [theirs for theirs, ours in _STATUS.items() if ours == status]
        with _grpc_errors():
            states, token = await sdk.query_page(self._client, PREFIX, wanted, limit, after)
        return Page(tuple(_run(state) for state in states if RUN_ID.fullmatch(state.instance_id)), token)

    async def wait(self, run_id: str, seconds: float) -> Run:
        try:
            with _grpc_errors():
                state = await self._client.wait_for_orchestration_completion(run_id, timeout=seconds)
        except TimeoutError:
            state = None
        return _run(state or await self._state(run_id))

    async def control(self, run_id: str, action: Control) -> Run:
        run = _run(await self._state(run_id))
        wanted = _WANTED[action]
        if run.status == wanted or (action == "resume" and run.status == "pending"):
            return run
        if run.is_finished:
            raise ConflictError(f"{run_id} is {run.status} and cannot {action} any more; start a new run")
        with _grpc_errors():
            if action == "cancel":
                await self._client.terminate_orchestration(run_id)
            elif action == "suspend":
                await self._client.suspend_orchestration(run_id)
            else:
                await self._client.resume_orchestration(run_id)
        return await self._until(run_id, wanted)

    async def _until(self, run_id: str, wanted: Status) -> Run:
        """The backend queues commands: answer what became of it, or the run as it is after two seconds."""
        for pause in (0.0, 0.005, 0.02, 0.1, 0.3, 0.6, 1.0):
            await asyncio.sleep(pause)
            run = await self.get(run_id)
            if run.status == wanted or run.is_finished:
                break
        return run

    async def raise_event(self, run_id: str, name: str, payload: Json) -> None:
        if isinstance(payload, dict) and {"__class__", "__module__", "__data__"} <= payload.keys():
            raise InvalidError(
                "the SDK takes __class__, __module__ and __data__ for one of its own envelopes"
            )
        run = _run(await self._state(run_id))
        if run.is_finished:
            raise ConflictError(f"{run_id} is {run.status} and takes no more events")
        with _grpc_errors():
            await self._client.raise_orchestration_event(run_id, name, data=payload)

    async def _state(self, run_id: str) -> OrchestrationState:
        state = None
        if RUN_ID.fullmatch(run_id):
            with _grpc_errors():
                state = await self._client.get_orchestration_state(run_id)
        if state is None:
            raise NotFoundError(f"there is no run {run_id}")
        return state


def _run(state: OrchestrationState) -> Run:
    call = _object(state.serialized_input)
    progress = _object(state.serialized_custom_status)
    status = _STATUS[state.runtime_status]
    failure = state.failure_details
    return Run(
        id=state.instance_id,
        pipeline=call.get("pipeline", ""),
        version=call.get("version", ""),
        status=status,
        created=state.created_at,
        updated=state.last_updated_at,
        input=call.get("payload", {}).get("input"),
        output=_decode(state.serialized_output) if status == "completed" else None,
        error={"type": failure.error_type.rpartition(".")[2], "message": failure.message}
        if failure and status == "failed"
        else None,
        stages=progress.get("stages", {}),
        seq=progress.get("seq", 0),
        notes={key: progress[key] for key in ("compensations", "warnings") if progress.get(key)},
        is_graph="nodes" in call.get("payload", {}).get("definition", ()),
    )


def _decode(encoded: str | None) -> Any:
    return json.loads(encoded) if encoded else None


def _object(encoded: str | None) -> dict[str, Any]:
    """The JSON object, or an empty one where an orchestration that is not ours has something else."""
    found = _decode(encoded)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


@contextlib.contextmanager
def _grpc_errors() -> Generator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        code = error.code()
        if code == grpc.StatusCode.ALREADY_EXISTS:
            raise ConflictError("there is a run of this id already") from error
        if code == grpc.StatusCode.NOT_FOUND:
            raise NotFoundError("there is no such run") from error
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            raise InvalidError(error.details() or "the durable backend refused the request") from error
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise InvalidError(
                "the answer is too large; ask for less at a time with a smaller limit"
            ) from error
        raise UnavailableError(f"the durable backend answered {code.name}") from error
