"""Whether the process lives, and whether it can work."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from loom_core.errors import UnavailableError
from loom_core.http.runs import runs_of

routes = APIRouter(tags=["health"])

_ALIVE = {"status": "ok"}


@routes.get("/health", response_class=JSONResponse)
async def health() -> JSONResponse:
    """The process answers. Touches nothing else, so that a broken backend does not restart it."""
    return JSONResponse(_ALIVE)


@routes.get(
    "/ready", response_class=JSONResponse, responses={503: {"description": "Not yet; the detail says why"}}
)
async def ready(request: Request) -> JSONResponse:
    """The durable backend answers within two seconds."""
    try:
        async with asyncio.timeout(2):
            await runs_of(request).list(limit=1)
    except TimeoutError as error:
        raise UnavailableError("the durable backend did not answer within 2 s") from error
    return JSONResponse(_ALIVE)
