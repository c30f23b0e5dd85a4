"""Runs over a Durable Functions client."""

import asyncio
import contextlib
import json
import time
from collections.abc import Generator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import grpc.aio
from azure.durable_functions import DurableFunctionsClient
from durabletask.client import OrchestrationState, OrchestrationStatus

from loom_core.activities.stops import FOR_EVER, Stops
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
from loom_core.errors import CancelledError, ConflictError, InvalidError, NotFoundError, UnavailableError
from loom_core.pipelines.session import CANCEL, STOP
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
_REPLACE_FAILED: Final = pb.OrchestrationIdReusePolicy(replaceableStatus=[pb.ORCHESTRATION_STATUS_FAILED])


@lru_cache(maxsize=8)
def durable_client(binding: str) -> DurableFunctionsClient:
    """The process's own client for a durable client binding string; it stays open as long as the process.

    The client that `durable_client_input` injects is closed when the function returns, which is before the
    body of a streamed response is produced.
    """
    return DurableFunctionsClient(binding)


class DurableRuns:
    """Implements `loom_core.durable.runs.Runs`."""

    def __init__(self, client: DurableFunctionsClient, stops: Stops) -> None:
        self._client, self._stops = client, stops

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
            "created": time.time(),
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
        # A run that was cancelled ends as failed there, and is told from others by its error.
        asked = ("cancelled", "failed") if status == "cancelled" else (status,)
        wanted = [theirs for theirs, ours in _STATUS.items() if ours in asked]
        with _grpc_errors():
            states, token = await sdk.query_page(self._client, PREFIX, wanted, limit, after)
        runs = (_run(state) for state in states if RUN_ID.fullmatch(state.instance_id))
        return Page(tuple(run for run in runs if status in (None, run.status)), token)

    async def wait(self, run_id: str, seconds: float) -> Run:
        try:
            with _grpc_errors():
                state = await self._client.wait_for_orchestration_completion(run_id, timeout=seconds)
        except TimeoutError:
            state = None
        return _run(state or await self._state(run_id))

    async def control(self, run_id: str, action: Control, *, force: bool = False) -> Run:
        state = await self._state(run_id)
        run = _run(state)
        if action == "rewind":
            return await self._rewind(state)
        if run.status == _WANTED.get(action) or (action == "resume" and run.status == "pending"):
            return run
        if run.is_finished:
            raise ConflictError(f"{run_id} is {run.status} and cannot {action} any more; start a new run")
        match action:
            case "cancel":
                await self._cancel(run, force=force)
            case "stop":
                await self._raise(run_id, STOP, None)
                return run
            case "suspend":
                with _grpc_errors():
                    await self._client.suspend_orchestration(run_id)
            case "resume":
                with _grpc_errors():
                    await self._client.resume_orchestration(run_id)
        return await self._until(run_id, _WANTED[action])

    async def _cancel(self, run: Run, *, force: bool) -> None:
        # Whatever ends the run in between is told by how it is afterwards.
        with contextlib.suppress(ConflictError):
            if force:
                with _grpc_errors():
                    await self._client.terminate_orchestration(run.id)
                await self._stops.ask(run.id, at=FOR_EVER)
                return
            await self._raise(run.id, CANCEL, None)
            if run.status == "suspended":
                with _grpc_errors():
                    await self._client.resume_orchestration(run.id)

    async def _rewind(self, state: OrchestrationState) -> Run:
        """Start the instance again with what it kept when it failed; its `number` names new children."""
        run = _run(state)
        call = _object(state.serialized_input)
        payload = call.get("payload", {})
        if not run.is_finished or run.status == "completed":
            raise ConflictError(f"{run.id} is {run.status}; only failed and cancelled runs are rewound")
        if "failure" not in payload or state.runtime_status != OrchestrationStatus.FAILED:
            raise ConflictError(f"{run.id} ended before it could keep what it had done; start a new run")
        if payload.get("state", {}).get("compensated"):
            raise ConflictError(f"{run.id} has undone what it had done; start a new run")
        again = {**call, "payload": {key: value for key, value in payload.items() if key != "failure"}}
        await self._stops.forget(run.id)
        try:
            with _grpc_errors():
                await self._client.schedule_new_orchestration(
                    ORCHESTRATION, input=again, instance_id=run.id, reuse_id_policy=_REPLACE_FAILED
                )
        except ConflictError:
            pass  # somebody else rewound it a moment ago
        return await self.get(run.id)

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
        await self._raise(run_id, name, payload)

    async def _raise(self, run_id: str, name: str, payload: Json) -> None:
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
    error = failure and {"type": failure.error_type.rpartition(".")[2], "message": failure.message}
    if error and error["type"] == CancelledError.__name__:
        status = "cancelled"
    return Run(
        id=state.instance_id,
        pipeline=call.get("pipeline", ""),
        version=call.get("version", ""),
        status=status,
        created=_moment(call["created"]) if "created" in call else state.created_at,
        updated=state.last_updated_at,
        input=call.get("payload", {}).get("input"),
        output=_decode(state.serialized_output) if status == "completed" else None,
        error=error if status == "failed" else None,
        stages=progress.get("stages", {}),
        seq=progress.get("seq", 0),
        notes={key: progress[key] for key in ("compensations", "warnings") if progress.get(key)},
        is_graph="nodes" in call.get("payload", {}).get("definition", ()),
    )


def _moment(seconds: float) -> datetime:
    """As the SDK tells times: UTC, without saying so."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


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
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            raise ConflictError(error.details() or "the run's state does not allow it") from error
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            raise InvalidError(error.details() or "the durable backend refused the request") from error
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise InvalidError(
                "the answer is too large; ask for less at a time with a smaller limit"
            ) from error
        raise UnavailableError(f"the durable backend answered {code.name}") from error
