"""Orchestrators for which something is fetched before each replay, since they cannot fetch it themselves."""

import base64
import json
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from azure.durable_functions.worker import DurableFunctionsWorker


class Prepared:
    """An orchestrator, served with what its trigger hands over."""

    def __init__(self, orchestrator: Callable[..., Any], prepare: Callable[[Any], Awaitable[object]]) -> None:
        """`prepare` is given the input of the execution. What it raises has the runtime try again later."""
        self._worker, self._orchestrator, self._prepare = DurableFunctionsWorker(), orchestrator, prepare

    async def serve(self, body: str) -> str:
        """Serve an OrchestratorRequest with an OrchestratorResponse, both in base64."""
        request = pb.OrchestratorRequest.FromString(base64.b64decode(body))
        events = chain(request.pastEvents, request.newEvents)
        started = [event.executionStarted for event in events if event.HasField("executionStarted")]
        await self._prepare(json.loads(started[-1].input.value))
        return await self._worker.execute_orchestration_request_async(self._orchestrator, body)
