"""What an activity may ask about the call it serves."""

from contextvars import ContextVar
from dataclasses import dataclass

from loom_core.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Call:
    """`key` is the same for every attempt at the same step: hand it on as an idempotency key."""

    activity: str
    run: str
    key: str


CURRENT: ContextVar[Call] = ContextVar("loom_call")


def current_call() -> Call:
    """The call being served. Raises NotFoundError outside an activity."""
    try:
        return CURRENT.get()
    except LookupError:
        raise NotFoundError("no activity is being called here") from None
