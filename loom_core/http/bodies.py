"""JSON bodies that are read without a model: what they hold is checked by whoever knows what it is to be."""

import json
import re

from fastapi import HTTPException, Request

from loom_core.catalogue.text import NotJsonError
from loom_core.wire.json import Json

_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json(?:\s*;.*)?", re.IGNORECASE)


def check_declared(request: Request) -> None:
    """Refuse a body that is not declared to be JSON."""
    declared = request.headers.get("content-type", "nothing")
    if not _JSON.fullmatch(declared):
        detail = f"send the body as Content-Type: application/json; it was declared as {declared}"
        raise HTTPException(415, detail)


async def json_body(request: Request) -> tuple[Json, int]:
    """The document that a request carries, and its size in bytes. Raises NotJsonError."""
    check_declared(request)
    body = await request.body()
    try:
        return json.loads(body), len(body)
    except RecursionError:
        raise NotJsonError("not JSON that can be read: it is nested too deep") from None
    except UnicodeError:
        raise NotJsonError("not JSON: it is not UTF-8") from None
    except ValueError as error:
        raise NotJsonError(f"not JSON: {error}") from None
