"""The webhooks under /entities."""

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from loom_local.host.exchange import Reply, Request
from loom_local.host.instance_documents import entity_document
from loom_local.host.webhook_query import flag, json_text, moment, number

type Call = Callable[[str, Any], Awaitable[Any]]
"""Call a unary RPC of the sidecar by name. Raises an error whose `code` is the gRPC status."""

PAGE_TOKEN = "x-ms-continuation-token"  # noqa: S105  a page's, not a password


class EntityWebhooks:
    """Reads and signals entities; `messages` is the module of the protocol's messages."""

    def __init__(self, call: Call, messages: Any) -> None:
        self._call = call
        self._pb = messages

    async def find(self, request: Request, name: str = "") -> Reply:
        query = self._pb.EntityQuery(includeState=flag(request.query, "fetchState"))
        query.instanceIdStartsWith.value = f"@{name.lower()}@" if name else "@"
        query.pageSize.value = int(number(request.query, "top", default=100))
        for parameter, field in (
            ("lastOperationTimeFrom", query.lastModifiedFrom),
            ("lastOperationTimeTo", query.lastModifiedTo),
        ):
            if when := moment(request.query, parameter):
                field.FromDatetime(when)
        if token := request.headers.get(PAGE_TOKEN):
            query.continuationToken.value = token
        answer = await self._call("QueryEntities", self._pb.QueryEntitiesRequest(query=query))
        documents = [entity_document(entity) for entity in answer.entities]
        return Reply(200, documents, ((PAGE_TOKEN, answer.continuationToken.value),))

    async def read(self, _: Request, name: str, key: str) -> Reply:
        answer = await self._call(
            "GetEntity", self._pb.GetEntityRequest(instanceId=_entity_id(name, key), includeState=True)
        )
        if not answer.exists:
            return Reply(404)
        return Reply(
            200,
            answer.entity.serializedState.value.encode() or b"null",
            (("content-type", "application/json"),),
        )

    async def signal(self, request: Request, name: str, key: str) -> Reply:
        operation = "delete" if request.method == "DELETE" else request.query.get("op", "")
        signal = self._pb.SignalEntityRequest(
            instanceId=_entity_id(name, key),
            name=operation,
            requestId=str(uuid.uuid4()),
            requestTime=datetime.now(UTC),
        )
        if request.body:
            is_json = request.headers.get("content-type", "").lower().startswith("application/json")
            signal.input.value = (
                json_text(request.body) if is_json else json.dumps(request.body.decode(errors="replace"))
            )
        await self._call("SignalEntity", signal)
        return Reply(202)


def _entity_id(name: str, key: str) -> str:
    """The key `$` stands for the empty one."""
    return f"@{name.lower()}@{'' if key == '$' else key}"
