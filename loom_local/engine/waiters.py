"""Clients that wait for an instance to start or to end."""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Callable

from loom_local.engine.state import Instance

type Condition = Callable[[Instance], bool]


class Waiters:
    """Futures by instance id, each with the condition it waits for."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[tuple[Condition, asyncio.Future[Instance]]]] = defaultdict(list)

    async def wait(self, instance_id: str, condition: Condition) -> Instance:
        """End with a copy of the instance as it was committed when the condition first held."""
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiting[instance_id].append(entry)
        try:
            return await future
        finally:
            entries = self._waiting[instance_id]
            entries.remove(entry)
            if not entries:
                del self._waiting[instance_id]

    def snapshot(self, instance: Instance) -> Callable[[], None] | None:
        """What to call after the commit of the instance's present state, or None when nobody waits."""
        if instance.id not in self._waiting:
            return None
        seen = copy.copy(instance)
        return lambda: self._notify(seen)

    def cancel(self) -> None:
        for entries in self._waiting.values():
            for _, future in entries:
                future.cancel()

    def _notify(self, seen: Instance) -> None:
        for condition, future in self._waiting.get(seen.id, ()):
            if not future.done() and condition(seen):
                future.set_result(seen)
