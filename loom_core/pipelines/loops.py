"""The rounds of a loop: which one it is in, whether there is another, and what they have given."""

from collections.abc import Callable
from typing import Any

from loom_core.errors import InvalidError, Problem, StepFailedError
from loom_core.pipelines.plan import Loop, Stage
from loom_core.pipelines.scope import Here, evaluate
from loom_core.wire.json import Json, JsonObject

type ScopeOf = Callable[[Here], JsonObject]


class Rounds:
    """One loop. `state` is its part of the run's checkpoint: `index`, `begun`, `items`, `outputs`."""

    def __init__(self, stage: Stage, how: Loop, state: dict[str, Any], here: Here, scope_of: ScopeOf) -> None:
        self._stage, self._how, self._state, self._here, self._scope_of = stage, how, state, here, scope_of
        if not state:
            state.update(index=0, begun=-1, outputs=[])
        if how.items is not None and "items" not in state:
            state["items"] = evaluate(how.items, scope_of(here), f"{stage.path}.over")
            if not isinstance(state["items"], list):
                raise InvalidError([Problem(f"{stage.path}.over", "gives no list")])

    @property
    def here(self) -> Here:
        """Where the body of this round runs."""
        index, items = self._state["index"], self._state.get("items", ())
        item = {self._how.item: items[index]} if index < len(items) else {}
        return Here({**self._here.names, "loop": {"index": index}, **item}, (*self._here.rounds, index))

    @property
    def output(self) -> Json:
        """What the loop gives."""
        outputs = self._state["outputs"]
        return outputs if self._how.collect else next(iter(outputs), None)

    def resumed(self) -> bool:
        """Whether this round had begun already, before the run continued as new; from now on it has."""
        resumed = self._state["begun"] == self._state["index"]
        self._state["begun"] = self._state["index"]
        return resumed

    def has_next(self, *, stopping: bool) -> bool:
        """Whether there is a round to run. Raises StepFailedError for one too many, if the loop is strict."""
        how, index = self._how, self._state["index"]
        if self._state["begun"] == index:
            return True
        if stopping or (how.items is not None and index >= len(self._state["items"])):
            return False
        if how.condition is not None:
            scope = self._scope_of(self.here)
            if not evaluate(how.condition, scope, f"{self._stage.path}.while"):
                return False
        if how.limit is None or index < how.limit:
            return True
        if how.strict:
            message = f"exceeded max iterations ({how.limit})"
            raise StepFailedError(self._stage.name, "LoopLimitError", message)
        return False

    def end(self, output: Json) -> bool:
        """Take the output of the round; the result is whether the loop may go on."""
        scope, how = self._scope_of(self.here), self._how
        if not how.collect:
            self._state["outputs"].clear()
        self._state["outputs"].append(output)
        self._state["index"] += 1
        return how.again is None or bool(evaluate(how.again, scope, f"{self._stage.path}.while"))
