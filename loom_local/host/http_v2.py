"""HTTP as the FastAPI extension has it: a function is given a live request and returns a live response.

The cloud's worker serves such functions from one FastAPI route that takes every path, so what a function
returns or raises is answered here as FastAPI answers what a route returns or raises.
"""

from typing import Any

from loom_local.host.exchange import Receive, Scope


def request_of(scope: Scope, receive: Receive, parameters: dict[str, str]) -> Any:
    from starlette.requests import Request  # noqa: PLC0415  the app has loaded it

    scope["path_params"] = parameters
    return Request(scope, receive)


def response_of(answer: Any) -> Any:
    """Give the ASGI application that sends `answer`: a response as it is, anything else as JSON."""
    from starlette.responses import JSONResponse, Response  # noqa: PLC0415  the app has loaded it

    if isinstance(answer, Response):
        return answer
    from fastapi.encoders import jsonable_encoder  # noqa: PLC0415  the app has loaded it

    return JSONResponse(jsonable_encoder(answer))


def refusal_of(error: BaseException) -> Any:
    """Give the ASGI application that answers an HTTPException; None for any other error."""
    from starlette.exceptions import HTTPException  # noqa: PLC0415  the app has loaded it
    from starlette.responses import JSONResponse, Response  # noqa: PLC0415  the app has loaded it

    if not isinstance(error, HTTPException):
        return None
    if error.status_code in {204, 304}:
        return Response(status_code=error.status_code, headers=error.headers)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
