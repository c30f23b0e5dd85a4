"""One life of one program in memory: what it asked for, what came back, and whether a replay agrees."""

import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from types import GeneratorType
from typing import Any

from loom_core.errors import LoomError, StepFailedError
from loom_core.wire import commands as c
from loom_core.wire.json import JsonObject, dump

type Factory = Callable[[JsonObject], c.Program]
type Done = Callable[[Any], Any]
"""Takes the outcome of a step: its result, or `Failed`. That of a command says whether anybody heard."""
type Perform = Callable[[c.Command, Done], None]
type Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Failed:
    """An outcome that is thrown instead of sent."""

    error: Exception


class Execution:
    """One life of one program: the commands it issued and what came back, each in order."""

    def __init__(self, program: Factory, payload: Any, perform: Perform, end: Done, now: Now) -> None:
        self.issued: list[c.Command] = []
        self.published: list[JsonObject] = []
        self.outcome: Any = None
        self.key, self.is_run, self.is_over = "", False, False
        self._program, self._payload, self._perform, self._end, self._now = (
            program,
            payload,
            perform,
            end,
            now,
        )
        self._history: list[tuple[float, int, Any]] = []
        self._begun = 0.0
        self._waiting: dict[int, tuple[Done, _Group]] = {}

    def begin(self) -> None:
        self._begun = self._now()
        _Group(self, None, [self._program(copied(self._payload))], 1, self._ended).fill()

    def abandon(self) -> None:
        """Hear of nothing any more."""
        self._waiting.clear()

    def _ended(self, outcome: Any) -> None:
        self.outcome = outcome if isinstance(outcome, Failed) else copied(outcome[0])
        self.is_over = True
        self._waiting.clear()
        self._end(self.outcome)

    def start(self, step: c.Step, done: Done, group: "_Group") -> None:
        if isinstance(self.outcome, c.ContinueAsNew):
            return
        match step:
            case GeneratorType():
                self._branch(step, done, group)
            case c.All(steps):
                _Group(self, group, steps, len(steps) + 1, done).fill()
            case c.Window(steps, width, collect):
                _Group(self, group, steps, width, done, collect=collect).fill()
            case c.AnyOf(steps):
                _Group(self, group, steps, len(steps), done, race=True).fill()
            case c.ContinueAsNew():
                self._waiting.clear()
                self.outcome, self.is_over = step, True
                self._end(step)
            case command if not isinstance(command, Generator):
                self._waiting[len(self.issued)] = (done, group)
                self.issued.append(command)
                self._perform(command, partial(self.complete, len(self.issued) - 1))
            case _:
                raise AssertionError(f"{step!r} is neither a command nor a program")

    def _branch(self, program: c.Program, done: Done, group: "_Group") -> None:
        stack = [program]

        def advance(outcome: Any) -> None:
            while stack:
                try:
                    failed = isinstance(outcome, Failed)
                    step = stack[-1].throw(outcome.error) if failed else stack[-1].send(outcome)
                except StopIteration as end:
                    stack.pop()
                    outcome = end.value
                except Exception as error:  # noqa: BLE001 - whatever a program raises is its outcome
                    stack.pop()
                    outcome = Failed(error)
                else:
                    outcome = None
                    if isinstance(step, GeneratorType):
                        stack.append(step)
                    elif isinstance(step, c.Publish):
                        self.published.append(copied(step.status))
                    elif isinstance(step, c.Now):
                        outcome = self._now()
                    else:
                        return self.start(step, advance, group)
            return done(outcome)

        advance(None)

    def complete(self, task: int, outcome: Any) -> bool:
        """Take the outcome of a command, unless it has one already or nobody waits for it any more."""
        if task not in self._waiting:
            return False
        done, group = self._waiting.pop(task)
        if group.is_over:
            return False
        self._history.append((self._now(), task, outcome))
        done(copied(outcome))
        return True

    def check_replay(self) -> None:
        """Drive the program again from the history; raises AssertionError if it does anything else."""
        clock = [self._begun]
        again = Execution(
            self._program, self._payload, lambda _c, _d: None, lambda _o: None, lambda: clock[-1]
        )
        again.begin()
        for now, task, outcome in self._history:
            clock.append(now)
            again.complete(task, outcome)
        for what in ("issued", "published", "outcome"):
            if repr(getattr(again, what)) != repr(getattr(self, what)):
                raise AssertionError(
                    f"replayed {getattr(again, what)!r}, but {what} were {getattr(self, what)!r}"
                )


class _Group:
    """Runs steps with at most `width` in flight, until all have ended or, in a race, one has."""

    def __init__(
        self,
        execution: Execution,
        parent: "_Group | None",
        steps: Iterable[c.Step],
        width: int,
        done: Done,
        *,
        collect: bool = False,
        race: bool = False,
    ) -> None:
        self._execution, self._parent, self._steps, self._done = execution, parent, iter(steps), done
        self._free = self._width = width
        self._collect, self._race = collect, race
        self._results: list[Any] = []
        self._more, self._filling, self._over = True, False, False

    @property
    def is_over(self) -> bool:
        return self._over or (self._parent is not None and self._parent.is_over)

    def fill(self) -> None:
        while self._more and self._free and not self._filling and not self._over:
            self._filling = True
            try:
                step = next(self._steps, None)
            except Exception as error:  # noqa: BLE001 - the steps are the program's own code
                return self._finish(Failed(error))
            self._more = step is not None
            if step is not None:
                self._free -= 1
                self._results.append(None)
                self._execution.start(step, partial(self._ended, len(self._results) - 1), self)
            self._filling = False
        if not self._more and self._free == self._width and not self._over:
            self._finish(self._results)
        return None

    def _ended(self, slot: int, outcome: Any) -> None:
        if self.is_over:
            return
        self._free += 1
        if isinstance(outcome, Failed) and not self._collect:
            self._finish(outcome)
        elif self._race:
            self._finish((slot, outcome))
        else:
            self._results[slot] = outcome.error if isinstance(outcome, Failed) else outcome
            self.fill()

    def _finish(self, outcome: Any) -> None:
        self._over = True
        self._done(outcome)


def copied(value: Any) -> Any:
    """What is left of a value after its way through a history: plain JSON."""
    return value if isinstance(value, Failed) else json.loads(dump(value))


def failure(step: str, outcome: Any) -> Any:
    """What whoever waits for a step learns of its failure."""
    if not isinstance(outcome, Failed):
        return outcome
    error = outcome.error
    retryable = error.retryable if isinstance(error, LoomError) else True
    return Failed(StepFailedError(step, type(error).__name__, str(error), retryable=retryable))
