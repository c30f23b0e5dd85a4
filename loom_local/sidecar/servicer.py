"""The client side of TaskHubSidecarService, on the engine's loop: protobuf in, protobuf out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import empty_pb2, wrappers_pb2
from google.protobuf.message import Message

from loom_local.engine.engine import Engine
from loom_local.engine.operations import (
    AlreadyExistsError,
    InvalidIdError,
    NoSuchInstanceError,
    Operations,
    WrongStateError,
)
from loom_local.engine.protocol import PENDING, TERMINAL, pb, seconds, text, timestamp
from loom_local.engine.queries import BadTokenError, EntityRow, InstanceFilter, Seen

CODES: dict[type[Exception], grpc.StatusCode] = {
    AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    InvalidIdError: grpc.StatusCode.INVALID_ARGUMENT,
    NoSuchInstanceError: grpc.StatusCode.NOT_FOUND,
    WrongStateError: grpc.StatusCode.FAILED_PRECONDITION,
    BadTokenError: grpc.StatusCode.INVALID_ARGUMENT,
}

HISTORY_CHUNK = 200
"""Events in one message of a history stream."""


class RpcFailedError(Exception):
    """A call that the engine refused, with the gRPC status it has on the wire."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class Servicer:
    """Answers every call of the durable clients. What is answered has been committed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._operations = Operations(engine)
        self._queries = engine.queries
        self.methods: dict[str, tuple[type[Message], Callable[[Any], Awaitable[Message]]]] = {
            "Hello": (empty_pb2.Empty, self._hello),
            "StartInstance": (pb.CreateInstanceRequest, self._start),
            "GetInstance": (pb.GetInstanceRequest, self._get),
            "WaitForInstanceStart": (pb.GetInstanceRequest, self._wait_for_start),
            "WaitForInstanceCompletion": (pb.GetInstanceRequest, self._wait_for_completion),
            "RaiseEvent": (pb.RaiseEventRequest, self._raise_event),
            "TerminateInstance": (pb.TerminateRequest, self._terminate),
            "SuspendInstance": (pb.SuspendRequest, self._suspend),
            "ResumeInstance": (pb.ResumeRequest, self._resume),
            "RewindInstance": (pb.RewindInstanceRequest, self._rewind),
            "RestartInstance": (pb.RestartInstanceRequest, self._restart),
            "QueryInstances": (pb.QueryInstancesRequest, self._query),
            "ListInstanceIds": (pb.ListInstanceIdsRequest, self._list_ids),
            "PurgeInstances": (pb.PurgeInstancesRequest, self._purge),
            "SignalEntity": (pb.SignalEntityRequest, self._signal),
            "GetEntity": (pb.GetEntityRequest, self._get_entity),
            "QueryEntities": (pb.QueryEntitiesRequest, self._query_entities),
            "CleanEntityStorage": (pb.CleanEntityStorageRequest, self._clean),
            "CreateTaskHub": (pb.CreateTaskHubRequest, self._create_hub),
            "DeleteTaskHub": (pb.DeleteTaskHubRequest, self._delete_hub),
        }

    async def call(self, method: str, request: Message) -> Message:
        """Answer one unary call. Raises RpcFailedError."""
        try:
            _, handler = self.methods[method]
        except KeyError:
            raise RpcFailedError(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not a client's call") from None
        try:
            return await handler(request)
        except tuple(CODES) as error:
            raise RpcFailedError(CODES[type(error)], str(error)) from error

    async def history(self, request: pb.StreamInstanceHistoryRequest) -> AsyncIterator[pb.HistoryChunk]:
        """The answer to StreamInstanceHistory. Raises RpcFailedError for an unknown instance."""
        if await self._queries.instance(request.instanceId, with_input=False) is None:
            raise RpcFailedError(grpc.StatusCode.NOT_FOUND, f"No instance with ID '{request.instanceId}'.")
        chunk = pb.HistoryChunk()
        for events in self._queries.history(request.instanceId):
            chunk.events.extend(events)
            if len(chunk.events) >= HISTORY_CHUNK:
                yield chunk
                chunk = pb.HistoryChunk()
        if chunk.events:
            yield chunk

    async def _hello(self, _: empty_pb2.Empty) -> Message:
        return empty_pb2.Empty()

    async def _start(self, request: pb.CreateInstanceRequest) -> Message:
        policy = request.orchestrationIdReusePolicy
        chosen = request.HasField("orchestrationIdReusePolicy")
        instance_id = await self._operations.start(
            request.instanceId,
            request.name,
            request.input.value if request.HasField("input") else None,
            request.version.value or None,
            tags=dict(request.tags),
            at=_at(request, "scheduledStartTimestamp"),
            replaceable=frozenset(policy.replaceableStatus) if chosen else TERMINAL,
        )
        return pb.CreateInstanceResponse(instanceId=instance_id)

    async def _get(self, request: pb.GetInstanceRequest) -> Message:
        payloads = request.getInputsAndOutputs
        seen = await self._queries.instance(request.instanceId, with_input=payloads)
        return _instance_response(seen, payloads=payloads)

    async def _wait_for_start(self, request: pb.GetInstanceRequest) -> Message:
        payloads = request.getInputsAndOutputs
        seen = await self._queries.wait(
            request.instanceId, lambda i: i.status != PENDING, with_input=payloads
        )
        return _instance_response(seen, payloads=payloads)

    async def _wait_for_completion(self, request: pb.GetInstanceRequest) -> Message:
        payloads = request.getInputsAndOutputs
        seen = await self._queries.wait(request.instanceId, lambda i: i.terminal, with_input=payloads)
        return _instance_response(seen, payloads=payloads)

    async def _raise_event(self, request: pb.RaiseEventRequest) -> Message:
        encoded = request.input.value if request.HasField("input") else None
        await self._operations.raise_event(request.instanceId, request.name, encoded)
        return pb.RaiseEventResponse()

    async def _terminate(self, request: pb.TerminateRequest) -> Message:
        output = request.output.value if request.HasField("output") else None
        await self._operations.terminate(request.instanceId, output, recursive=request.recursive)
        return pb.TerminateResponse()

    async def _suspend(self, request: pb.SuspendRequest) -> Message:
        await self._operations.suspend(request.instanceId, request.reason.value or None)
        return pb.SuspendResponse()

    async def _resume(self, request: pb.ResumeRequest) -> Message:
        await self._operations.resume(request.instanceId, request.reason.value or None)
        return pb.ResumeResponse()

    async def _rewind(self, request: pb.RewindInstanceRequest) -> Message:
        await self._operations.rewind(request.instanceId, request.reason.value)
        return pb.RewindInstanceResponse()

    async def _restart(self, request: pb.RestartInstanceRequest) -> Message:
        new_id = await self._operations.restart(
            request.instanceId, with_new_id=request.restartWithNewInstanceId
        )
        return pb.RestartInstanceResponse(instanceId=new_id)

    async def _query(self, request: pb.QueryInstancesRequest) -> Message:
        query = request.query
        page, token = self._queries.instances(
            InstanceFilter(
                statuses=list(query.runtimeStatus),
                created_from=_at(query, "createdTimeFrom"),
                created_to=_at(query, "createdTimeTo"),
                prefix=query.instanceIdPrefix.value,
            ),
            limit=query.maxInstanceCount,
            token=query.continuationToken.value or None,
            with_input=query.fetchInputsAndOutputs,
        )
        states = [_state(seen, payloads=query.fetchInputsAndOutputs) for seen in page]
        return pb.QueryInstancesResponse(orchestrationState=states, continuationToken=text(token))

    async def _list_ids(self, request: pb.ListInstanceIdsRequest) -> Message:
        ids, last = self._queries.ended_ids(
            list(request.runtimeStatus),
            (_at(request, "completedTimeFrom"), _at(request, "completedTimeTo")),
            limit=request.pageSize,
            after=request.lastInstanceKey.value,
        )
        return pb.ListInstanceIdsResponse(instanceIds=ids, lastInstanceKey=text(last))

    async def _purge(self, request: pb.PurgeInstancesRequest) -> Message:
        kind = request.WhichOneof("request")
        if kind == "purgeInstanceFilter":
            purged = await self._purge_filtered(request.purgeInstanceFilter)
        elif kind == "instanceBatch":
            purged = await self._operations.purge(request.instanceBatch.instanceIds)
        else:
            purged = await self._operations.purge([request.instanceId])
        return pb.PurgeInstancesResponse(
            deletedInstanceCount=purged, isComplete=wrappers_pb2.BoolValue(value=True)
        )

    async def _purge_filtered(self, chosen: pb.PurgeInstanceFilter) -> int:
        wanted = InstanceFilter(
            statuses=list(chosen.runtimeStatus),
            created_from=_at(chosen, "createdTimeFrom"),
            created_to=_at(chosen, "createdTimeTo"),
        )
        purged = 0
        while ids := self._queries.to_purge(wanted):
            purged += await self._operations.purge(ids)
        return purged

    async def _signal(self, request: pb.SignalEntityRequest) -> Message:
        await self._operations.signal(
            request.instanceId,
            request.name,
            request.input.value if request.HasField("input") else None,
            request.requestId,
            _at(request, "scheduledTime"),
        )
        return pb.SignalEntityResponse()

    async def _get_entity(self, request: pb.GetEntityRequest) -> Message:
        row = self._queries.entity(request.instanceId)
        if row is None:
            return pb.GetEntityResponse(exists=False)
        return pb.GetEntityResponse(exists=True, entity=_metadata(row, state=request.includeState))

    async def _query_entities(self, request: pb.QueryEntitiesRequest) -> Message:
        query = request.query
        page, token = self._queries.entities(
            query.instanceIdStartsWith.value,
            (_at(query, "lastModifiedFrom"), _at(query, "lastModifiedTo")),
            limit=query.pageSize.value,
            token=query.continuationToken.value,
            transient=query.includeTransient,
        )
        rows = [_metadata(row, state=query.includeState) for row in page]
        return pb.QueryEntitiesResponse(entities=rows, continuationToken=text(token))

    async def _clean(self, request: pb.CleanEntityStorageRequest) -> Message:
        removed, released = await self._operations.clean_entities(
            remove_empty=request.removeEmptyEntities, release_orphaned=request.releaseOrphanedLocks
        )
        return pb.CleanEntityStorageResponse(emptyEntitiesRemoved=removed, orphanedLocksReleased=released)

    async def _create_hub(self, request: pb.CreateTaskHubRequest) -> Message:
        if request.recreateIfExists:
            raise WrongStateError("A local task hub is a file: stop the host and delete its data folder.")
        return pb.CreateTaskHubResponse()

    async def _delete_hub(self, _: pb.DeleteTaskHubRequest) -> Message:
        raise WrongStateError("A local task hub is a file: stop the host and delete its data folder.")


def _at(message: Any, field: str) -> float | None:
    return seconds(getattr(message, field)) if message.HasField(field) else None


def _instance_response(seen: Seen | None, *, payloads: bool) -> pb.GetInstanceResponse:
    if seen is None:
        return pb.GetInstanceResponse(exists=False)
    return pb.GetInstanceResponse(exists=True, orchestrationState=_state(seen, payloads=payloads))


def _state(seen: Seen, *, payloads: bool) -> pb.OrchestrationState:
    """As the Durable extension answers: payloads, custom status and failure only when asked for."""
    instance = seen.instance
    state = pb.OrchestrationState(
        instanceId=instance.id,
        name=instance.name,
        version=text(instance.version),
        createdTimestamp=timestamp(instance.created_at),
        lastUpdatedTimestamp=timestamp(instance.updated_at),
        completedTimestamp=None if instance.completed_at is None else timestamp(instance.completed_at),
        scheduledStartTimestamp=None if instance.scheduled_at is None else timestamp(instance.scheduled_at),
        executionId=text(instance.execution_id),
        parentInstanceId=text(instance.parent_id),
        tags=instance.tag_map(),
    )
    state.orchestrationStatus = instance.status  # pyright: ignore[reportAttributeAccessIssue] - an enum's int
    if payloads:
        for value, field in (
            (seen.input, state.input),
            (instance.output, state.output),
            (instance.custom_status, state.customStatus),
        ):
            if value is not None:
                field.value = value
        if instance.failure is not None:
            state.failureDetails.ParseFromString(instance.failure)
    return state


def _metadata(row: EntityRow, *, state: bool) -> pb.EntityMetadata:
    return pb.EntityMetadata(
        instanceId=row.id,
        lastModifiedTime=timestamp(row.modified_at),
        backlogQueueSize=row.backlog,
        lockedBy=text(row.locked_by),
        serializedState=text(row.state) if state else None,
    )
