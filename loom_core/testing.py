"""Drives programs in memory: scripted activities, a clock that jumps, and a check that a replay agrees.

    bench = Bench({"double": lambda n: 2 * n})
    output = bench.run(pipeline_program, {"run": "run-1", "definition": document, "input": [1, 2]})

What is due at the same moment happens in the order of `seed`, so that a test can try many orders.
"""

import heapq
import json
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from random import Random
from types import GeneratorType
from typing import Any

from loom_core.errors import LoomError, StepFailedError, TimedOutError
from loom_core.notations import PROGRAMS
from loom_core.wire import commands as c
from loom_core.wire.json import Json, JsonObject, dump

type Factory = Callable[[JsonObject], c.Program]
type Done = Callable[[Any], Any]
"""Takes the outcome of a step: its result, or `Failed`. That of a command says whether anybody heard."""
type Perform = Callable[[c.Command, Done], None]
type Now = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Failed:
    """An outcome that is thrown instead of sent."""

    error: Exception


class Bench:
    """A world for programs.

    `activities`, and actor types among them, are plain functions of one JSON value; what they raise fails the
    call. `duration` says how many seconds a call takes on the bench's clock; `events` are `(seconds, name,
    payload)` sent to the run. Afterwards `calls` lists the activity calls, `stopped` the scopes that were
    stopped, `published` the status documents of the run, `peak` is the most items that were in flight at
    once, `children` the number of child programs, `clock` the time it all took.
    """

    def __init__(
        self,
        activities: Mapping[str, Callable[[Any], Any]],
        *,
        programs: Mapping[str, Factory] = PROGRAMS,
        duration: Callable[[str, Any], float] = lambda _name, _input: 0.0,
        events: Iterable[tuple[float, str, Json]] = (),
        seed: int = 0,
    ) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.stopped: list[str] = []
        self.published: list[JsonObject] = []
        self.peak = self.children = 0
        self.clock = 0.0
        self._activities, self._programs, self._duration = activities, programs, duration
        self._random = Random(seed)  # noqa: S311 - it decides orders, not secrets
        self._agenda: list[tuple[float, float, int, Callable[[], None]]] = []
        self._scheduled = self._flying = 0
        self.executions: list[_Execution] = []
        self._inbox: defaultdict[str, deque[Json]] = defaultdict(deque)
        self._wanted: defaultdict[str, deque[Done]] = defaultdict(deque)
        for seconds, name, payload in events:
            self._after(seconds, partial(self._deliver, name, payload))

    def run(self, program: Factory, payload: JsonObject, *, replay: bool = True) -> Any:
        """Run to the end and return the output, or raise what the program raised.

        With `replay` every execution, the children's too, is driven once more from its history; raises
        AssertionError if it then does anything else.
        """
        ended: list[Any] = []
        self._begin(program, payload, ended.append, is_run=True)
        while not ended:
            if not self._agenda:
                raise AssertionError("the program waits for something that never happens")
            self.clock, _, _, happen = heapq.heappop(self._agenda)
            happen()
        runs = (execution for execution in self.executions if execution.is_run)
        self.published = [status for execution in runs for status in execution.published]
        for execution in self.executions if replay else ():
            execution.check_replay()
        if isinstance(ended[0], Failed):
            raise ended[0].error
        return ended[0]

    def perform(self, command: c.Command, done: Done) -> None:
        """Let the world do what a command asks for."""
        match command:
            case c.CallActivity(name, taken, timeout):
                self._fly(name, [taken], timeout, itemgetter(0), done)
            case c.CallBatch(name, inputs, timeout):
                self._fly(name, inputs, timeout, _answers, done)
            case c.CallActor(kind, _id, taken):
                self._fly(kind, [taken], None, itemgetter(0), done)
            case c.RunProgram(name, taken, key):
                self.children += 1
                self._begin(self._programs[name], taken, lambda outcome: done(_failure(name, outcome)), key)
            case c.Stop(scope):
                self.stopped.append(scope)
                self._stop(scope)
                self._after(0, partial(done, None))
            case c.Sleep(seconds):
                self._after(seconds, partial(done, None))
            case c.WaitEvent(name, timeout):
                self._wait(name, timeout, done)
            case _:
                raise AssertionError(f"{command!r} is not a command")

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._agenda, (self.clock + seconds, self._random.random(), self._scheduled, happen))

    def _begin(
        self, program: Factory, payload: Json, ended: Done, key: str = "", *, is_run: bool = False
    ) -> None:
        def end(outcome: Any) -> None:
            if isinstance(outcome, c.ContinueAsNew):
                self._begin(program, outcome.input, ended, key, is_run=is_run)
            else:
                self._after(0, partial(ended, outcome))

        execution = _Execution(program, copied(payload), self.perform, end, lambda: self.clock)
        execution.key, execution.is_run = key, is_run
        self._after(0, partial(self._live, execution))

    def _stop(self, scope: str) -> None:
        for execution in self.executions:
            if execution.key == scope or execution.key.startswith(f"{scope}/"):
                execution.abandon()

    def _live(self, execution: "_Execution") -> None:
        self.executions.append(execution)
        execution.begin()

    def _fly(
        self,
        name: str,
        inputs: Sequence[Json],
        timeout: float | None,
        answer: Callable[[list[Any]], Any],
        done: Done,
    ) -> None:
        self._flying += len(inputs)
        self.peak = max(self.peak, self._flying)
        outcome = answer([self._call(name, taken) for taken in inputs])

        def land() -> None:
            self._flying -= len(inputs)
            done(outcome)

        self._after(sum(self._duration(name, taken) for taken in inputs), land)
        if timeout is not None:
            late = Failed(TimedOutError(f"{name}: not done within {timeout:g} seconds"))
            self._after(timeout, partial(done, late))

    def _call(self, name: str, taken: Json) -> Any:
        self.calls.append((name, taken))
        try:
            return copied(self._activities[name](copied(taken)))
        except Exception as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            return _failure(name, Failed(error))

    def _deliver(self, name: str, payload: Json) -> None:
        while self._wanted[name]:
            if self._wanted[name].popleft()(payload):
                return
        self._inbox[name].append(payload)

    def _wait(self, name: str, timeout: float | None, done: Done) -> None:
        def give_up() -> None:
            if done in self._wanted[name]:
                self._wanted[name].remove(done)
                done(Failed(TimedOutError(f"{name}: no event within {timeout:g} seconds")))

        self._wanted[name].append(done)
        if self._inbox[name]:
            self._after(0, partial(self._deliver, name, self._inbox[name].popleft()))
            return
        if timeout is not None:
            self._after(timeout, give_up)


