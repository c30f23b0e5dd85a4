"""Activities: everything `run_activity` does with one call, from its payload to its result."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom_core.activities.call import Call, current_call
from loom_core.activities.definition import Definition
from loom_core.activities.native import Native
from loom_core.activities.wasm import Wasm
from loom_core.errors import InvalidError, LoomError, NotFoundError, Problem, failure
from loom_core.payloads import refer, resolve
from loom_core.ports.blobs import BlobStore
from loom_core.schema import encode
from loom_core.stops import Stops
from loom_core.wire.json import Json, JsonObject

if TYPE_CHECKING:
    from loom_core.sandbox.sandbox import Sandbox

RESERVED = "loom."
_TOLD = ("activity", "run", "key", "strategy", "at")
_log = logging.getLogger(__name__)


class Activities:
    """The activities of an app, by name."""

    def __init__(
        self,
        functions: Iterable[Callable[..., Any]],
        modules: Iterable[Definition] = (),
        *,
        blobs: BlobStore,
        cache: Path | None = None,
        own: Iterable[Callable[..., Any]] = (),
    ) -> None:
        """Take functions named by `@activity`, the definitions of WASM modules, and Loom's `own` functions.

        Compiled modules are kept in the directory `cache`, which must be this user's alone; with None every
        process compiles them anew. Raises InvalidError naming every two that claim the same name, and all
        whose name begins with `loom.` and that are not Loom's own.
        """

        @lru_cache
        def sandbox() -> "Sandbox":
            from loom_core.sandbox.sandbox import Sandbox  # noqa: PLC0415 - 80 ms for WASM activities only

            return Sandbox(blobs, cache)

        self._blobs = blobs
        self.stops = Stops(blobs)
        self._activities: dict[str, Native | Wasm] = {}
        self._own = {one.name: one for one in map(Native, own)}
        problems: list[Problem] = []
        for one in [*map(Native, functions), *(Wasm(module, sandbox) for module in modules)]:
            if one.name.startswith(RESERVED):
                problems.append(
                    Problem(one.source, f"{one.name}: names that begin with {RESERVED} are Loom's own")
                )
            other = self._activities.setdefault(one.name, one)
            if other is not one:
                problems.append(Problem(one.source, f"{other.source} also defines the activity {one.name}"))
        if problems:
            raise InvalidError(problems)

    @property
    def names(self) -> frozenset[str]:
        """What a pipeline may call; Loom's own activities are not among them."""
        return frozenset(self._activities)

    async def run(self, payload: JsonObject) -> Json:
        """Serve `{"activity", "run", "at"}` with `"input"` and `"key"`, or with `"inputs"` and `"keys"`.

        For `input` the result is the output, and what goes wrong is raised: InvalidError, NotFoundError,
        IntegrityError, SandboxError, CancelledError, UnavailableError, or what the activity itself raises.
        For `inputs` it is a list with `{"ok": output}` or `{"error": {"type", "message", "retryable"}}` for
        each, in order. A result over INLINE_BYTES has its long strings replaced by references, which inputs
        may carry.
        """
        given: Any = payload
        call = Call(**{name: given[name] for name in _TOLD if name in given})
        if "inputs" in given:
            keys = given.get("keys") or [""] * len(given["inputs"])
            calls = (replace(call, key=key, stop=threading.Event()) for key in keys)
            pairs = zip(calls, given["inputs"], strict=True)
            result: Json = [await self._outcome(one, value) for one, value in pairs]
        else:
            result = await self._call(call, given.get("input"))
        return await refer(self._blobs, result)

    async def _call(self, call: Call, value: Json) -> Json:
        found = self._activities.get(call.activity) or self._own.get(call.activity)
        if found is None:
            raise NotFoundError(f"there is no activity {call.activity!r}")
        taken = await resolve(self._blobs, value)
        token = current_call.set(call)
        try:
            async with self.stops.heard(call, cancel=found.is_async):
                return await found.call(taken)
        except Exception as error:
            if not isinstance(error, LoomError):
                _log.warning("the activity %s of %s failed", call.activity, call.run, exc_info=True)
            raise
        finally:
            current_call.reset(token)

    async def _outcome(self, call: Call, value: Json) -> Json:
        try:
            output = await self._call(call, value)
            encode(output)
        except Exception as error:  # noqa: BLE001 - every failure of one item is that item's outcome
            return {"error": failure(error)}
        return {"ok": output}
