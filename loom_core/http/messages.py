"""Sending messages to actors, and waiting for their answers."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.routing import Route

from loom_core.clients.actors import Actors
from loom_core.clients.incoming import MAX_MESSAGES, TYPES, read
from loom_core.errors import InvalidError, Problem
from loom_core.http.bodies import json_body
from loom_core.http.documents import Rewrite
from loom_core.http.pipelines import MAX_WAIT, preferred_wait
from loom_core.wire.json import JsonObject
from loom_core.wire.messages import Message

SMALL: Final = 16 * 1024
"""Bytes of a body in which no payload is large enough to travel by reference."""
_MESSAGE: Final = {
    "type": "object",
    "properties": {
        "payload": {},
        "messageId": {"type": "string", "maxLength": 128},
        "messageType": {"enum": sorted(TYPES)},
        "correlationId": {"type": "string", "maxLength": 128},
        "actorId": {"type": "string", "description": "Type/id"},
        "metadata": {
            "type": "object",
            "properties": {
                "priority": {"type": "integer"},
                "ttl": {"type": ["integer", "null"], "description": "Milliseconds"},
                "timestamp": {"type": "string", "format": "date-time"},
                "sender": {"type": "string"},
            },
        },
    },
}
_MANY: Final = {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": MAX_MESSAGES}
_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": f"wait=SECONDS, at most {MAX_WAIT}",
}
_ANSWERS: Final = {
    "200": {"description": "All have been served, within the time that Prefer: wait gave"},
    "202": {"description": "They are kept; `results` says for each whether it is new"},
}


def actors_of(request: Request) -> Actors:
    """The actors of the task hub that this request came in for."""
    return request.state.actors


def target_of(request: Request, kind: str, id_: str) -> str:
    """The actor that a path names. Raises NotFoundError for a type that there is not, and InvalidError."""
    try:
        return actors_of(request).known(f"{kind}/{id_}")
    except InvalidError as error:
        raise InvalidError([Problem("path.id", error.problems[0].message)]) from None


async def send(request: Request) -> JSONResponse:
    """Send an actor one message, or a list of them in order."""
    named = request.path_params
    return await _accept(request, target_of(request, named["type"], named["id"]))


async def send_to_many(request: Request) -> JSONResponse:
    """Send messages to many actors, each to its `actorId`."""
    return await _accept(request, None)


def _described(endpoint: Callable[..., Any], schema: JsonObject, *named: str) -> dict[str, Any]:
    path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in named]
    described = {
        "tags": ["actors"],
        "summary": endpoint.__doc__,
        "parameters": [*path, _PREFER],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": _ANSWERS,
    }
    return {"post": described}


# Not FastAPI's: half of what a message costs here would be its looking for what these do not need.
routes: Final = [
    Route("/actors/{type}/{id}/messages", send, methods=["POST"]),
    Route("/messages", send_to_many, methods=["POST"]),
]
DESCRIBED: Final = {
    "/actors/{type}/{id}/messages": _described(send, {"oneOf": [_MESSAGE, _MANY]}, "type", "id"),
    "/messages": _described(send_to_many, _MANY),
}
"""The routes as OpenAPI has them."""


async def _accept(request: Request, to: str | None) -> JSONResponse:
    actors, headers = actors_of(request), request.headers
    given, size = await json_body(request)
    if to is None and not isinstance(given, list):
        raise InvalidError("a list of messages is taken here")
    messages = read(given, actors, datetime.now(UTC), to=to, trace=headers.get("traceparent"))
    if size > SMALL:
        refer: Rewrite = request.app.state.refer
        messages = [await _referred(one, refer) for one in messages]
    seconds = preferred_wait(headers.get("prefer"))
    if not seconds:
        return JSONResponse({"results": await actors.deliver(messages)}, 202)
    resolve: Rewrite = request.app.state.resolve
    results: Any = await resolve(await actors.ask(messages, seconds))
    applied = {"Preference-Applied": f"wait={seconds}"}
    return JSONResponse({"results": results}, 200 if _are_served(messages, results) else 202, applied)


async def _referred(one: Message, refer: Rewrite) -> Message:
    payload = one["payload"]
    if one["messageType"] == "event":
        return {**one, "payload": {**payload, "data": await refer(payload.get("data"))}}
    return {**one, "payload": await refer(payload)}


def _are_served(messages: Sequence[Message], results: Sequence[Any]) -> bool:
    """Events and resumptions are served by being kept."""
    asked = (
        result for one, result in zip(messages, results, strict=True) if one["messageType"] == "activate"
    )
    return all(result["status"] != "accepted" for result in asked)
