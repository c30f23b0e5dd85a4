"""The hub: what the rooms above ask of the durable backend, in plain values, whatever the SDK calls them."""

import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal, cast

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc.aio
from azure.durable_functions import DurableFunctionsClient
from durabletask.client import OrchestrationState, OrchestrationStatus

from loom_core.durable import sdk
from loom_core.durable.driver import ORCHESTRATION
from loom_core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from loom_core.wire.json import Json, JsonObject

type Status = Literal["pending", "running", "suspended", "completed", "failed", "cancelled"]

_OURS: Final[dict[str, Status]] = {"TERMINATED": "cancelled", "CONTINUED_AS_NEW": "running"}
"""What the SDK calls otherwise than Loom."""
_ERRORS: Final = {
    grpc.StatusCode.ALREADY_EXISTS: (ConflictError, "there is a run of this id already"),
    grpc.StatusCode.NOT_FOUND: (NotFoundError, "there is no such run"),
    grpc.StatusCode.FAILED_PRECONDITION: (ConflictError, ""),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidError, ""),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (InvalidError, "the answer is too large; ask with a smaller limit"),
}
"""What the backend's refusals are here; without words, its own are told."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An orchestration as it was at one moment: `shown` is its live status; the times are UTC, unsaid."""

    id: str
    status: Status
    created: datetime
    updated: datetime
    input: Json
    output: Json
    shown: Json
    error: JsonObject | None
    """Of a failed one: `type`, the name of a class, and `message`."""


class Hub:
    """The instances of a task hub.

    Every method raises UnavailableError when the backend cannot be reached, and those that change something
    NotFoundError for no instance and ConflictError for one that has ended.
    """

    def __init__(self, client: DurableFunctionsClient) -> None:
        self._client = client

    async def schedule(self, instance: str, call: Json, *, replace_failed: bool = False) -> None:
        """Run a program as this instance. Raises ConflictError if there is one, even one that has ended."""
        replaced = [pb.ORCHESTRATION_STATUS_FAILED] if replace_failed else []  # else none, finished or not
        policy = pb.OrchestrationIdReusePolicy(replaceableStatus=replaced)
        schedule = self._client.schedule_new_orchestration
        await _answer(schedule(ORCHESTRATION, input=call, instance_id=instance, reuse_id_policy=policy))

    async def get(self, instance: str) -> Instance | None:
        return _instance(await _answer(self._client.get_orchestration_state(instance)))

    async def wait(self, instance: str, seconds: float) -> Instance | None:
        """The instance once it has ended; None if there is none, or time is up."""
        try:
            wait = self._client.wait_for_orchestration_completion
            return _instance(await _answer(wait(instance, timeout=seconds)))
        except TimeoutError:
            return None

    async def page(
        self, prefix: str, statuses: Sequence[Status], limit: int, after: str | None
    ) -> tuple[list[Instance], str | None]:
        """At most `limit` instances with such ids in one of the statuses, or in any if none is given.

        `after` is the second of the result, where the listing goes on, if it does. Raises InvalidError for
        any other.
        """
        wanted = [theirs.value for theirs in OrchestrationStatus if _status(theirs) in statuses]
        query = pb.InstanceQuery(runtimeStatus=wanted, maxInstanceCount=limit, fetchInputsAndOutputs=True)
        query.instanceIdPrefix.value = prefix
        states, following = await _answer(sdk.query_page(self._client, query, after))
        return [found for state in states if (found := _instance(state))], following

    async def raise_event(self, instance: str, name: str, payload: Json = None) -> None:
        await _answer(self._client.raise_orchestration_event(instance, name, data=payload))

    async def terminate(self, instance: str) -> None:
        await _answer(self._client.terminate_orchestration(instance))

    async def suspend(self, instance: str) -> None:
        await _answer(self._client.suspend_orchestration(instance))

    async def resume(self, instance: str) -> None:
        await _answer(self._client.resume_orchestration(instance))


@lru_cache(maxsize=8)
def hub_of(binding: str) -> Hub:
    """The process's own hub for a durable client binding string; it stays open as long as the process.

    The client that `durable_client_input` injects is closed when the function returns, which is before the
    body of a streamed response is produced.
    """
    return Hub(DurableFunctionsClient(binding))


def _status(theirs: OrchestrationStatus) -> Status:
    return _OURS.get(theirs.name) or cast("Status", theirs.name.lower())


def _instance(state: OrchestrationState | None) -> Instance | None:
    if state is None:
        return None
    status = _status(state.runtime_status)
    failure = state.failure_details if status == "failed" else None
    return Instance(
        id=state.instance_id,
        status=status,
        created=state.created_at,
        updated=state.last_updated_at,
        input=json.loads(state.serialized_input or "null"),
        output=json.loads((status == "completed" and state.serialized_output) or "null"),
        shown=json.loads(state.serialized_custom_status or "null"),
        error=failure and {"type": failure.error_type.rpartition(".")[2], "message": failure.message},
    )


async def _answer[T](asked: Awaitable[T]) -> T:
    try:
        return await asked
    except grpc.aio.AioRpcError as error:
        code = error.code()
        kind, words = _ERRORS.get(code, (UnavailableError, f"the durable backend answered {code.name}"))
        raise kind(words or error.details() or f"the durable backend refused: {code.name}") from error
