"""States: the one an actor has, from its snapshot and journal, or from the memory of the last commit."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from loom_core.patches import apply
from loom_core.wire.json import Json


class RecentStates:
    """The last state of each actor, the least recently used ones forgotten above a number of bytes.

    A state belongs to the batch that led to it: another batch that reached the same seq has another state.
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._held: OrderedDict[str, tuple[str, Json, int]] = OrderedDict()

    def put(self, actor: str, batch: str, state: Json, size: int) -> None:
        self._forget(actor)
        self._held[actor] = (batch, state, size)
        self._left -= size
        while self._left < 0:
            self._forget(next(iter(self._held)))

    def get(self, actor: str, batch: str) -> tuple[Json] | None:
        """The state in a tuple, since a state may be null."""
        held = self._held.get(actor)
        if held is None or held[0] != batch:
            return None
        self._held.move_to_end(actor)
        return (held[1],)

    def _forget(self, actor: str) -> None:
        if held := self._held.pop(actor, None):
            self._left += held[2]


def replay(state: Json, entries: Iterable[Mapping[str, Any]]) -> Json:
    for entry in entries:
        if entry["type"] == "state_patches":
            state = apply(state, entry["patches"])
    return state
