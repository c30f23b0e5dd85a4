"""Drives programs in memory: scripted activities, a clock that jumps, and a check that a replay agrees.

    bench = Bench({"double": lambda n: 2 * n})
    output = bench.run(pipeline_program, {"run": "run-1", "definition": document, "input": [1, 2]})

What is due at the same moment happens in the order of `seed`, so that a test can try many orders.
"""

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from random import Random
from typing import Any, Final

from loom_core.actors.actor import Actor
from loom_core.actors.ask import call_actor
from loom_core.errors import TimedOutError
from loom_core.notations import PROGRAMS
from loom_core.testing.cast import CHANCE, Cast
from loom_core.testing.executions import Done, Execution, Factory, Failed, copied, failure
from loom_core.wire import commands as c
from loom_core.wire.json import Json, JsonObject

BEGIN: Final = 1_767_225_600.0
"""When the clock of a bench with actors begins: 2026, in seconds since the epoch."""


class Bench:
    """A world for programs.

    `activities` are plain functions of one JSON value; what they raise fails the call. `actors` are real;
    a type of actor that is not among them may be a function among the activities. `duration` says how many
    seconds a call takes on the bench's clock; `events` are `(seconds, name, payload)` sent to the run.
    Afterwards `calls` lists the activity calls, `stopped` the scopes that were stopped, `published` the
    status documents of the run, `peak` is the most items that were in flight at once, `children` the number
    of child programs, `clock` the time it all took.

    With `crashes`, work is sometimes lost when it is done, and done again; with `outages`, actors cannot
    always read or write what is stored of them.
    """

    def __init__(
        self,
        activities: Mapping[str, Callable[[Any], Any]],
        *,
        actors: Iterable[type[Actor]] = (),
        programs: Mapping[str, Factory] = PROGRAMS,
        duration: Callable[[str, Any], float] = lambda _name, _input: 0.0,
        events: Iterable[tuple[float, str, Json]] = (),
        seed: int = 0,
        crashes: bool = False,
        outages: bool = False,
    ) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.stopped: list[str] = []
        self.published: list[JsonObject] = []
        self.peak = self.children = 0
        self.clock = 0.0
        self._activities, self._programs, self._duration = activities, programs, duration
        self._random = Random(seed)  # noqa: S311 - it decides orders, not secrets
        self._crashes = crashes
        self._agenda: list[tuple[float, float, int, Callable[[], Any]]] = []
        self._scheduled = self._flying = 0
        self.executions: list[Execution] = []
        self._unchecked: list[Execution] = []
        self._inbox: defaultdict[tuple[str, str], deque[Json]] = defaultdict(deque)
        self._wanted: defaultdict[tuple[str, str], deque[Done]] = defaultdict(deque)
        self.cast = Cast(actors, self, self._random, crashes=crashes, outages=outages)
        self._begins = BEGIN if self.cast.types else 0.0
        for seconds, name, payload in events:
            self.after(seconds, partial(self._deliver, ("", name), payload))

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._begins + self.clock

    def run(self, program: Factory, payload: JsonObject, *, replay: bool = True) -> Any:
        """Run to the end and return the output, or raise what the program raised.

        With `replay` every execution, the children's too, is driven once more from its history; raises
        AssertionError if it then does anything else.
        """
        ended: list[Any] = []
        self.begin(program, payload, ended.append, is_run=True)
        self.until(ended)
        runs = (execution for execution in self.executions if execution.is_run)
        self.published = [status for execution in runs for status in execution.published]
        if replay:
            self.check_replays()
        if isinstance(ended[0], Failed):
            raise ended[0].error
        return ended[0]

    def until(self, ended: Sequence[Any]) -> None:
        """Let things happen, however long they take, until something is in `ended`."""
        while not ended:
            if not self._agenda:
                raise AssertionError("the program waits for something that never happens")
            self._happen()

    def advance(self, seconds: float) -> None:
        """Let everything happen that happens in this time."""
        end = self.clock + seconds
        while self._agenda and self._agenda[0][0] <= end:
            self._happen()
        self.clock = end

    def check_replays(self) -> None:
        """Raises AssertionError if an execution, driven again from its history, does anything else."""
        for execution in self._unchecked:
            execution.check_replay()
        self._unchecked = [execution for execution in self._unchecked if not execution.is_over]

    def _happen(self) -> None:
        self.clock, _, _, happen = heapq.heappop(self._agenda)
        happen()

    def perform(self, command: c.Command, done: Done, instance: str = "") -> None:
        """Let the world do what a command of this instance asks for."""
        match command:
            case c.CallActivity(name, taken, timeout):
                self._fly(name, [taken], timeout, itemgetter(0), done)
            case c.CallBatch(name, inputs, timeout):
                self._fly(name, inputs, timeout, _answers, done)
            case c.CallActor():
                self._ask(command, done)
            case c.CallEntity():
                self.cast.call(command, done)
            case c.SendEvent(to, name, payload):
                self._deliver((to, name), payload)
                self.after(0, partial(done, None))
            case c.RunProgram(name, taken, key):
                self.children += 1
                failed = partial(failure, name)
                program = self._programs[name]
                self.begin(program, taken, lambda outcome: done(failed(outcome)), key, instance=instance)
            case c.Stop(scope):
                self.stopped.append(scope)
                self._stop(scope)
                self.after(0, partial(done, None))
            case c.Sleep(seconds):
                self.after(seconds, partial(done, None))
            case c.WaitEvent(name, timeout):
                self._wait((instance, name), timeout, done)
            case _:
                raise AssertionError(f"{command!r} is not a command")

    def _ask(self, command: c.CallActor, done: Done) -> None:
        if command.type.lower() not in self.cast.types:
            return self._fly(command.type, [command.input], None, itemgetter(0), done)
        self._scheduled += 1
        asker = f"call-{self._scheduled}"
        program = partial(call_actor, command, asker, command.key or asker, self.now)
        return self.begin(lambda _: program(), {}, done, instance=asker)

    def after(self, seconds: float, happen: Callable[[], Any]) -> None:
        self._scheduled += 1
        heapq.heappush(self._agenda, (self.clock + seconds, self._random.random(), self._scheduled, happen))

    def begin(
        self,
        program: Factory,
        payload: Json,
        ended: Done,
        key: str = "",
        *,
        instance: str = "",
        is_run: bool = False,
    ) -> None:
        """Begin a program that events reach as this `instance`, as far as they are not for the run."""

        def end(outcome: Any) -> None:
            if isinstance(outcome, c.ContinueAsNew):
                self.begin(program, outcome.input, ended, key, instance=instance, is_run=is_run)
            else:
                self.after(0, partial(ended, outcome))

        perform = partial(self.perform, instance=instance) if instance else self.perform
        execution = Execution(program, copied(payload), perform, end, lambda: self.now)
        execution.key, execution.is_run = key, is_run
        self.after(0, partial(self._live, execution))

    def _stop(self, scope: str) -> None:
        for execution in self.executions:
            if execution.key == scope or execution.key.startswith(f"{scope}/"):
                execution.abandon()

    def _live(self, execution: "Execution") -> None:
        self.executions.append(execution)
        self._unchecked.append(execution)
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

        self.after(sum(self._duration(name, taken) for taken in inputs), land)
        if timeout is not None:
            late = Failed(TimedOutError(f"{name}: not done within {timeout:g} seconds"))
            self.after(timeout, partial(done, late))

    def _call(self, name: str, taken: Json) -> Any:
        own = self.cast.activities.get(name)
        if own is None:
            self.calls.append((name, taken))
        try:
            if self._crashes and self._random.random() < CHANCE:
                (own or self._activities[name])(copied(taken))
            return copied((own or self._activities[name])(copied(taken)))
        except Exception as error:  # noqa: BLE001 - whatever an activity raises is its outcome
            return failure(name, Failed(error))

    def _deliver(self, to: tuple[str, str], payload: Json) -> None:
        while self._wanted[to]:
            if self._wanted[to].popleft()(payload):
                return
        self._inbox[to].append(payload)

    def _wait(self, of: tuple[str, str], timeout: float | None, done: Done) -> None:
        def give_up() -> None:
            if done in self._wanted[of]:
                self._wanted[of].remove(done)
                done(Failed(TimedOutError(f"{of[1]}: no event within {timeout:g} seconds")))

        self._wanted[of].append(done)
        if self._inbox[of]:
            self.after(0, partial(self._deliver, of, self._inbox[of].popleft()))
            return
        if timeout is not None:
            self.after(timeout, give_up)


def _answers(outcomes: list[Any]) -> Json:
    return [{"error": _described(o.error)} if isinstance(o, Failed) else {"ok": o} for o in outcomes]


def _described(error: Any) -> Json:
    return {"type": error.error_type, "message": error.message, "retryable": error.can_retry}
