"""What the parts of one run share: its checkpoint, what is under way, and when to continue as new.

A run whose history has grown continues as new between two stages, from a checkpoint: outputs, rounds of
loops, deadlines, what is to be compensated. Waits may be cut off by that, for they are taken up again; calls
may not, so a branch that could go on is parked until nothing else is under way.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

from loom_core.pipelines.calls import Chains
from loom_core.pipelines.progress import MAX_MESSAGE, MAX_NOTES, Progress, is_within
from loom_core.wire.commands import ContinueAsNew, Program, Stop, WaitEvent
from loom_core.wire.json import JsonObject

LIMIT: Final = 400
"""Commands in one history, about; each is two or three events."""
CANCEL: Final = "loom:cancel"
STOP: Final = "loom:stop"
_NEVER: Final = "loom:never"


class Session:
    """One execution of one run. `state` is plain JSON, and all that a further execution needs."""

    def __init__(self, payload: JsonObject, shown: Sequence[str]) -> None:
        self.payload = payload
        self.id = str(payload["run"])
        self.seed = str(payload.get("key", self.id))
        self.library = cast("JsonObject", payload.get("library", {}))
        before = cast("JsonObject", payload.get("state", {}))
        self.state: dict[str, Any] = {"saga": [], "warnings": [], **before}
        self.progress = Progress(shown, self.state.get("progress", {}))
        self.active: dict[str, str] = {}
        """The stages whose work is under way: their keys, and their names as the progress has them."""
        self.steps = 0
        """Commands in this history: of calls when they begin, so that each execution makes one at least."""
        self._is_due = False

    @property
    def stopping(self) -> bool:
        """Whether loops are to end."""
        return bool(self.state.get("stopping"))

    @property
    def room(self) -> int:
        """How many commands still fit in this history."""
        return max(0, LIMIT - self.steps)

    def checkpoint(self) -> dict[str, Any]:
        return {**self.payload, "state": {**self.state, "progress": self.progress.kept}}

    def needed_by(self, chains: Chains) -> JsonObject:
        """What pipelines that are called this way need of this run."""
        calls_pipelines = any(target.kind == "pipeline" for chain in chains.values() for target in chain)
        return {"run": self.id, "library": self.library} if calls_pipelines else {"run": self.id}

    def listen(self) -> Program:
        """Take note that the run is to stop, and begin anew from there, as soon as nothing is under way."""
        if not self.stopping:
            yield WaitEvent(STOP)
            self.state["stopping"] = self._is_due = True
            yield from self.settled()
        yield WaitEvent(_NEVER)

    def ready(self) -> Program:
        """Pass here before new work: a history that is too long gets none."""
        if self._is_due or not self.room:
            self._is_due = True
            yield from self.settled()
            yield WaitEvent(_NEVER)

    def settled(self) -> Program:
        """Pass here after work: whoever leaves nothing under way continues as new, if that is due."""
        if self._is_due and not self.active:
            yield ContinueAsNew(self.checkpoint())

    def halt(self, shown: Sequence[str]) -> Program:
        """Ask what is under way in these stages to stop; nobody waits for it any more."""
        for key, name in list(self.active.items()):
            if is_within(name, shown):
                yield Stop(key)
                self.active.pop(key, None)

    def warn(self, path: str, messages: list[str]) -> Program:
        if messages:
            told = [{"path": path, "message": message[:MAX_MESSAGE]} for message in messages]
            self.state["warnings"] = [*self.state["warnings"], *told][:MAX_NOTES]
            yield self.progress.note("warnings", self.state["warnings"])
