"""Runs the engine's work items through the app's trigger functions, as the Durable extension does.

Orchestrators and entities take and return base64 of protobuf messages, activities JSON.
"""

import asyncio
import base64
import logging
from collections.abc import Iterable
from typing import Any

from loom_local.engine.worker import ActivityCall, ActivityOutcome
from loom_local.host.function import Function, durable_name
from loom_local.host.functions import FunctionApp, HandlerError

_MAX_MESSAGE = 8 * 1024
_MAX_STACK = 32 * 1024
_log = logging.getLogger(__name__)


class HostWorker:
    """The engine's Worker, over one function app. Its coroutines run on the host's loop.

    Work that the engine takes up before `open` waits: the app's clients need the engine's address first.
    """

    def __init__(self, app: FunctionApp) -> None:
        self._app = app
        self._opened = asyncio.Event()
        self._orchestrators = _by_durable_name(app, "orchestrationTrigger")
        self._activities = _by_durable_name(app, "activityTrigger")
        self._entities = _by_durable_name(app, "entityTrigger")

    def open(self) -> None:
        self._opened.set()

    async def run_orchestrator(self, name: str, request: bytes) -> bytes:
        """Replay one step. Only what the SDK itself raises fails the orchestration here."""
        function = self._orchestrators.get(name)
        if function is None:
            message = _missing("orchestrator", name, self._orchestrators)
            return _failed_orchestration(request, "OrchestratorNotFound", message)
        try:
            answer = await self._invoke(function, base64.b64encode(request).decode(), kind="string")
        except HandlerError as error:
            _log.exception("orchestrator %s", name, exc_info=error.error)
            return _failed_orchestration(request, type(error.error).__name__, str(error.error))
        return base64.b64decode(answer.value)

    async def run_activity(self, call: ActivityCall) -> ActivityOutcome:
        function = self._activities.get(call.name)
        if function is None:
            message = _missing("activity", call.name, self._activities)
            return ActivityOutcome(failure=_not_retriable("ActivityNotFound", message))
        try:
            answer = await self._invoke(function, "null" if call.input is None else call.input, kind="json")
        except HandlerError as error:
            return ActivityOutcome(failure=_failure(error.error))
        return ActivityOutcome(result=None if answer is None else answer.value)

    async def run_entity(self, name: str, request: bytes) -> bytes:
        """Run a batch of operations; a failing operation is the SDK's to report, in its own result."""
        function = self._entities.get(name.lower())
        if function is None:
            message = _missing("entity", name, self._entities)
            return _failed_batch(request, _not_retriable("EntityNotFound", message))
        try:
            answer = await self._invoke(function, base64.b64encode(request).decode(), kind="string")
        except HandlerError as error:
            _log.exception("entity %s", name, exc_info=error.error)
            return _failed_batch(request, _failure(error.error))
        return base64.b64decode(answer.value)

    async def _invoke(self, function: Function, value: str, *, kind: str) -> Any:
        if not self._opened.is_set():
            await self._opened.wait()
        return await self._app.invoke(function, value, kind=kind)


def _by_durable_name(app: FunctionApp, kind: str) -> dict[str, Function]:
    return {durable_name(function): function for function in app.of_kind(kind)}


def _missing(kind: str, name: str, known: Iterable[str]) -> str:
    names = ", ".join(sorted(known)) or "none"
    return f"the {kind} function {name!r} does not exist; known {kind} functions: {names}"


def _failure(error: BaseException) -> bytes:
    from durabletask.internal import helpers  # noqa: PLC0415  cold start

    details = helpers.new_failure_details(error)  # pyright: ignore[reportArgumentType]  SystemExit is one too
    part = details
    while True:
        part.errorMessage = part.errorMessage[:_MAX_MESSAGE]
        part.stackTrace.value = part.stackTrace.value[-_MAX_STACK:]
        if not part.HasField("innerFailure"):
            return details.SerializeToString()
        part = part.innerFailure


def _not_retriable(error_type: str, message: str) -> bytes:
    from durabletask.internal import orchestrator_service_pb2 as pb  # noqa: PLC0415  cold start

    details = pb.TaskFailureDetails(
        errorType=error_type, errorMessage=message[:_MAX_MESSAGE], isNonRetriable=True
    )
    return details.SerializeToString()


def _failed_orchestration(request: bytes, error_type: str, message: str) -> bytes:
    from durabletask.internal import helpers  # noqa: PLC0415  cold start
    from durabletask.internal import orchestrator_service_pb2 as pb  # noqa: PLC0415  cold start

    details = pb.TaskFailureDetails.FromString(_not_retriable(error_type, message))
    action = helpers.new_complete_orchestration_action(-1, pb.ORCHESTRATION_STATUS_FAILED, "", details)
    instance = pb.OrchestratorRequest.FromString(request).instanceId
    return pb.OrchestratorResponse(instanceId=instance, actions=[action]).SerializeToString()


def _failed_batch(request: bytes, failure: bytes) -> bytes:
    from durabletask.internal import orchestrator_service_pb2 as pb  # noqa: PLC0415  cold start

    batch = pb.EntityBatchRequest.FromString(request)
    details = pb.TaskFailureDetails.FromString(failure)
    result = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=details))
    answer = pb.EntityBatchResult(results=[result] * len(batch.operations), failureDetails=details)
    if batch.HasField("entityState"):
        answer.entityState.CopyFrom(batch.entityState)
    return answer.SerializeToString()
