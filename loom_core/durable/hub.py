"""The hub: what the rooms above ask of the durable backend, in plain values, whatever the SDK calls them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal, cast

import durabletask.internal.orchestrator_service_pb2 as pb
from azure.durable_functions import DurableFunctionsClient
from durabletask.client import OrchestrationState, OrchestrationStatus
from durabletask.entities import EntityInstanceId

from loom_core.durable.driver import ORCHESTRATION
from loom_core.sdk import calls
from loom_core.sdk.answers import answer
from loom_core.wire.json import Json, JsonObject, dump
from loom_core.wire.messages import instance_id

type Status = Literal["pending", "running", "suspended", "completed", "failed", "cancelled"]

_OURS: Final[dict[str, Status]] = {"TERMINATED": "cancelled", "CONTINUED_AS_NEW": "running"}
"""What the SDK calls otherwise than Loom."""
_ENDED: Final = {"COMPLETED", "FAILED", "TERMINATED"}


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

    async def schedule(
        self, instance: str, call: Json, *, replace_failed: bool = False, name: str = ORCHESTRATION
    ) -> None:
        """Run a program as this instance. Raises ConflictError if there is one, even one that has ended."""
        replaced = [pb.ORCHESTRATION_STATUS_FAILED] if replace_failed else []  # else none, finished or not
        policy = pb.OrchestrationIdReusePolicy(replaceableStatus=replaced)
        schedule = self._client.schedule_new_orchestration
        await answer(schedule(name, input=call, instance_id=instance, reuse_id_policy=policy))

    async def get(self, instance: str) -> Instance | None:
        return _instance(await answer(self._client.get_orchestration_state(instance)))

    async def wait(self, instance: str, seconds: float) -> Instance | None:
        """The instance once it has ended; None if there is none, or time is up."""
        try:
            wait = self._client.wait_for_orchestration_completion
            return _instance(await answer(wait(instance, timeout=seconds)))
        except TimeoutError:
            return None

    async def page(
        self, prefix: str, statuses: Sequence[Status], limit: int, after: str | None
    ) -> tuple[list[Instance], str | None]:
        """At most `limit` instances with such ids in one of the statuses, or in any if none is given.

        `after` is the second of the result, where the listing goes on, if it does. Raises InvalidError for
        any other.
        """
        wanted = [theirs for theirs in OrchestrationStatus if _status(theirs) in statuses]
        states, following = await answer(calls.query(self._client, prefix, wanted, limit, after))
        return [found for state in states if (found := _instance(state))], following

    async def ended(self, prefix: str, before: datetime, limit: int) -> list[str]:
        """At most `limit` instances with such ids that began before then and have ended."""
        wanted = [status for status in OrchestrationStatus if status.name in _ENDED]
        states, _ = await answer(calls.query(self._client, prefix, wanted, limit, before=before))
        return [state.instance_id for state in states]

    async def purge(self, instance: str) -> None:
        """Forget an instance that has ended."""
        await answer(self._client.purge_orchestration(instance))

    async def raise_event(self, instance: str, name: str, payload: Json = None) -> None:
        await answer(self._client.raise_orchestration_event(instance, name, data=payload))

    async def signal(self, entity: str, operation: str, given: Json) -> None:
        """Have an actor's entity run an operation; it is kept when this returns."""
        await answer(calls.signal(self._client, instance_id(entity), operation, dump(given)))

    async def entity(self, entity: str) -> Json:
        """What an actor's entity keeps; None if there is none."""
        found = await answer(self._client.get_entity(EntityInstanceId.parse(instance_id(entity))))
        return json.loads(found.get_state() or "null") if found else None

    async def entities(self, prefix: str, limit: int, after: str | None) -> tuple[list[str], str | None]:
        """The ids of at most `limit` entities that begin so, and where the listing goes on, if it does."""
        return await answer(calls.query_entities(self._client, prefix, limit, after))

    async def terminate(self, instance: str) -> None:
        await answer(self._client.terminate_orchestration(instance))

    async def suspend(self, instance: str) -> None:
        await answer(self._client.suspend_orchestration(instance))

    async def resume(self, instance: str) -> None:
        await answer(self._client.resume_orchestration(instance))


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
