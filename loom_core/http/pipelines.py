"""The pipelines this app ships, and starting runs of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loom_core.activities.schema import Schema
from loom_core.durable.runs import Start
from loom_core.errors import InvalidError, NotFoundError, Problem
from loom_core.http.documents import RunDocument, referred, whole
from loom_core.http.runs import runs_of
from loom_core.wire.json import Json, JsonObject, canonical

MAX_WAIT: Final = 220
"""Seconds. Azure's front end gives up on a silent request after about 230."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A pipeline of this app: its document, and what parsing it told."""

    name: str
    version: str
    definition: JsonObject
    input_schema: Json = None
    warnings: tuple[Problem, ...] = ()

    def document(self) -> dict[str, Any]:
        warnings = [{"path": w.path, "message": w.message} for w in self.warnings]
        return {"name": self.name, "version": self.version, "warnings": warnings}


def _finite(value: Any) -> Any:
    canonical(value)  # raises ValueError for NaN, infinities and lone surrogates
    return value


FiniteJson = Annotated[Any, AfterValidator(_finite)]


class StartRequest(BaseModel):
    """What `POST pipelines/{name}/runs` takes."""

    model_config = ConfigDict(extra="forbid")

    input: FiniteJson = Field(default_factory=dict[str, Any])


def router(shipped: Mapping[str, Shipped]) -> APIRouter:
    """Routes over these pipelines, by name."""
    routes = APIRouter(prefix="/pipelines", tags=["pipelines"])

    @routes.get("")
    async def list_pipelines() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        return {"pipelines": [pipeline.document() for pipeline in shipped.values()]}

    @routes.get("/{name}")
    async def get_pipeline(name: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        pipeline = _find(shipped, name)
        return {**pipeline.document(), "definition": pipeline.definition}

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
        pipeline, runs = _find(shipped, name), runs_of(request)
        check_input(pipeline.input_schema, body.input)
        taken = await referred(body.input, request)
        start = Start(pipeline.name, pipeline.version, pipeline.definition, taken)
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


def _find(shipped: Mapping[str, Shipped], name: str) -> Shipped:
    if name not in shipped:
        raise NotFoundError(
            f"there is no pipeline {name!r}; there are: {', '.join(sorted(shipped)) or 'none'}"
        )
    return shipped[name]
