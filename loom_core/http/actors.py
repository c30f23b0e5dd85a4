"""Actors: list, look at, steer."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from loom_core.clients.incoming import read
from loom_core.errors import InvalidError, Problem
from loom_core.http.documents import Rewrite, referred
from loom_core.http.messages import actors_of, target_of

MAX_SEQ = 2**53

Seq = Annotated[int, Query(ge=0, le=MAX_SEQ)]


class CancelRequest(BaseModel):
    """What is to be cancelled: the running turn, or the message of this id wherever it is."""

    model_config = ConfigDict(extra="forbid")

    messageId: Annotated[str, Field(min_length=1, max_length=512)] | None = None  # noqa: N815 - the wire's spelling


class RollbackRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    toSeq: Annotated[int, Field(ge=0, le=MAX_SEQ, strict=True)]  # noqa: N815 - the wire's spelling


routes = APIRouter(prefix="/actors", tags=["actors"])


@routes.get("", response_class=JSONResponse)
async def list_types(request: Request) -> JSONResponse:
    """The types of actors that the app has."""
    return JSONResponse({"types": actors_of(request).types})


@routes.get("/{type}", response_class=JSONResponse)
async def list_actors(
    type: str,  # noqa: A002 - the API's word
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(max_length=4096, description="`next` of the page before")] = None,
) -> JSONResponse:
    """The addresses of the actors of a type: those that were sent a message."""
    found, following = await actors_of(request).page(type, limit, after)
    return JSONResponse({"actors": found, "next": following})


@routes.get("/{type}/{id}", response_class=JSONResponse)
async def get_actor(type: str, id: str, request: Request) -> JSONResponse:  # noqa: A002 - as above
    return await _resolved(request, await actors_of(request).get(target_of(request, type, id)))


@routes.get("/{type}/{id}/journal", response_class=JSONResponse)
async def get_journal(
    type: str,  # noqa: A002 - as above
    id: str,  # noqa: A002 - as above
    request: Request,
    after: Seq = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JSONResponse:
    """What the actor has done, in order."""
    target = target_of(request, type, id)
    entries, following = await actors_of(request).journal(target, after, limit)
    return JSONResponse({"entries": entries, "next": following})


@routes.get("/{type}/{id}/state", response_class=JSONResponse)
async def get_state(
    type: str,  # noqa: A002 - as above
    id: str,  # noqa: A002 - as above
    request: Request,
    at: Annotated[int | None, Query(ge=0, le=MAX_SEQ, description="The number of an entry")] = None,
) -> JSONResponse:
    """The state as it is, or as it was after an entry of the journal."""
    actors, target = actors_of(request), target_of(request, type, id)
    if at is None:
        found: Any = await actors.get(target)
        return await _resolved(request, {"seq": found["seq"], "state": found["state"]})
    try:
        state = await actors.state_at(target, at)
    except InvalidError as error:
        raise InvalidError([Problem("query.at", error.problems[0].message)]) from None
    return await _resolved(request, {"seq": at, "state": state})


@routes.get("/{type}/{id}/export", response_class=StreamingResponse)
async def export(type: str, id: str, request: Request) -> Response:  # noqa: A002 - as above
    """The whole journal as JSON Lines."""
    lines = await actors_of(request).export(target_of(request, type, id))
    return StreamingResponse(lines, media_type="application/jsonl")


@routes.post("/{type}/{id}/cancel", response_class=JSONResponse)
async def cancel(
    type: str,  # noqa: A002 - as above
    id: str,  # noqa: A002 - as above
    request: Request,
    body: CancelRequest | None = None,
) -> JSONResponse:
    """Cancel the running turn, with what it waits for; or a message that waits."""
    target = target_of(request, type, id)
    return JSONResponse(await actors_of(request).cancel(target, body.messageId if body else None))


@routes.post("/{type}/{id}/rollback", response_class=JSONResponse)
async def rollback(
    type: str,  # noqa: A002 - as above
    id: str,  # noqa: A002 - as above
    body: RollbackRequest,
    request: Request,
) -> JSONResponse:
    """Make the state what it was after an entry: a change like any other, and journaled."""
    return await _resolved(
        request, await actors_of(request).rollback(target_of(request, type, id), body.toSeq)
    )


@routes.post("/{type}/{id}/resume", status_code=202, response_class=JSONResponse)
async def resume(
    type: str,  # noqa: A002 - as above
    id: str,  # noqa: A002 - as above
    request: Request,
    payload: Annotated[Any, Body()] = None,
) -> JSONResponse:
    """Let a suspended actor go on, with any JSON document or nothing."""
    actors, target = actors_of(request), target_of(request, type, id)
    trace = request.headers.get("traceparent")
    given = {"messageType": "resume", "payload": payload}
    [message] = read(given, actors, datetime.now(UTC), to=target, trace=trace)
    await actors.get(target)  # else it would come into being
    [result] = await actors.deliver([{**message, "payload": await referred(payload, request)}])
    return JSONResponse(result, 202)


async def _resolved(request: Request, value: Any) -> JSONResponse:
    resolve: Rewrite = request.app.state.resolve
    return JSONResponse(await resolve(value))
