"""The JSON Schemas of what Loom reads, for editors and other tools."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from loom_core.errors import NotFoundError
from loom_core.wire.json import canonical, digest

routes = APIRouter(prefix="/schemas", tags=["schemas"])

_CACHED = {"Cache-Control": "public, max-age=3600"}


@routes.get("", response_class=JSONResponse)
async def list_schemas(request: Request) -> JSONResponse:
    """Their names, and where they are."""
    from loom_core.notations.schemas import schemas  # noqa: PLC0415 - few requests ask for them

    root = request.scope.get("root_path", "")
    found = [{"name": name, "href": f"{root}/schemas/{name}.json"} for name in sorted(schemas())]
    return JSONResponse({"schemas": found}, headers=_CACHED)


@routes.get("/{name}.json", response_class=Response)
async def get_schema(
    name: str, if_none_match: Annotated[str | None, Header(max_length=4096)] = None
) -> Response:
    from loom_core.notations.schemas import schemas  # noqa: PLC0415 - as above

    found = schemas()
    if name not in found:
        raise NotFoundError(f"there is no schema {name!r}; there are: {', '.join(sorted(found))}")
    headers = {**_CACHED, "ETag": f'"{digest(found[name])}"'}
    if if_none_match and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(canonical(found[name]), media_type="application/schema+json", headers=headers)
