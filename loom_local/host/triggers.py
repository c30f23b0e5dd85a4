"""How timers and queues call a function."""

from collections.abc import Mapping
from typing import Any, Protocol

from loom_local.host.function import Function


class Invoke(Protocol):
    """See `FunctionApp.invoke`: calls a function with its trigger's value and binding data.

    Raises HandlerError if the function raised.
    """

    async def __call__(
        self,
        function: Function,
        value: Any,
        *,
        kind: str,
        metadata: Mapping[str, tuple[Any, str]] | None = None,
    ) -> object: ...
