"""The pipelines there are: list them, look at them, store new versions."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from loom_core.catalogue.catalogue import Catalogue, Expected, Page
from loom_core.catalogue.pipeline import Pipeline, Source
from loom_core.catalogue.text import decode
from loom_core.errors import ConflictError
from loom_core.http.bodies import check_declared
from loom_core.http.documents import ProblemDocument
from loom_core.notations import MAX_BYTES
from loom_core.wire.json import Json


class PipelineDocument(BaseModel):
    """A version of a pipeline; in a list `definition` is left out."""

    name: str
    version: str
    label: str
    notation: str
    source: Source
    updatedAt: str | None  # noqa: N815 - the wire's spelling
    warnings: list[ProblemDocument]
    definition: dict[str, Any] | None = None


class PipelineList(BaseModel):
    pipelines: list[PipelineDocument]
    next: str | None


Version = Annotated[
    str | None,
    Query(min_length=1, max_length=128, description="A digest, 8 digits and more of one, or a label"),
]
Limit = Annotated[int, Query(ge=1, le=200)]
After = Annotated[str, Query(max_length=200, description="`next` of the page before")]
Matches = Annotated[str | None, Header(max_length=4096)]

_LIST: Any = {"response_class": JSONResponse, "responses": {200: {"model": PipelineList}}}
_ONE: Any = {"response_class": JSONResponse, "responses": {200: {"model": PipelineDocument}}}
_CHANGED: Any = {412: {"description": "The current version is another one"}}
_BODY: Any = {
    "requestBody": {
        "required": True,
        "description": f"A definition in any notation, of at most {MAX_BYTES} bytes",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


def router(catalogue: Catalogue) -> APIRouter:
    """Routes over the pipelines of this catalogue."""
    routes = APIRouter(prefix="/pipelines", tags=["pipelines"])

    @routes.get("", **_LIST)
    async def list_pipelines(  # pyright: ignore[reportUnusedFunction]
        limit: Limit = 100, after: After = ""
    ) -> JSONResponse:
        return _page(await catalogue.page(limit, after))

    @routes.get("/{name}", **_ONE)
    async def get_pipeline(  # pyright: ignore[reportUnusedFunction]
        name: str, version: Version = None
    ) -> JSONResponse:
        return _answer(await catalogue.get(name, version))

    @routes.put(
        "/{name}",
        **_ONE
        | {"responses": {200: {"model": PipelineDocument}, 201: {"model": PipelineDocument}, **_CHANGED}},
        openapi_extra=_BODY,
    )
    async def put_pipeline(  # pyright: ignore[reportUnusedFunction]
        name: str, request: Request, if_match: Matches = None, if_none_match: Matches = None
    ) -> Response:
        """Store a version and make it current: 201 if it is new. Runs under way keep theirs."""
        check_declared(request)
        definition = decode(await request.body())
        try:
            pipeline, is_new = await catalogue.put(name, definition, _expected(if_match, if_none_match))
        except ConflictError as error:
            raise HTTPException(412, str(error)) from error
        return _answer(pipeline, 201 if is_new else 200)

    @routes.delete("/{name}", status_code=204, response_class=Response, responses=_CHANGED)
    async def remove_pipeline(  # pyright: ignore[reportUnusedFunction]
        name: str, if_match: Matches = None
    ) -> Response:
        """Go back to the pipeline that the app ships, or to none. Every version is kept."""
        try:
            await catalogue.remove(name, _expected(if_match, None))
        except ConflictError as error:
            raise HTTPException(412, str(error)) from error
        return Response(status_code=204)

    @routes.get("/{name}/versions", **_LIST)
    async def list_versions(  # pyright: ignore[reportUnusedFunction]
        name: str, limit: Limit = 100, after: After = ""
    ) -> JSONResponse:
        """The newest first; the one that the app ships is the last."""
        return _page(await catalogue.versions(name, limit, after))

    @routes.get("/{name}/versions/{version}", **_ONE)
    async def get_version(name: str, version: str) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        return _answer(await catalogue.get(name, version))

    @routes.get("/{name}/diagram", response_class=PlainTextResponse)
    async def draw(name: str, version: Version = None) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The pipeline as a Mermaid diagram."""
        pipeline = await catalogue.get(name, version)
        from loom_core.notations.diagram import mermaid  # noqa: PLC0415 - few requests draw

        return Response(mermaid(pipeline.plan), media_type="text/vnd.mermaid")

    return routes


def _page(page: Page) -> JSONResponse:
    return JSONResponse({"pipelines": page.pipelines, "next": page.next})


def _answer(pipeline: Pipeline, status: int = 200) -> JSONResponse:
    document: dict[str, Json] = {**pipeline.document(), "definition": pipeline.definition}
    return JSONResponse(document, status, {"ETag": f'"{pipeline.version}"'})


def _expected(if_match: str | None, if_none_match: str | None) -> Expected | None:
    """What the headers ask of the current version; None if nothing."""
    if if_match is None and if_none_match is None:
        return None

    def holds(current: str | None) -> bool:
        is_allowed = if_match is None or _names(if_match, current)
        return is_allowed and (if_none_match is None or not _names(if_none_match, current))

    return holds


def _names(tags: str, version: str | None) -> bool:
    return version is not None and (tags.strip() == "*" or version in re.findall(r'"([^"]*)"', tags))
