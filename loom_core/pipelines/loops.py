"""The rounds of a loop: which one it is in, whether there is another, and what they have given."""

from collections.abc import Callable
from typing import Any

from loom_core.errors import InvalidError, Problem, StepFailedError
from loom_core.expressions.parse import Expression
from loom_core.pipelines.plan import Loop, Stage
from loom_core.pipelines.scope import Here, evaluate
from loom_core.wire.json import Json, JsonObject

MAX_OUTPUTS = 1_000_000

type ScopeOf = Callable[[Here], JsonObject]


class Rounds:
    """One loop. `state` is its part of the run's checkpoint: `index`, `begun`, `items`, `outputs`."""

    def __init__(self, stage: Stage, how: Loop, state: dict[str, Any], here: Here, scope_of: ScopeOf) -> None:
        self._stage, self._how, self._state, self._here, self._scope_of = stage, how, state, here, scope_of
        if how.items is not None and "items" not in state:
            state["items"] = evaluate(how.items, scope_of(here), f"{stage.path}.over")
            if not isinstance(state["items"], list):
                del state["items"]
                raise InvalidError([Problem(f"{stage.path}.over", "gives no list")])
        if "index" not in state:
            state.update(index=0, begun=False, outputs=[])

    @property
    def here(self) -> Here:
        """Where the body of this round runs."""
        index, items = self._state["index"], self._state.get("items", ())
        item = {self._how.item: items[index]} if index < len(items) else {}
        names = {**self._here.names, "loop": {"index": index}, **item}
        return Here(self._here.seed, names, (*self._here.rounds, index))

    @property
    def output(self) -> Json:
        """What the loop gives."""
        outputs = self._state["outputs"]
        return outputs if self._how.collect else next(iter(outputs), None)

    @property
    def is_under_way(self) -> bool:
        """Whether this round had begun already, before the run continued as new."""
        return self._state["begun"]

    def begin(self) -> None:
        self._state["begun"] = True

    def has_next(self) -> bool:
        """Whether there is another round. Raises StepFailedError for one too many, if the loop is strict."""
        how, index = self._how, self._state["index"]
        is_through = how.items is not None and index >= len(self._state["items"])
        if is_through or not self._holds(how.condition):
            return False
        is_within = how.limit is None or index < how.limit
        if how.strict and not is_within:
            message = f"exceeded max iterations ({how.limit})"
            raise StepFailedError(self._stage.name, "LoopLimitError", message)
        return is_within

    def end(self, output: Json) -> bool:
        """Take the output of the round; the result is whether the loop may go on."""
        state, how = self._state, self._how
        again = self._holds(how.again)
        if not how.collect:
            state["outputs"].clear()
        elif len(state["outputs"]) >= MAX_OUTPUTS:
            message = f"a list of more than {MAX_OUTPUTS:,} outputs is not kept"
            raise StepFailedError(self._stage.name, "LoopLimitError", message)
        state["outputs"].append(output)
        state.update(index=state["index"] + 1, begun=False)
        return again

    def _holds(self, condition: Expression | None) -> bool:
        path = f"{self._stage.path}.while"
        return condition is None or bool(evaluate(condition, self._scope_of(self.here), path))
