"""Starting runs of pipelines."""

import re
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loom_core.catalogue.catalogue import Catalogue
from loom_core.clients.run import Start
from loom_core.errors import InvalidError, Problem
from loom_core.http.documents import RunDocument, referred, whole
from loom_core.http.runs import runs_of
from loom_core.schema import Schema
from loom_core.wire.json import Json, canonical

MAX_WAIT: Final = 220
"""Seconds. Azure's front end gives up on a silent request after about 230."""


def _finite(value: Any) -> Any:
    canonical(value)  # raises ValueError for NaN, infinities and lone surrogates
    return value


FiniteJson = Annotated[Any, AfterValidator(_finite)]


class StartRequest(BaseModel):
    """What `POST pipelines/{name}/runs` takes."""

    model_config = ConfigDict(extra="forbid")

    input: FiniteJson = Field(default_factory=dict[str, Any])
    version: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="A digest, 8 digits and more of one, or a label; without it the current version"
    )


def router(catalogue: Catalogue) -> APIRouter:
    """Routes over the pipelines of this catalogue."""
    routes = APIRouter(prefix="/pipelines", tags=["pipelines"])

    @routes.post(
        "/{name}/runs",
        status_code=202,
        response_class=JSONResponse,
        responses={
            200: {"model": RunDocument, "description": "Finished within the time that Prefer: wait gave"},
            202: {"model": RunDocument, "description": "Started; Location says where to look"},
            409: {"description": "The Idempotency-Key belongs to a run with another input"},
        },
    )
    async def start_run(  # pyright: ignore[reportUnusedFunction]
        name: str,
        body: StartRequest,
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
        prefer: Annotated[str | None, Header(description=f"wait=SECONDS, at most {MAX_WAIT}")] = None,
    ) -> JSONResponse:
        pipeline, runs = await catalogue.get(name, body.version), runs_of(request)
        check_input(pipeline.plan.input_schema, body.input)
        library, taken = await catalogue.library(pipeline), await referred(body.input, request)
        start = Start(name, pipeline.version, pipeline.definition, taken, library, body.version)
        run_id, _ = await runs.start(start, idempotency_key)
        seconds = preferred_wait(prefer)
        run = await (runs.wait(run_id, seconds) if seconds else runs.get(run_id))
        headers = {"Location": f"{request.scope.get('root_path', '')}/runs/{run_id}"}
        if seconds:
            headers["Preference-Applied"] = f"wait={seconds}"
        return JSONResponse(await whole(run, request), 200 if seconds and run.is_finished else 202, headers)

    return routes


def check_input(schema: Json, value: Json) -> None:
    """Raises InvalidError with every problem; its paths begin at the request's body."""
    if not isinstance(schema, dict | bool):
        return
    try:
        Schema(cast("dict[str, Any] | bool", schema)).check(value)
    except InvalidError as error:
        raise InvalidError([Problem(f"$.input{p.path[1:]}", p.message) for p in error.problems]) from None


def preferred_wait(prefer: str | None) -> int:
    """Seconds of RFC 7240's `wait` preference; what cannot be understood is ignored, as the RFC asks."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\b", prefer or "", re.ASCII)
    return min(int(found[1]), MAX_WAIT) if found else 0