class _Execution:
    """One life of one program: the commands it issued and what came back, each in order."""

    def __init__(self, program: Factory, payload: Any, perform: Perform, end: Done, now: Now) -> None:
        self.issued: list[c.Command] = []
        self.published: list[JsonObject] = []
        self.outcome: Any = None
        self.key, self.is_run = "", False
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
        self._waiting.clear()
        self._end(self.outcome)

    def start(self, step: c.Step, done: Done, group: "_Group") -> None:
        if isinstance(self.outcome, c.ContinueAsNew):
            return
        match step:
            case GeneratorType():
                self._branch(step, done, group)
            case c.All(steps):
                _Group(self, group, steps, len(steps), done).fill()
            case c.Window(steps, width, collect):
                _Group(self, group, steps, width, done, collect=collect).fill()
            case c.AnyOf(steps):
                _Group(self, group, steps, len(steps), done, race=True).fill()
            case c.ContinueAsNew():
                self._waiting.clear()
                self.outcome = step
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
        again = _Execution(
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
        execution: _Execution,
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


def _failure(step: str, outcome: Any) -> Any:
    """What whoever waits for a step learns of its failure."""
    if not isinstance(outcome, Failed):
        return outcome
    error = outcome.error
    retryable = error.retryable if isinstance(error, LoomError) else True
    return Failed(StepFailedError(step, type(error).__name__, str(error), retryable=retryable))


def _answers(outcomes: list[Any]) -> Json:
    return [{"error": _described(o.error)} if isinstance(o, Failed) else {"ok": o} for o in outcomes]


def _described(error: Any) -> Json:
    return {"type": error.error_type, "message": error.message, "retryable": error.can_retry}
