"""Calls of the backend that the SDK's client makes in a dearer way, or not at all."""

import uuid
from collections.abc import Iterable
from datetime import datetime

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask.client import (
    AsyncTaskHubGrpcClient,
    OrchestrationState,
    OrchestrationStatus,
    parse_orchestration_state,
)


async def query(
    client: AsyncTaskHubGrpcClient,
    prefix: str,
    statuses: Iterable[OrchestrationStatus],
    limit: int,
    token: str | None = None,
    *,
    before: datetime | None = None,
) -> tuple[list[OrchestrationState], str | None]:
    """The page of instances at the token, and the next token; the public query reads all pages at once.

    Those that began `before` a time come without their inputs and outputs.
    """
    wanted = [status.value for status in statuses]
    query = pb.InstanceQuery(
        runtimeStatus=wanted, maxInstanceCount=limit, fetchInputsAndOutputs=before is None
    )
    query.instanceIdPrefix.value = prefix
    if before is not None:
        query.createdTimeTo.FromDatetime(before)
    if token is not None:
        query.continuationToken.value = token
    stub = client._get_stub()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    answer = await stub.QueryInstances(pb.QueryInstancesRequest(query=query))
    following = answer.continuationToken.value
    is_last = following in ("", "0", token)  # as the SDK's own loop sees it
    return list(map(parse_orchestration_state, answer.orchestrationState)), None if is_last else following


async def signal(client: AsyncTaskHubGrpcClient, entity: str, operation: str, given: str) -> None:
    """Signal an entity with encoded JSON; the public way costs three times as much, most of it in checks."""
    stub = client._get_stub()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    request = pb.SignalEntityRequest(instanceId=entity, name=operation, requestId=str(uuid.uuid4()))
    request.input.value = given
    await stub.SignalEntity(request)


async def query_entities(
    client: AsyncTaskHubGrpcClient, prefix: str, limit: int, token: str | None
) -> tuple[list[str], str | None]:
    """A page of ids of entities that begin so, and the next page's token."""
    query = pb.EntityQuery(includeState=False, includeTransient=False)
    query.instanceIdStartsWith.value, query.pageSize.value = prefix, limit
    if token is not None:
        query.continuationToken.value = token
    stub = client._get_stub()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    answer = await stub.QueryEntities(pb.QueryEntitiesRequest(query=query))
    following = answer.continuationToken.value
    is_last = following in ("", "0", token)
    return [entity.instanceId for entity in answer.entities], None if is_last else following
