"""What Loom needs of the Durable SDK beyond its public surface, in one place, for exactly these versions.

Replay is only as stable as the SDK, so an unknown version is refused when the room is first imported.
"""

import os
from collections.abc import Iterable
from importlib.metadata import version

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask import task, worker
from durabletask.client import (
    AsyncTaskHubGrpcClient,
    OrchestrationState,
    OrchestrationStatus,
    parse_orchestration_state,
)
from google.protobuf.wrappers_pb2 import StringValue

from loom_core.wire.json import JsonObject, dump

MAX_STATUS = 16 * 1024

SUPPORTED = {"durabletask": "1.12.0", "azure-functions-durable": "2.0.0rc3"}

# In its loose mode the SDK's codec builds objects of any loaded class that a payload names.
os.environ["AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"] = "1"


def check(installed: dict[str, str] | None = None) -> None:
    """Raise RuntimeError, saying what is supported, unless exactly these versions are installed."""
    found = installed or {name: version(name) for name in SUPPORTED}
    wrong = [f"{name}=={found.get(name)}" for name in SUPPORTED if found.get(name) != SUPPORTED[name]]
    if wrong:
        wanted = " and ".join(f"{name}=={number}" for name, number in SUPPORTED.items())
        raise RuntimeError(f"Loom replays only on {wanted}; installed: {', '.join(wrong)}")


check()


class LateStatus(worker._RuntimeOrchestrationContext):  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    """The SDK's context, encoding the custom status once a dispatch: when the response is built.

    The status of a dispatch replaces the one before, so each must carry the last one published; encoding
    every publication again in every replay would be a quarter of the replay's time.
    """

    published: JsonObject | None

    @property
    def is_over(self) -> bool:
        """Whether the instance was terminated: the SDK hands on what else came with that."""
        return self._is_complete

    @property
    def _encoded_custom_status(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.published is None:
            return None
        encoded = dump(self.published)
        return encoded if len(encoded) <= MAX_STATUS else dump({"omitted": f"{len(encoded)} characters"})


def publish_late(context: task.OrchestrationContext) -> LateStatus:
    """Make the context that the SDK created for this dispatch one whose `published` is encoded late."""
    context.__class__ = LateStatus
    assert isinstance(context, LateStatus)
    context.published = None
    return context


async def query_page(
    client: AsyncTaskHubGrpcClient,
    prefix: str,
    statuses: Iterable[OrchestrationStatus],
    limit: int,
    token: str | None,
) -> tuple[list[OrchestrationState], str | None]:
    """One page of instances and the token of the next; the public query reads all pages into memory."""
    query = pb.InstanceQuery(
        runtimeStatus=[status.value for status in statuses],
        maxInstanceCount=limit,
        instanceIdPrefix=StringValue(value=prefix),
        fetchInputsAndOutputs=True,
        continuationToken=None if token is None else StringValue(value=token),
    )
    stub = client._get_stub()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    answer = await stub.QueryInstances(pb.QueryInstancesRequest(query=query))
    following = answer.continuationToken.value
    is_last = following in ("", "0", token)  # as the SDK's own loop sees it
    return [
        parse_orchestration_state(state) for state in answer.orchestrationState
    ], None if is_last else following
