"""The engine without a function host: its own thread and loop, the real SDK, calls without HTTP."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from azure.durable_functions.worker import DurableFunctionsWorker

from loom_local.engine.worker import ActivityCall, ActivityOutcome
from loom_local.host.process import SWITCH_SECONDS
from loom_local.sidecar.service import Sidecar


class SdkWorker:
    """Runs user code as the function host does: through the SDK's worker, base64 and all."""

    def __init__(
        self,
        *,
        orchestrators: Mapping[str, Callable[..., Any]] | None = None,
        activities: Mapping[str, Callable[[Any], Any]] | None = None,
        entities: Mapping[str, Any] | None = None,
    ) -> None:
        self._orchestrators, self._activities = orchestrators or {}, activities or {}
        self._entities = entities or {}
        self._sdk = DurableFunctionsWorker()

    async def run_orchestrator(self, name: str, request: bytes) -> bytes:
        encoded = base64.b64encode(request).decode()
        return base64.b64decode(self._sdk.execute_orchestration_request(self._orchestrators[name], encoded))

    async def run_activity(self, call: ActivityCall) -> ActivityOutcome:
        return ActivityOutcome(json.dumps(self._activities[call.name](json.loads(call.input or "null"))))

    async def run_entity(self, name: str, request: bytes) -> bytes:
        encoded = base64.b64encode(request).decode()
        return base64.b64decode(self._sdk.execute_entity_batch_request(self._entities[name], encoded))


@asynccontextmanager
async def hub(path: Path, worker: SdkWorker) -> AsyncIterator[Sidecar]:
    """Run a durable engine over the file `path`, threads switched as the host switches them."""
    sys.setswitchinterval(SWITCH_SECONDS)
    sidecar = Sidecar(path, worker)
    await sidecar.start()
    try:
        yield sidecar
    finally:
        await sidecar.stop(5.0)


async def in_flight(width: int, work: Iterator[Awaitable[Any]]) -> None:
    """Await all of `work`, `width` at a time."""

    async def lane() -> None:
        for each in work:
            await each

    await asyncio.gather(*(lane() for _ in range(width)))
