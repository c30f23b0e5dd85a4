"""The durable management API over HTTP: addresses, status codes and documents of the Durable extension.

It speaks to the engine in the messages of the sidecar's gRPC service, so both front doors act alike.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from loom_local.host.client_binding import WEBHOOKS, management_urls
from loom_local.host.entity_webhooks import PAGE_TOKEN, Call, EntityWebhooks
from loom_local.host.exchange import Reply, Request
from loom_local.host.instance_documents import ENDED, RUNTIME_STATUS, history_document, status_document
from loom_local.host.webhook_query import RefusedError, flag, json_text, moment, number, statuses

type Handler = Callable[..., Awaitable[Reply]]
type History = Callable[[Any], Awaitable[list[Any]]]
"""Give an instance's HistoryEvent messages."""

_CODES = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 412,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}


class Webhooks:
    """Answers requests under /runtime/webhooks/durabletask.

    `orchestrators` are the names that may be started, `binding` the app's durable client binding.
    """

    def __init__(self, call: Call, history: History, *, orchestrators: Collection[str], binding: str) -> None:
        from durabletask.internal import orchestrator_service_pb2  # noqa: PLC0415  cold start

        self._pb: Any = orchestrator_service_pb2
        self._call = call
        self._history = history
        self._orchestrators = orchestrators
        self._binding = binding
        entities = EntityWebhooks(call, orchestrator_service_pb2)
        self._handlers: dict[tuple[str, str, int], Handler] = {
            ("POST", "orchestrators", 1): self._start,
            ("POST", "orchestrators", 2): self._start,
            ("GET", "instances", 0): self._list,
            ("DELETE", "instances", 0): self._purge_many,
            ("GET", "instances", 1): self._status,
            ("DELETE", "instances", 1): self._purge_one,
            ("POST", "instances", 2): self._operate,
            ("POST", "instances", 3): self._raise_event,
            ("GET", "entities", 0): entities.find,
            ("GET", "entities", 1): entities.find,
            ("GET", "entities", 2): entities.read,
            ("POST", "entities", 2): entities.signal,
            ("DELETE", "entities", 2): entities.signal,
        }

    async def __call__(self, request: Request) -> Reply:
        raw = urlsplit(request.url).path.removeprefix(WEBHOOKS)
        resource, *names = [unquote(part) for part in raw.strip("/").split("/")]
        handler = self._handlers.get((request.method, resource.lower(), len(names)))
        if handler is None:
            return Reply(404)
        try:
            return await handler(request, *names)
        except RefusedError as refusal:
            return refusal.reply
        except Exception as error:
            status = _CODES.get(_grpc_code(error))
            if status is None:
                raise
            return Reply(status, {"message": str(error)})

    async def _start(self, request: Request, name: str, instance: str | None = None) -> Reply:
        if name not in self._orchestrators:
            known = ", ".join(sorted(self._orchestrators)) or "none"
            raise RefusedError(
                400,
                f"The function {name!r} doesn't exist, is disabled, or is not an orchestrator function. "
                f"The following are the known orchestrator functions: {known}",
            )
        instance = instance or uuid.uuid4().hex
        create = self._pb.CreateInstanceRequest(instanceId=instance, name=name, requestTime=datetime.now(UTC))
        if request.body:
            create.input.value = json_text(request.body)
        if "version" in request.query:
            create.version.value = request.query["version"]
        await self._call("StartInstance", create)
        return await self._answer_start(request, instance)

    async def _answer_start(self, request: Request, instance: str) -> Reply:
        """Answer with the links, or first wait up to `timeout` seconds for the end if asked to."""
        if "timeout" in request.query and "pollingInterval" in request.query:
            wait = self._pb.GetInstanceRequest(instanceId=instance, getInputsAndOutputs=True)
            try:
                async with asyncio.timeout(number(request.query, "timeout")):
                    answer = await self._call("WaitForInstanceCompletion", wait)
            except TimeoutError:
                pass
            else:
                state = answer.orchestrationState
                if RUNTIME_STATUS[state.orchestrationStatus] == "Completed":
                    return Reply(200, json.loads(state.output.value or "null"))
                return await self._status(request, instance)
        links = management_urls(self._binding, instance, request.origin)
        return Reply(202, links, (("location", links["statusQueryGetUri"]), ("retry-after", "10")))

    async def _status(self, request: Request, instance: str) -> Reply:
        state = await self._state(instance, payloads=True)
        document = status_document(state, show_input=flag(request.query, "showInput", default=True))
        if flag(request.query, "showHistory"):
            document["historyEvents"] = history_document(
                await self._history(self._pb.StreamInstanceHistoryRequest(instanceId=instance)),
                show_input=flag(request.query, "showInput", default=True),
                show_output=flag(request.query, "showHistoryOutput"),
            )
        status = document["runtimeStatus"]
        if status not in ENDED:
            return Reply(202, document, (("location", request.url), ("retry-after", "5")))
        failed = status == "Failed" and flag(request.query, "returnInternalServerErrorOnFailure")
        return Reply(500 if failed else 200, document)

    async def _list(self, request: Request) -> Reply:
        query = self._pb.InstanceQuery(
            runtimeStatus=statuses(request.query),
            maxInstanceCount=int(number(request.query, "top", default=100)),
            fetchInputsAndOutputs=True,
        )
        for name in ("createdTimeFrom", "createdTimeTo"):
            if when := moment(request.query, name):
                getattr(query, name).FromDatetime(when)
        if prefix := request.query.get("instanceIdPrefix"):
            query.instanceIdPrefix.value = prefix
        if token := request.headers.get(PAGE_TOKEN):
            query.continuationToken.value = token
        answer = await self._call("QueryInstances", self._pb.QueryInstancesRequest(query=query))
        show_input = flag(request.query, "showInput")
        documents = [status_document(state, show_input=show_input) for state in answer.orchestrationState]
        return Reply(200, documents, ((PAGE_TOKEN, answer.continuationToken.value),))

    async def _purge_one(self, _: Request, instance: str) -> Reply:
        if not instance.startswith("@"):
            status = RUNTIME_STATUS[(await self._state(instance)).orchestrationStatus]
            if status not in ENDED:
                raise RefusedError(
                    412,
                    f"Only an orchestration that has ended can be purged; {instance} has status {status}.",
                )
        answer = await self._call("PurgeInstances", self._pb.PurgeInstancesRequest(instanceId=instance))
        return Reply(200, {"instancesDeleted": answer.deletedInstanceCount})

    async def _purge_many(self, request: Request) -> Reply:
        since = moment(request.query, "createdTimeFrom")
        if since is None:
            raise RefusedError(400, "Please provide value for 'createdTimeFrom' parameter.")
        choice = self._pb.PurgeInstanceFilter(runtimeStatus=statuses(request.query))
        choice.createdTimeFrom.FromDatetime(since)
        choice.createdTimeTo.FromDatetime(moment(request.query, "createdTimeTo") or datetime.now(UTC))
        answer = await self._call(
            "PurgeInstances", self._pb.PurgeInstancesRequest(purgeInstanceFilter=choice)
        )
        if not answer.deletedInstanceCount:
            return Reply(404)
        return Reply(200, {"instancesDeleted": answer.deletedInstanceCount})

    async def _operate(self, request: Request, instance: str, operation: str) -> Reply:
        operation = operation.lower()
        reason = request.query.get("reason")
        if operation == "restart":
            restart = self._pb.RestartInstanceRequest(
                instanceId=instance,
                restartWithNewInstanceId=flag(request.query, "restartWithNewInstanceId", default=True),
            )
            answer = await self._call("RestartInstance", restart)
            return await self._answer_start(request, answer.instanceId)
        if operation == "rewind":
            status = RUNTIME_STATUS[(await self._state(instance)).orchestrationStatus]
            if status != "Failed":
                raise RefusedError(
                    412, f"Only a failed orchestration can be rewound; {instance} has status {status}."
                )
            rewind = self._pb.RewindInstanceRequest(instanceId=instance)
            if reason is not None:
                rewind.reason.value = reason
            await self._call("RewindInstance", rewind)
            return Reply(202)
        if operation not in {"terminate", "suspend", "resume"}:
            return Reply(404)
        await self._alive(instance)
        if operation == "terminate":
            message = self._pb.TerminateRequest(instanceId=instance, recursive=True)
            if reason is not None:
                message.output.value = json.dumps(reason)
        else:
            message = getattr(self._pb, f"{operation.title()}Request")(instanceId=instance)
            if reason is not None:
                message.reason.value = reason
        await self._call(f"{operation.title()}Instance", message)
        return Reply(202)

    async def _raise_event(self, request: Request, instance: str, operation: str, name: str) -> Reply:
        if operation.lower() != "raiseevent":
            return Reply(404)
        await self._alive(instance)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RefusedError(400, "Only application/json request content is supported")
        event = self._pb.RaiseEventRequest(instanceId=instance, name=name)
        event.input.value = json_text(request.body or b"null")
        await self._call("RaiseEvent", event)
        return Reply(202)

    async def _state(self, instance: str, *, payloads: bool = False) -> Any:
        message = self._pb.GetInstanceRequest(instanceId=instance, getInputsAndOutputs=payloads)
        answer = await self._call("GetInstance", message)
        if not answer.exists:
            raise RefusedError(404)
        return answer.orchestrationState

    async def _alive(self, instance: str) -> None:
        if RUNTIME_STATUS[(await self._state(instance)).orchestrationStatus] in ENDED:
            raise RefusedError(410)


def _grpc_code(error: Exception) -> str:
    code = getattr(error, "code", None)
    value = code() if callable(code) else code
    return str(getattr(value, "name", value))
