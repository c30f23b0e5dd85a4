"""User code for the engine's tests: real SDK orchestrators and entities, run without a function host."""

import asyncio
import base64
import inspect
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import azure.durable_functions as df
from azure.durable_functions.worker import DurableFunctionsWorker
from durabletask.internal import helpers
from durabletask.internal import orchestrator_service_pb2 as pb

from loom_local.engine.worker import ActivityCall, ActivityOutcome, EngineLimits
from loom_local.sidecar.channel import directory
from loom_local.sidecar.service import Sidecar


class App:
    """A registry of functions that is a `Worker` too."""

    def __init__(self, transport: str = "in-process") -> None:
        self.transport = transport
        self.orchestrators: dict[str, Callable[..., Any]] = {}
        self.activities: dict[str, Callable[..., Any]] = {}
        self.entities: dict[str, Callable[..., Any]] = {}
        self.dispatches: list[tuple[str, int]] = []
        """Orchestrator name and number of past events, per step."""
        self.batches: list[int] = []
        """Operations per entity batch."""
        self._sdk = DurableFunctionsWorker()

    def orchestrator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.orchestrators[function.__name__] = function
        return function

    def activity(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.activities[function.__name__] = function
        return function

    def entity(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.entities[function.__name__.lower()] = function
        return function

    async def run_orchestrator(self, name: str, request: bytes) -> bytes:
        self.dispatches.append((name, len(pb.OrchestratorRequest.FromString(request).pastEvents)))
        encoded = base64.b64encode(request).decode()
        return base64.b64decode(self._sdk.execute_orchestration_request(self.orchestrators[name], encoded))

    async def run_activity(self, call: ActivityCall) -> ActivityOutcome:
        value = json.loads(call.input) if call.input is not None else None
        try:
            result = self.activities[call.name](value)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:
            return ActivityOutcome(failure=helpers.new_failure_details(error).SerializeToString())
        return ActivityOutcome(json.dumps(result))

    async def run_entity(self, name: str, request: bytes) -> bytes:
        self.batches.append(len(pb.EntityBatchRequest.FromString(request).operations))
        encoded = base64.b64encode(request).decode()
        return base64.b64decode(self._sdk.execute_entity_batch_request(self.entities[name], encoded))


@asynccontextmanager
async def hub(
    app: App, path: Path, *, limits: EngineLimits | None = None, grace: float = 2.0
) -> AsyncGenerator[tuple[Sidecar, df.DurableFunctionsClient]]:
    """An engine over `path` with an in-process client."""
    sidecar = Sidecar(path, app, durable=False, limits=limits)
    await sidecar.start()
    if app.transport == "grpc":
        directory.remove(sidecar.address)
    client = df.DurableFunctionsClient(binding(sidecar.address))
    try:
        yield sidecar, client
    finally:
        await client.close()
        await sidecar.stop(grace)


def binding(address: str) -> str:
    return json.dumps({"taskHubName": "Test", "rpcBaseUrl": f"http://{address}"})


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.005)
    return found
