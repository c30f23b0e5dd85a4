"""Activities: everything `run_activity` does with one call, from its payload to its result."""

from collections.abc import Awaitable, Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from loom_core.activities.call import CURRENT, Call
from loom_core.activities.definition import Definition
from loom_core.activities.native import Native
from loom_core.activities.payloads import INLINE_BYTES, resolve, spill
from loom_core.activities.schema import encode
from loom_core.activities.wasm import Sandbox, Wasm
from loom_core.errors import InvalidError, LoomError, NotFoundError, Problem
from loom_core.ports.blobs import BlobStore
from loom_core.wire.json import Json, JsonObject

MAX_RESULT_BYTES = 32 * 1024 * 1024
_MAX_MESSAGE = 4_000


class _Activity(Protocol):
    @property
    def definition(self) -> Definition: ...
    def call(self, value: Json, /) -> Awaitable[Json]: ...


class Activities:
    """The activities of an app, by name."""

    def __init__(
        self,
        functions: Iterable[Callable[..., Any]],
        modules: Iterable[Definition] = (),
        *,
        blobs: BlobStore,
        cache: Path | None = None,
    ) -> None:
        """Take functions named by `@activity` and the definitions of WASM modules.

        Compiled modules are kept in the directory `cache`, which must be this user's alone; with None every
        process compiles them anew. Raises InvalidError naming every two that claim the same name.
        """
        self._blobs = blobs
        self._activities: dict[str, _Activity] = {}
        modules = tuple(modules)
        sandbox = Sandbox(modules, blobs, cache)
        found: dict[str, str] = {}
        problems: list[Problem] = []
        natives = ((native.name, native.source, native) for native in map(Native, functions))
        sandboxed = ((module.name, module.source, Wasm(module, sandbox)) for module in modules)
        for name, source, one in chain(natives, sandboxed):
            if found.setdefault(name, source) != source:
                problems.append(Problem(source, f"{found[name]} also defines an activity {name!r}"))
            self._activities[name] = one
        if problems:
            raise InvalidError(problems)

    @property
    def definitions(self) -> tuple[Definition, ...]:
        return tuple(self._activities[name].definition for name in sorted(self._activities))

    def __contains__(self, name: object) -> bool:
        return name in self._activities

    async def run(self, payload: JsonObject) -> Json:
        """Serve `{"activity", "input" | "inputs", "run", "key"}`.

        For `input` the result is the output, and what goes wrong is raised: InvalidError, NotFoundError,
        IntegrityError, SandboxError, UnavailableError, or what the activity itself raises. For `inputs` it
        is a list with `{"ok": output}` or `{"error": {"type", "message", "retryable"}}` for each, in order.
        A result over INLINE_BYTES has its long strings replaced by references, which inputs may carry.
        """
        call = Call(str(payload["activity"]), str(payload.get("run", "")), str(payload.get("key", "")))
        inputs = payload.get("inputs")
        if isinstance(inputs, list | tuple):
            pairs = [
                await self._outcome(Call(call.activity, call.run, f"{call.key}/{index}"), value)
                for index, value in enumerate(inputs)
            ]
            result, size = [outcome for outcome, _ in pairs], sum(size for _, size in pairs)
        else:
            result, size = await self._call(call, payload.get("input"))
        return await spill(self._blobs, result) if size > INLINE_BYTES else result

    async def _call(self, call: Call, value: Json) -> tuple[Json, int]:
        """The output and how many bytes of JSON it has."""
        activity = self._activities.get(call.activity)
        if activity is None:
            raise NotFoundError(f"there is no activity {call.activity!r}")
        token = CURRENT.set(call)
        try:
            output = await activity.call(await resolve(self._blobs, value))
        finally:
            CURRENT.reset(token)
        size = len(encode(output))
        if size > MAX_RESULT_BYTES:
            raise InvalidError(f"the output has {size} bytes; {MAX_RESULT_BYTES} are allowed")
        return output, size

    async def _outcome(self, call: Call, value: Json) -> tuple[Json, int]:
        try:
            output, size = await self._call(call, value)
        except Exception as error:  # noqa: BLE001 - every failure of one item is that item's outcome
            retryable = error.retryable if isinstance(error, LoomError) else True
            message = str(error)[:_MAX_MESSAGE]
            return {"error": {"type": type(error).__name__, "message": message, "retryable": retryable}}, len(
                message
            )
        return {"ok": output}, size
