"""Drives programs in memory: scripted activities, a clock that jumps, and a check that a replay agrees.

    bench = Bench({"double": lambda n: 2 * n})
    output = bench.run(pipeline_program, {"run": "run-1", "definition": document, "input": {"numbers": [1, 2]}})

What may end at the same moment ends in the order of `seed`, so a test can try many orders.
"""

import heapq
import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from types import GeneratorType
from typing import Any

from loom_core.errors import LoomError, StepFailedError, TimedOutError
from loom_core.pipelines import PROGRAMS
from loom_core.wire import commands as c
from loom_core.wire.json import Json, JsonObject, dump

type Factory = Callable[[JsonObject], c.Program]


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


type _Done = Callable[[Any], None]
"""Takes the outcome of a step: its result, or `_Failed`."""


class _Life:
    """Steps of an abandoned life are never resumed."""

    __slots__ = ("_parent", "over")

    def __init__(self, parent: "_Life | None" = None) -> None:
        self._parent = parent
        self.over = False

    @property
    def is_over(self) -> bool:
        return self.over or (self._parent is not None and self._parent.is_over)


class Bench:
    """A world for programs.

    `activities` are plain functions of one JSON value; what they raise fails the call. `duration` says how many
    seconds a call takes on the bench's clock, `events` are `(seconds, name, payload)` sent to the run.
    Afterwards `calls` lists the activity calls, `published` the run's status documents, `peak` the most items
    in flight at once (`peaks` by activity), `children` the number of child programs, `clock` the time it took.
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
        self.published: list[JsonObject] = []
        self.peaks: Counter[str] = Counter()
        self.peak = 0
        self.children = 0
        self.clock = 0.0
        self._activities, self._programs, self._duration, self._events = (
            activities,
            programs,
            duration,
            events,
        )
        self._random = Random(seed)
        self._agenda: list[tuple[float, float, int, Callable[[], None]]] = []
        self._flying: Counter[str] = Counter()
        self.executions: list[_Execution] = []

    def run(self, program: Factory, payload: JsonObject, *, replay: bool = True) -> Any:
        """Run to the end and return the output, or raise what the program raised.

        With `replay` every execution, the children's too, is then driven again from its history; raises
        AssertionError if it asks for anything else than it did.
        """
        ended: list[Any] = []
        run = _Execution(self, program, _copied(payload), ended.append)
        for seconds, name, content in self._events:
            self.after(seconds, partial(run.deliver, name, content))
        run.begin()
        while not ended:
            if not self._agenda:
                raise AssertionError("the program waits for something that never happens")
            self.clock, _, _, happen = heapq.heappop(self._agenda)
            happen()
        self.published = run.all_published()
        for execution in self.executions if replay else ():
            execution.check_replay()
        if isinstance(ended[0], _Failed):
            raise ended[0].error
        return ended[0]

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """Put an event on the agenda."""
        turn = len(self._agenda) + len(self.calls)
        heapq.heappush(self._agenda, (self.clock + seconds, self._random.random(), turn, happen))

    def perform(self, command: c.Command, done: _Done, run: "_Execution") -> None:
        """Let the world do what a command asks for."""
        match command:
            case c.CallActivity(name, taken, timeout):
                self._fly(name, [taken], lambda: self._called(name, taken), done, timeout)
            case c.CallBatch(name, inputs, timeout):
                self._fly(
                    name, inputs, lambda: [_answer(self._called(name, i)) for i in inputs], done, timeout
                )
            case c.RunProgram(name, taken):
                self.children += 1
                child = _Execution(
                    self,
                    self._programs[name],
                    _copied(taken),
                    lambda end: self.after(0, partial(done, _failed(name, end))),
                )
                self.after(0, child.begin)
            case c.Sleep(seconds):
                self.after(seconds, partial(done, None))
            case c.WaitEvent(name, timeout):
                run.want(name, done)
                if timeout is not None:
                    self.after(timeout, partial(run.give_up, name, done))
            case _:
                raise AssertionError(f"{command!r} is not a command")

    def _fly(
        self, name: str, inputs: Sequence[Any], act: Callable[[], Any], done: _Done, timeout: float | None
    ) -> None:
        self._flying[name] += len(inputs)
        self.peaks[name] = max(self.peaks[name], self._flying[name])
        self.peak = max(self.peak, self._flying.total())
        seconds = sum(self._duration(name, taken) for taken in inputs)
        late = timeout is not None and seconds > timeout
        outcome = act()

        def land() -> None:
            self._flying[name] -= len(inputs)
            if not late:
                done(outcome)

        self.after(seconds, land)
        if timeout is not None and late:
            self.after(
                timeout, partial(done, _Failed(TimedOutError(f"{name}: more than {timeout:g} seconds")))
            )

    def _called(self, name: str, taken: Json) -> Any:
        self.calls.append((name, taken))
        if name not in self._activities:
            return _Failed(StepFailedError(name, "NotFoundError", f"there is no activity {name!r}"))
        try:
            return _copied(self._activities[name](_copied(taken)))
        except Exception as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            return _failed(name, _Failed(error))


class _Execution:
    """One execution of one program: the commands it issued, in order, and what came back, in order."""

    def __init__(
        self, bench: Bench, program: Factory, payload: Any, ended: _Done, script: "_Execution | None" = None
    ) -> None:
        self.issued: list[c.Command] = []
        self.history: list[tuple[float, int, Any]] = []
        self.published: list[JsonObject] = []
        self.outcome: Any = None
        self.successor: _Execution | None = None
        self._bench, self._program, self._payload, self._ended, self._script = (
            bench,
            program,
            payload,
            ended,
            script,
        )
        self._life = _Life()
        self._begun = self._clock = 0.0
        self._waiting: dict[int, tuple[_Done, _Life]] = {}
        self._inbox: defaultdict[str, deque[Json]] = defaultdict(deque)
        self._wanted: defaultdict[str, deque[_Done]] = defaultdict(deque)

    def begin(self) -> None:
        if self._script is None:
            self._bench.executions.append(self)
            self._clock = self._begun = self._bench.clock
        self._branch(self._program(_copied(self._payload)), self._end, self._life)

    def _end(self, outcome: Any) -> None:
        self._life.over = True
        self.outcome = _copied(outcome)
        self._ended(self.outcome)

    def _start(self, step: c.Step, done: _Done, life: _Life) -> None:
        match step:
            case GeneratorType():
                self._branch(step, done, life)
            case c.All(steps):
                _Window(self._start, iter(steps), len(steps), False, done, life).fill()
            case c.Window(steps, width, collect):
                _Window(self._start, iter(steps), width, collect, done, life).fill()
            case c.AnyOf(steps):
                self._race(steps, done, life)
            case c.ContinueAsNew(taken):
                self._life.over = True
                self.outcome = _copied(taken)
                if self._script is None:
                    self._continue(taken)
            case _:
                self._issue(step, done, life)

    def _branch(self, program: c.Program, done: _Done, life: _Life) -> None:
        stack = [program]

        def advance(outcome: Any) -> None:
            while stack:
                try:
                    failed = isinstance(outcome, _Failed)
                    step = stack[-1].throw(outcome.error) if failed else stack[-1].send(outcome)
                except StopIteration as end:
                    stack.pop()
                    outcome = end.value
                except Exception as error:  # noqa: BLE001 - whatever a program raises is its outcome
                    stack.pop()
                    outcome = _Failed(error)
                else:
                    outcome = None
                    match step:
                        case GeneratorType():
                            stack.append(step)
                        case c.Publish(status):
                            self.published.append(_copied(status))
                        case c.Now():
                            outcome = self._clock
                        case _:
                            return self._start(step, advance, life)
            return done(outcome)

        advance(None)

    def _race(self, steps: Iterable[c.Step], done: _Done, life: _Life) -> None:
        own = _Life(life)

        def end(index: int, outcome: Any) -> None:
            if not own.is_over:
                own.over = True
                done(outcome if isinstance(outcome, _Failed) else (index, outcome))

        for index, step in enumerate(steps):
            if not own.is_over:
                self._start(step, partial(end, index), own)

    def _issue(self, command: c.Command, done: _Done, life: _Life) -> None:
        task = len(self.issued)
        self.issued.append(command)
        self._waiting[task] = (done, life)
        if self._script is None:
            self._bench.perform(command, partial(self._complete, task), self)
        elif self._script.issued[task : task + 1] != [command]:
            raise AssertionError(
                f"a replay asks for {command!r} where the run asked for {self._script.issued[task:]}"
            )

    def _complete(self, task: int, outcome: Any) -> None:
        if self._life.over or task not in self._waiting:
            return
        if self._script is None:
            self._clock = self._bench.clock
            self.history.append((self._clock, task, outcome))
        done, life = self._waiting.pop(task)
        if not life.is_over:
            done(_copied(outcome))

    def _continue(self, taken: Json) -> None:
        self.successor = _Execution(self._bench, self._program, _copied(taken), self._ended)
        self.successor._inbox = self._inbox
        self._bench.after(0, self.successor.begin)

    def deliver(self, name: str, content: Json) -> None:
        """Hand an event to whoever waits for it, or keep it until somebody does."""
        if self.successor is not None:
            self.successor.deliver(name, content)
        elif self._wanted[name]:
            self._wanted[name].popleft()(content)
        else:
            self._inbox[name].append(content)

    def want(self, name: str, done: _Done) -> None:
        if self._inbox[name]:
            self._bench.after(0, partial(done, self._inbox[name].popleft()))
        else:
            self._wanted[name].append(done)

    def give_up(self, name: str, done: _Done) -> None:
        if done in self._wanted[name]:
            self._wanted[name].remove(done)
            done(_Failed(TimedOutError(f"the event {name!r} did not come in time")))

    def all_published(self) -> list[JsonObject]:
        return self.published + (self.successor.all_published() if self.successor else [])

    def check_replay(self) -> None:
        """Drive the program again from the history; raises AssertionError if it does anything else."""
        again = _Execution(self._bench, self._program, self._payload, lambda _end: None, self)
        again._clock = self._begun
        again.begin()
        for clock, task, outcome in self.history:
            again._clock = clock
            again._complete(task, outcome)
        for attribute in ("issued", "published", "outcome"):
            ours, theirs = getattr(again, attribute), getattr(self, attribute)
            if repr(ours) != repr(theirs):
                raise AssertionError(f"a replay differs in {attribute}: {ours!r} is not {theirs!r}")


class _Window:
    """Runs steps in order with at most `width` in flight."""

    def __init__(
        self,
        start: Callable[[c.Step, _Done, _Life], None],
        steps: Iterator[c.Step],
        width: int,
        collect: bool,
        done: _Done,
        life: _Life,
    ) -> None:
        self._start, self._steps, self._width, self._collect, self._done = start, steps, width, collect, done
        self._life = _Life(life)
        self._results: list[Any] = []
        self._free = width
        self._more, self._filling = True, False

    def fill(self) -> None:
        if self._filling:
            return
        self._filling = True
        while self._more and self._free and not self._life.is_over:
            try:
                step = next(self._steps, None)
            except Exception as error:  # noqa: BLE001 - the steps are the program's own code
                self._over(_Failed(error))
                break
            if step is None:
                self._more = False
            else:
                self._free -= 1
                self._results.append(None)
                self._start(step, partial(self._end, len(self._results) - 1), self._life)
        self._filling = False
        if not self._more and self._free == self._width:
            self._over(self._results)

    def _end(self, slot: int, outcome: Any) -> None:
        if self._life.is_over:
            return
        self._free += 1
        failed = isinstance(outcome, _Failed)
        if failed and not self._collect:
            self._over(outcome)
        else:
            self._results[slot] = outcome.error if failed else outcome
            self.fill()

    def _over(self, outcome: Any) -> None:
        if not self._life.is_over:
            self._life.over = True
            self._done(outcome)


def _copied(value: Any) -> Any:
    """What is left of a value after its way through JSON, as on the way through a durable history."""
    return value if isinstance(value, _Failed) else json.loads(dump(value))


def _failed(step: str, outcome: Any) -> Any:
    """What the program that waits sees of a failure: its type and message."""
    if not isinstance(outcome, _Failed):
        return outcome
    error = outcome.error
    if isinstance(error, StepFailedError):
        return _Failed(StepFailedError(step, error.error_type, error.message, retryable=error.can_retry))
    retryable = error.retryable if isinstance(error, LoomError) else True
    return _Failed(StepFailedError(step, type(error).__name__, str(error), retryable=retryable))


def _answer(outcome: Any) -> Json:
    if not isinstance(outcome, _Failed):
        return {"ok": outcome}
    error: Any = outcome.error
    return {"error": {"type": error.error_type, "message": error.message, "retryable": error.can_retry}}
