"""What turns begin with: states that are too large for the histories of their orchestrations."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from loom_core.wire.json import Json

MAX_BYTES: Final = 64 << 20


class TurnStates:
    """States by turn, the last used ones within MAX_BYTES; what is not there is read from the journal.

    They are frozen: whoever gets one copies it before changing it.
    """

    def __init__(self, state_at: Callable[[str, int, int], Awaitable[Json]]) -> None:
        self._state_at = state_at
        self._states: OrderedDict[str, tuple[Json, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, turn: str, state: Json, size: int) -> None:
        self._bytes += size - self._states.pop(turn, (None, 0))[1]
        self._states[turn] = state, size
        while self._bytes > MAX_BYTES and len(self._states) > 1:
            self._bytes -= self._states.popitem(last=False)[1][1]

    def get(self, turn: str) -> Json:
        """The state of a turn that was prepared for just now."""
        return self._states[turn][0]

    async def prepare(self, call: Any) -> Json:
        """Have the state at hand that the turn of this `call` begins with; it is the result, too.

        Raises what reading the journal raises.
        """
        given = call["payload"]
        if "state" in given:
            return given["state"]
        if given["turn"] in self._states:
            self._states.move_to_end(given["turn"])
        else:
            state = await self._state_at(given["actor"], given["at"], given["at"])
            self.keep(given["turn"], state, given["size"])
        return self.get(given["turn"])
