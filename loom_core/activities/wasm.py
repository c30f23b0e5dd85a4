"""WASM activities: what a module is given and gives back is held to its definition."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from loom_core.activities.call import current_call
from loom_core.activities.definition import Definition
from loom_core.errors import InvalidError, SandboxError
from loom_core.schema import Schema, encode
from loom_core.wire.json import Json

if TYPE_CHECKING:
    from loom_core.sandbox.sandbox import Sandbox

MAX_INPUT_BYTES = 16 * 1024 * 1024


class Wasm:
    """An activity whose work a module does."""

    is_async = False

    def __init__(self, definition: Definition, sandbox: "Callable[[], Sandbox]") -> None:
        self.name = definition.name
        self.source = definition.source
        self._pinned = definition.digest, definition.source, definition.limits
        self._sandbox = sandbox
        self._takes = Schema(definition.input_schema)
        self._gives = Schema(definition.output_schema)

    async def call(self, value: Json) -> Json:
        """Raises InvalidError for an input that breaks its schema, and what `Sandbox.run` raises."""
        data = encode(value)
        if len(data) > MAX_INPUT_BYTES:
            raise InvalidError(f"the input has {len(data)} bytes; {MAX_INPUT_BYTES} are allowed")
        self._takes.check(value)
        output = await self._sandbox().run(*self._pinned, data, current_call.get().stop)
        try:
            self._gives.check(output)
        except InvalidError as error:
            raise SandboxError(f"the module's output breaks its schema: {error}") from None
        return output
