"""What the durable backend answers, and its refusals as Loom's errors."""

from collections.abc import Awaitable
from typing import Final

import grpc.aio

from loom_core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError

_ERRORS: Final = {
    grpc.StatusCode.ALREADY_EXISTS: (ConflictError, "there is a run of this id already"),
    grpc.StatusCode.NOT_FOUND: (NotFoundError, "there is no such run"),
    grpc.StatusCode.FAILED_PRECONDITION: (ConflictError, ""),
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidError, ""),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (InvalidError, "the answer is too large; ask with a smaller limit"),
}
"""What the backend's refusals are here; without words, its own are told."""


async def answer[T](asked: Awaitable[T]) -> T:
    """Raises ConflictError, InvalidError, NotFoundError and UnavailableError."""
    try:
        return await asked
    except grpc.aio.AioRpcError as error:
        code = error.code()
        kind, words = _ERRORS.get(code, (UnavailableError, f"the durable backend answered {code.name}"))
        raise kind(words or error.details() or f"the durable backend refused: {code.name}") from error
