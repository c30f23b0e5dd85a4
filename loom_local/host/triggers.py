"""What timers and queues need to know of a function, and how they call it."""

from collections.abc import Mapping
from typing import Any, Protocol


class Triggered(Protocol):
    """A function with its trigger's binding document, app settings filled in."""

    @property
    def name(self) -> str: ...
    @property
    def trigger(self) -> Mapping[str, Any]: ...


class Invoke[F](Protocol):
    """Calls a function; raises if the function did.

    `value` travels as a binding datum of type `kind` ("json", "bytes"), as does `metadata`, the trigger's
    binding data: {name: (value, kind)}.
    """

    async def __call__(
        self, function: F, value: Any, *, kind: str, metadata: Mapping[str, tuple[Any, str]] | None = None
    ) -> object: ...
