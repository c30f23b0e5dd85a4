"""Loom: durable execution for AI agents. The public names load on first use and cost no cold start."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom_core.activities import activity, current_call
    from loom_core.actors.actor import Actor
    from loom_core.pipelines.gather import reducer
    from loom_core.resilience.retry import RetryPolicy

__all__ = ["Actor", "RetryPolicy", "activity", "current_call", "reducer"]

_ROOMS = {
    "Actor": "loom_core.actors.actor",
    "RetryPolicy": "loom_core.resilience.retry",
    "activity": "loom_core.activities",
    "current_call": "loom_core.activities",
    "reducer": "loom_core.pipelines.gather",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
