"""Runs over a Durable Functions client."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import grpc.aio
from azure.durable_functions import DurableFunctionsClient
from durabletask.client import OrchestrationState, OrchestrationStatus

from loom_core.activities.stops import KEPT, Stops
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

_OURS: Final[dict[str, Status]] = {"TERMINATED": "cancelled", "CONTINUED_AS_NEW": "running"}
"""What the SDK calls otherwise than Loom."""
_WANTED: Final[dict[Control, Status]] = {"cancel": "cancelled", "suspend": "suspended", "resume": "running"}
_ERRORS: Final = {
    grpc.StatusCode.ALREADY_EXISTS: (ConflictError, "there is a run of this id already"),
    grpc.StatusCode.NOT_FOUND: (NotFoundError, "there is no such run"),
    grpc.StatusCode.FAILED_PRECONDITION: (ConflictError, ""),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidError, ""),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        InvalidError,
        "the answer is too large; ask for less with a smaller limit",
    ),
}
"""What the backend's refusals are here; without words, its own are told."""
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


class Runs:
    """Starts and follows runs. Every method raises UnavailableError when the backend cannot be reached."""

    def __init__(self, client: DurableFunctionsClient, stops: Stops) -> None:
        self._client, self._stops = client, stops

    async def start(self, start: Start, key: str | None = None) -> tuple[str, bool]:
        """Start a run; answers its id and whether it is new.

        The same key and request give the same run, finished or not. Raises ConflictError if the key was used
        for another request.
        """
        run_id = new_run_id() if key is None else keyed_run_id(start.pipeline, key)
        # An older Durable extension ignores the reuse policy, so a finished run is looked for first.
        if key is not None and await self._is_same(run_id, start):
            return run_id, False
        library = {"library": start.library} if start.library else {}
        call = {
            "program": "pipeline",
            "pipeline": start.pipeline,
            "version": start.version,
            "request": start.request,
            "created": time.time(),
            "payload": {"run": run_id, "definition": start.definition, "input": start.input, **library},
        }
        try:
            await self._schedule(run_id, call, _NEVER_REPLACE)
        except ConflictError:
            if not await self._is_same(run_id, start):
                raise
            return run_id, False
        return run_id, True

    async def _schedule(self, run_id: str, call: Json, policy: pb.OrchestrationIdReusePolicy) -> None:
        schedule = self._client.schedule_new_orchestration
        await answer(schedule(ORCHESTRATION, input=call, instance_id=run_id, reuse_id_policy=policy))

    async def _is_same(self, run_id: str, start: Start) -> bool:
        state = await answer(self._client.get_orchestration_state(run_id))
        if state is None:
            return False
        if _object(state.serialized_input).get("request") != start.request:
            raise ConflictError(
                f"this Idempotency-Key belongs to {run_id}, which has another input; use a new key"
            )
        return True

    async def get(self, run_id: str) -> Run:
        """Raises NotFoundError."""
        return _run(await self._state(run_id))

    async def list(self, *, status: Status | None = None, limit: int = 50, after: str | None = None) -> Page:
        """At most `limit` runs from where `after`, an earlier page's `next`, left off."""
        # A run that was cancelled ends as failed there, and is told from others by its error.
        asked = ("cancelled", "failed") if status == "cancelled" else (status,)
        wanted = [theirs.value for theirs in OrchestrationStatus if _status(theirs) in asked]
        query = pb.InstanceQuery(runtimeStatus=wanted, maxInstanceCount=limit, fetchInputsAndOutputs=True)
        query.instanceIdPrefix.value = PREFIX
        states, token = await answer(sdk.query_page(self._client, query, after))
        runs = (_run(state) for state in states if RUN_ID.fullmatch(state.instance_id))
        return Page(tuple(run for run in runs if status in (None, run.status)), token)

    async def wait(self, run_id: str, seconds: float) -> Run:
        """The run, which exists, as it is once finished or after `seconds`."""
        try:
            state = await answer(self._client.wait_for_orchestration_completion(run_id, timeout=seconds))
        except TimeoutError:
            state = None
        return _run(state or await self._state(run_id))

    async def control(self, run_id: str, action: Control, *, force: bool = False) -> Run:
        """Steer a run; doing it again changes nothing.

        `cancel` has it undo what it can; with `force` it ends at once and undoes nothing. `stop` has it come
        to an end of its own: loops and waits are cut short. `rewind` has a failed or cancelled run go on from
        what failed. Raises NotFoundError, and ConflictError where the run's state does not allow it.
        """
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
                # Whatever ends the run in between is told by how it is afterwards.
                with contextlib.suppress(ConflictError):
                    await (self._terminate(run_id) if force else self._cancel(run))
            case "stop":
                await self._raise(run_id, STOP, None)
                return run
            case "suspend":
                await answer(self._client.suspend_orchestration(run_id))
            case "resume":
                await answer(self._client.resume_orchestration(run_id))
        return await self._until(run_id, _WANTED[action])

    async def _terminate(self, run_id: str) -> None:
        await answer(self._client.terminate_orchestration(run_id))
        # Nothing that it scheduled is to begin any more, be it from children that end a little later.
        await self._stops.ask(run_id, at=time.time() + KEPT)

    async def _cancel(self, run: Run) -> None:
        """Have the run cancel itself; running activities are told at once, which makes room for what undoes.

        What the run does once it has heard is later than the asking, and not meant.
        """
        asked = time.time()
        await self._raise(run.id, CANCEL, None)
        await self._stops.ask_once(run.id, "", asked)
        if run.status == "suspended":
            await answer(self._client.resume_orchestration(run.id))

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
        with contextlib.suppress(ConflictError):  # somebody else rewound it a moment ago
            await self._schedule(run.id, again, _REPLACE_FAILED)
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
        """Deliver an event to the run. Raises NotFoundError, and ConflictError if the run is finished."""
        if isinstance(payload, dict) and {"__class__", "__module__", "__data__"} <= payload.keys():
            raise InvalidError(
                "the SDK takes __class__, __module__ and __data__ for one of its own envelopes"
            )
        run = await self.get(run_id)
        if run.is_finished:
            raise ConflictError(f"{run_id} is {run.status} and takes no more events")
        await self._raise(run_id, name, payload)

    async def _raise(self, run_id: str, name: str, payload: Json) -> None:
        await answer(self._client.raise_orchestration_event(run_id, name, data=payload))

    async def _state(self, run_id: str) -> OrchestrationState:
        is_one = RUN_ID.fullmatch(run_id)
        state = await answer(self._client.get_orchestration_state(run_id)) if is_one else None
        if state is None:
            raise NotFoundError(f"there is no run {run_id}")
        return state


