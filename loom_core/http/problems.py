"""Errors as RFC 9457 problem documents: what was wrong, where, and what to do."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from loom_core.catalogue.text import NotJsonError
from loom_core.errors import (
    ConflictError,
    IntegrityError,
    InvalidError,
    LoomError,
    NotFoundError,
    Problem,
    TimedOutError,
    UnavailableError,
)

_log = logging.getLogger(__name__)

_STATUS: Final[dict[type[LoomError], HTTPStatus]] = {
    InvalidError: HTTPStatus.UNPROCESSABLE_ENTITY,
    IntegrityError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    TimedOutError: HTTPStatus.GATEWAY_TIMEOUT,
}
_SHOWN: Final = 100


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


def problem(
    status: int, detail: str, problems: Sequence[Problem] = (), headers: dict[str, str] | None = None
) -> ProblemResponse:
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "problems": [{"path": p.path, "message": p.message} for p in problems[:_SHOWN]],
    }
    return ProblemResponse(document, status, headers)


def install(app: FastAPI) -> None:
    """Answer every error of this application with a problem document."""
    app.add_exception_handler(LoomError, _loom_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _loom_error(_: Request, error: Exception) -> ProblemResponse:
    status = (
        _STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR) if isinstance(error, LoomError) else 500
    )
    if isinstance(error, NotJsonError):
        return problem(400, "the body is not JSON", error.problems)
    if isinstance(error, InvalidError):
        return problem(status, "the document breaks its rules", error.problems)
    return problem(status, str(error), headers={"Retry-After": "1"} if status == 503 else None)


async def _invalid_request(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # FastAPI parses what is declared to be JSON, and nothing else
        declared = request.headers.get("content-type", "nothing")
        return problem(415, f"send the body as Content-Type: application/json; it was declared as {declared}")
    found: list[dict[str, Any]] = list(error.errors())
    if any(e["type"] == "json_invalid" for e in found):
        where = found[0]["loc"][-1]
        return problem(400, "the body is not JSON", [Problem("$", f"not JSON at character {where}")])
    return problem(422, "the request breaks its rules", [Problem(_path(e["loc"]), e["msg"]) for e in found])


def _path(location: Sequence[str | int]) -> str:
    where, *rest = location
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)
    return f"${steps}" if where == "body" else f"{where}{steps}"


async def _http_error(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def _unexpected(request: Request, error: Exception) -> ProblemResponse:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "this is a defect of Loom or of the app; the log has the details")
