"""The tree of what a program is waiting for, grown and cut by the completion of SDK tasks.

Its nodes mirror the program: a `Branch` runs generators, a `Group` runs many steps, a `Leaf` hears of one SDK
task, and the `Root` is the one task that the orchestrator yields. A node tells its parent how it ended with
`settle(slot, outcome)`, in O(1) however many others are in flight.

Starting a step answers `(node, outcome)`: `(node, None)` while it is pending, `(None, outcome)` if it ended
at once. Nothing settles while it is being started, so instant steps are a loop and never a recursion.
"""

from collections.abc import Callable, Iterable, Iterator
from types import GeneratorType
from typing import Any

from durabletask import task
from durabletask.entities import EntityOperationFailedException

from loom_core import errors
from loom_core.errors import LoomError, StepFailedError
from loom_core.wire.commands import Program, Step


class Failed:
    """An outcome that is to be thrown instead of sent."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


type Parent = Root | Branch | Group
"""Takes the outcome of the child in a slot: `settle(slot, outcome)`."""
type Node = Root | Branch | Group | Leaf
"""Stops for good with `abandon()`: nothing below settles any more, timers and event waits are cancelled."""
type Started = tuple[Node | None, Any]
type Start = Callable[[Step, Parent, int], Started]


class Root(task.CompletableTask[Any]):
    """The program's outcome, as a task; and a node that never settles, for what is started after the end."""

    def settle(self, slot: int, outcome: Any) -> None:  # noqa: ARG002 - it has one child only
        if not self.is_complete:
            self.complete(outcome)

    def abandon(self) -> None:
        pass


class Leaf(task.CompositeTask[Any]):
    """Hears of the end of one SDK task."""

    def __init__(self, watched: task.Task[Any], name: str, parent: Parent, slot: int) -> None:
        self._watched, self._name, self._slot = watched, name, slot
        self._parent: Parent | None = parent
        super().__init__([watched])

    def on_child_completed(self, task: task.Task[Any]) -> None:
        if self._parent is not None:
            self._parent.settle(self._slot, outcome_of(task, self._name))

    def abandon(self) -> None:
        self._parent = None
        if isinstance(self._watched, task.CancellableTask):
            self._watched.cancel()


class Branch:
    """Runs one program; the programs it yields are stacked on top, so nesting costs no Python frames."""

    __slots__ = ("_child", "_parent", "_slot", "_stack", "_start")

    def __init__(self, start: Start, program: Program) -> None:
        self._start = start
        self._stack = [program]
        self._child: Node | None = None

    def begin(self, parent: Parent, slot: int) -> Started:
        self._parent, self._slot = parent, slot
        return self._advance(None)

    def _advance(self, outcome: Any) -> Started:
        """Resume the program with this outcome and run it to its next pending command."""
        stack, start = self._stack, self._start
        while stack:
            try:
                program = stack[-1]
                step = program.throw(outcome.error) if type(outcome) is Failed else program.send(outcome)
            except StopIteration as end:
                stack.pop()
                outcome = end.value
            except Exception as error:  # noqa: BLE001 - whatever a program raises is its outcome
                stack.pop()
                outcome = Failed(error)
            else:
                if isinstance(step, GeneratorType):
                    stack.append(step)
                    outcome = None
                    continue
                self._child, outcome = start(step, self, 0)
                if self._child is not None:
                    return self, None
        return None, outcome

    def settle(self, slot: int, outcome: Any) -> None:  # noqa: ARG002 - it has one child only
        pending, outcome = self._advance(outcome)
        if pending is None:
            self._parent.settle(self._slot, outcome)

    def abandon(self) -> None:
        self._stack.clear()
        if self._child is not None:
            self._child.abandon()


class Group:
    """Runs steps in order, at most `width` at a time, until all have ended or one has failed.

    With `collect` a failure is a result like any other, with `first` the first result ends the group.
    """

    def __init__(
        self, start: Start, steps: Iterable[Step], width: int, *, collect: bool = False, first: bool = False
    ) -> None:
        self._start, self._width, self._collect, self._first = start, width, collect, first
        self._steps: Iterator[Step] | None = iter(steps)
        self._pending: dict[int, Node] = {}
        self._results: list[Any] = []
        self._outcome: Any = self._results

    def begin(self, parent: Parent, slot: int) -> Started:
        self._parent, self._slot = parent, slot
        return self._fill()

    def settle(self, slot: int, outcome: Any) -> None:
        del self._pending[slot]
        self._record(slot, outcome)
        pending, outcome = self._fill()
        if pending is None:
            self._parent.settle(self._slot, outcome)

    def abandon(self) -> None:
        self._steps = None
        for node in self._pending.values():
            node.abandon()
        self._pending.clear()

    def _fill(self) -> Started:
        """Start steps while there is room, and say where the whole stands."""
        while self._steps is not None and len(self._pending) < self._width:
            try:
                step = next(self._steps, None)
            except Exception as error:  # noqa: BLE001 - the steps are the program's own code
                self._end(Failed(error))
                break
            if step is None:
                self._steps = None
                break
            slot = len(self._results)
            self._results.append(None)
            node, outcome = self._start(step, self, slot)
            if node is None:
                self._record(slot, outcome)
            else:
                self._pending[slot] = node
        return (self, None) if self._pending or self._steps is not None else (None, self._outcome)

    def _record(self, slot: int, outcome: Any) -> None:
        is_failed = type(outcome) is Failed
        if is_failed and not self._collect:
            self._end(outcome)
        elif self._first:
            self._end((slot, outcome))
        else:
            self._results[slot] = outcome.error if is_failed else outcome

    def _end(self, outcome: Any) -> None:
        self._outcome = outcome
        self.abandon()


def outcome_of(ended: task.Task[Any], name: str) -> Any:
    """The result of an SDK task, or its failure as that of the step called `name`."""
    if not ended.is_failed:
        return ended.get_result()
    details = ended.get_exception().details
    module, _, error_type = details.error_type.rpartition(".")
    message = details.message
    if error_type == EntityOperationFailedException.__name__:
        module, told = "", message.partition(" failed with error: ")[2]
        error_type, _, message = told.partition(": ")
    if error_type == StepFailedError.__name__:
        # A child program failed because a step of it did: that step is what there is to know.
        name, error_type, message = (*message.split(": ", 2), "", "")[:3]
    kind = getattr(errors, error_type, None) if module in ("", errors.__name__) else None
    retryable = not (isinstance(kind, type) and issubclass(kind, LoomError)) or kind.retryable
    return Failed(StepFailedError(name, error_type, message, retryable=retryable))