def _status(theirs: OrchestrationStatus) -> Status:
    return _OURS.get(theirs.name) or cast("Status", theirs.name.lower())


def _run(state: OrchestrationState) -> Run:
    call = _object(state.serialized_input)
    progress = _object(state.serialized_custom_status)
    status, failure, error = _status(state.runtime_status), state.failure_details, None
    if status == "failed" and failure:
        error = {"type": failure.error_type.rpartition(".")[2], "message": failure.message}
        if error["type"] == CancelledError.__name__:
            status, error = "cancelled", None
    is_done = status == "completed" and state.serialized_output
    # The SDK tells times in UTC, without saying so.
    created = datetime.fromtimestamp(call["created"], UTC) if "created" in call else state.created_at
    return Run(
        id=state.instance_id,
        pipeline=call.get("pipeline", ""),
        version=call.get("version", ""),
        status=status,
        created=created.replace(tzinfo=None),
        updated=state.last_updated_at,
        input=call.get("payload", {}).get("input"),
        output=json.loads(is_done) if is_done else None,
        error=error,
        stages=progress.get("stages", {}),
        seq=progress.get("seq", 0),
        notes={key: progress[key] for key in ("compensations", "warnings") if progress.get(key)},
        is_graph="nodes" in call.get("payload", {}).get("definition", ()),
    )


def _object(encoded: str | None) -> dict[str, Any]:
    """The JSON object, or an empty one where an orchestration that is not ours has something else."""
    found = json.loads(encoded) if encoded else None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


async def answer[T](asked: Awaitable[T]) -> T:
    """What the backend answers.

    Raises ConflictError, InvalidError, NotFoundError, and UnavailableError when it does not.
    """
    try:
        return await asked
    except grpc.aio.AioRpcError as error:
        code = error.code()
        kind, words = _ERRORS.get(code, (UnavailableError, f"the durable backend answered {code.name}"))
        raise kind(words or error.details() or f"the durable backend refused: {code.name}") from error
