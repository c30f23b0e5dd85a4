"""Runs: list, look at, steer, send events to, follow."""

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from loom_core.clients.run import Control, Status
from loom_core.clients.runs import Runs
from loom_core.errors import InvalidError, Problem
from loom_core.http.documents import RunDocument, RunList, document, referred, whole
from loom_core.http.stream import END, follow
from loom_core.wire.json import canonical

RESERVED: Final = "loom:"

routes = APIRouter(prefix="/runs", tags=["runs"])


def runs_of(request: Request) -> Runs:
    """The runs of the task hub that this request came in for."""
    return request.state.runs


@routes.get("", response_class=JSONResponse, responses={200: {"model": RunList}})
async def list_runs(
    request: Request,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(max_length=4096, description="`next` of the page before")] = None,
) -> JSONResponse:
    page = await runs_of(request).list(status=status, limit=limit, after=after)
    return JSONResponse({"runs": [document(run, brief=True) for run in page.runs], "next": page.next})


@routes.get("/{run_id}", response_class=JSONResponse, responses={200: {"model": RunDocument}})
async def get_run(run_id: str, request: Request) -> JSONResponse:
    return JSONResponse(await whole(await runs_of(request).get(run_id), request))


@routes.post("/{run_id}/{action}", response_class=JSONResponse, responses={200: {"model": RunDocument}})
async def control_run(
    run_id: str,
    action: Control,
    request: Request,
    force: Annotated[bool, Query(description="cancel only: end it at once and undo nothing")] = False,
) -> JSONResponse:
    """Doing it again changes nothing; 409 says what else to do with a run that has ended."""
    if force and action != "cancel":
        raise InvalidError([Problem("query.force", f"only cancel can be forced, not {action}")])
    return JSONResponse(await whole(await runs_of(request).control(run_id, action, force=force), request))


@routes.post("/{run_id}/events/{name}", status_code=202, response_class=Response)
async def raise_event(
    run_id: str,
    name: Annotated[str, Path(min_length=1, max_length=100)],
    request: Request,
    payload: Annotated[Any, Body()] = None,
) -> Response:
    """Deliver any JSON document to a run that waits, or will wait, for this event."""
    if name.casefold().startswith(RESERVED):
        raise InvalidError([Problem("path.name", f"names that begin with {RESERVED} are Loom's own")])
    try:
        canonical(payload)
    except ValueError as error:
        raise InvalidError(str(error)) from error
    await runs_of(request).raise_event(run_id, name, await referred(payload, request))
    return Response(status_code=202)


@routes.get("/{run_id}/events", response_class=StreamingResponse)
async def follow_run(
    run_id: str, request: Request, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """Server-sent events: stage.started, stage.progress, stage.finished, run.finished; resumable."""
    runs = runs_of(request)
    run = await runs.get(run_id)
    if last_event_id == END:
        return Response(status_code=204)  # tells an EventSource to stop reconnecting
    seen = int(last_event_id) if last_event_id and re.fullmatch("[0-9]{1,15}", last_event_id) else 0
    return StreamingResponse(
        follow(runs, run, seen),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
