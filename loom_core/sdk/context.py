"""The SDK's orchestration context, with a status that is encoded late and waits that may be asked again."""

from typing import Any

from durabletask import task, worker

from loom_core.wire.json import JsonObject, dump

MAX_STATUS = 16 * 1024


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


def publish_late(context: task.OrchestrationContext, status: JsonObject | None) -> LateStatus:
    """Make the context that the SDK created for this dispatch one whose `published` is encoded late."""
    context.__class__ = LateStatus
    assert isinstance(context, LateStatus)
    context.published = status
    waits = context._pending_events  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    context._pending_events = _Waits(waits)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    return context


class _Waits(dict[str, list[task.CancellableTask[Any]]]):
    """Who waits for which event. The SDK drops a name when the last wait for it has ended, and by then the
    program has gone on: it may wait for that event again, or have given up all other waits for it.
    """

    def __delitem__(self, name: str) -> None:
        if not self.get(name):
            self.pop(name, None)
