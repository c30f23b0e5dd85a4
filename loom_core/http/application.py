"""The FastAPI application, as it is mounted under /api."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from loom_core.catalogue.catalogue import Catalogue
from loom_core.clients.actors import Actors
from loom_core.clients.runs import Runs
from loom_core.http import actors as actors_
from loom_core.http import deadletters, definitions, health, messages, pipelines, problems, runs, schemas
from loom_core.http.documents import Rewrite
from loom_core.http.limits import BodyLimit

PREFIX = "/api"
_SCOPE_KEYS = (
    "type",
    "asgi",
    "http_version",
    "server",
    "client",
    "scheme",
    "method",
    "path",
    "raw_path",
    "query_string",
    "headers",
    "extensions",
)


def application(catalogue: Catalogue, resolve: Rewrite, refer: Rewrite) -> ASGIApp:
    """Loom's HTTP API over these pipelines. Each request's scope carries its clients as
    `state["runs"]` and `state["actors"]`.

    `refer` puts references in the place of the long strings of a large document that a run is given, and
    `resolve` puts the strings back.
    """
    app = FastAPI(
        title="Loom",
        summary="Durable pipelines",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.resolve, app.state.refer = resolve, refer
    problems.install(app)
    pipelines_ = (definitions.router(catalogue), pipelines.router(catalogue))
    app.router.routes[:0] = messages.routes
    rest = (runs.routes, health.routes, actors_.routes, deadletters.routes, schemas.routes)
    for routes in (*pipelines_, *rest):
        app.include_router(routes)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document["paths"] |= messages.DESCRIBED
        return document

    app.openapi = openapi
    return BodyLimit(app)


class Delegate(Response):
    """A response that lets an ASGI application answer the request, streaming both ways.

    It is what the Functions worker's own web server sends; the scope is cleaned of that server's routing.
    """

    def __init__(self, app: ASGIApp, runs: Runs | None = None, actors: Actors | None = None) -> None:
        super().__init__()
        self._app, self._state = app, {"runs": runs, "actors": actors}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        clean = {key: scope[key] for key in _SCOPE_KEYS if key in scope}
        await self._app(clean | {"root_path": PREFIX, "state": self._state}, receive, send)
