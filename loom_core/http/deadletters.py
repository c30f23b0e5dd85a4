"""Dead letters: list, look at, replay, drop."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator

from loom_core.clients.deadletters import Quarantine
from loom_core.http.documents import Rewrite
from loom_core.http.messages import actors_of
from loom_core.wire.json import Json

MAX_AT_ONCE = 1_000

Limit = Annotated[int, Query(ge=1, le=MAX_AT_ONCE)]
After = Annotated[str, Query(max_length=200, description="`next` of the page before")]
Id = Annotated[str, Field(max_length=200)]


class ReplayRequest(BaseModel):
    """Which are replayed: these `ids`; or `all`, those of one `actor` perhaps, 1,000 from `after` on."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_AT_ONCE)] | None = None
    all: bool = False
    actor: Annotated[str, Field(max_length=200)] | None = None
    after: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def one_of_them(self) -> Self:
        if (self.ids is None) != self.all:
            raise ValueError("either ids or all is given")
        return self


routes = APIRouter(prefix="/deadletters", tags=["dead letters"])


def _quarantine(request: Request) -> Quarantine:
    return Quarantine(actors_of(request))


@routes.get("", response_class=JSONResponse)
async def list_dead_letters(
    request: Request, limit: Limit = 100, after: After = "", actor: str | None = None
) -> JSONResponse:
    """Messages that could not be served, without their payloads. A page of one actor may have few of them."""
    found, following = await _quarantine(request).page(limit, after, actor)
    return JSONResponse({"deadLetters": found, "next": following})


@routes.get("/{id}", response_class=JSONResponse)
async def get_dead_letter(id: str, request: Request) -> JSONResponse:  # noqa: A002 - the API's word
    resolve: Rewrite = request.app.state.resolve
    return JSONResponse(await resolve(await _quarantine(request).get(id)))


@routes.post("/replay", status_code=202, response_class=JSONResponse)
async def replay_many(body: ReplayRequest, request: Request) -> JSONResponse:
    """Replay many. `next` is the `after` with which to go on."""
    quarantine, following = _quarantine(request), None
    ids: list[Any] = body.ids or []
    if body.all:
        found, following = await quarantine.page(MAX_AT_ONCE, body.after, body.actor)
        ids = [letter["id"] for letter in found]
    results = await quarantine.replay_many([*dict.fromkeys(ids)], datetime.now(UTC))
    replayed = sum("error" not in result for result in results)
    answer: dict[str, Json] = {"replayed": replayed, "results": results, "next": following}
    return JSONResponse(answer, 202)


@routes.post("/{id}/replay", status_code=202, response_class=JSONResponse)
async def replay(id: str, request: Request) -> JSONResponse:  # noqa: A002 - as above
    """Send the message again, as if for the first time, and delete the dead letter."""
    return JSONResponse(await _quarantine(request).replay(id, datetime.now(UTC)), 202)


@routes.delete("/{id}", status_code=204, response_class=Response)
async def drop(id: str, request: Request) -> Response:  # noqa: A002 - as above
    """Delete the dead letter, and its message with it."""
    await _quarantine(request).drop(id)
    return Response(status_code=204)
