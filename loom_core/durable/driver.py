"""Drives a program as a Durable orchestrator: gives each command its meaning on the SDK's context.

The orchestration `run_program` is the one Durable orchestrator for every registered program.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from itertools import chain, repeat
from types import GeneratorType
from typing import Any, Final

from durabletask import task
from durabletask.entities import EntityInstanceId

from loom_core.actors.ask import call_actor
from loom_core.durable.tree import Branch, Failed, Group, Leaf, Parent, Root, Started, outcome_of
from loom_core.errors import InvalidError, StepFailedError, TimedOutError, UnavailableError
from loom_core.sdk.context import publish_late
from loom_core.stops import covers
from loom_core.wire import commands
from loom_core.wire.commands import Program, Step
from loom_core.wire.json import JsonObject, dump

ACTIVITY: Final = "run_activity"
ORCHESTRATION: Final = "run_program"
STOP: Final = "stop_work"
MAX_INSTANCE_ID: Final = 100
_PAUSES: Final = (1.0, 5.0, 30.0)


type Programs = Mapping[str, Callable[[JsonObject], Program]]


def run_program(
    programs: Programs, context: task.OrchestrationContext, call: dict[str, Any]
) -> Generator[task.Task[Any], Any, Any]:
    """Run `call["program"]` over `call["payload"]`; the program's result is the orchestration's output.

    `call["run"]` is the run it belongs to (by default itself), `call["at"]` the time at which all of its work
    counts as scheduled (by default each its own). Raises InvalidError for a program that nobody registered,
    and what the program raises.
    """
    program = programs.get(call["program"])
    if program is None:
        raise InvalidError(f"no program is called {call['program']!r}")
    return (yield from Drive(context, call).run(program(call["payload"])))


class Drive:
    """One execution of one program."""

    def __init__(self, context: task.OrchestrationContext, call: dict[str, Any]) -> None:
        self._context, self._call = publish_late(context, call.get("status")), call
        self._run: str = call.get("run", context.instance_id)
        self._number: int = call.get("number", 0)  # of the key given last, over all executions
        self._children: dict[str, tuple[commands.RunProgram, task.Task[Any]]] = {}
        self._root = Root()
        self._continued: commands.ContinueAsNew | None = None

    def run(self, program: Program) -> Generator[task.Task[Any], Any, Any]:
        """Drive the program to its end; returns its result, raises what it raised, or begins it anew."""
        pending, outcome = Branch(self._start, program).begin(self._root, 0)
        if pending is not None and self._continued is None:
            outcome = yield self._root
        if type(outcome) is Failed:
            raise outcome.error
        if self._continued is None:
            dump(outcome)  # what JSON cannot hold is the program's failure
            return outcome
        kept = {"payload": self._continued.input, "number": self._number, "status": self._context.published}
        self._context.continue_as_new({**self._call, **kept}, save_events=True)
        return None

    def _start(self, step: Step, parent: Parent, slot: int) -> Started:
        if self._continued is not None or self._context.is_over:
            return self._root, None
        program = self._program(step)
        match step:
            case _ if program is not None:
                node = Branch(self._start, program)
            case commands.All():
                node = Group(self._start, step.steps, len(step.steps) + 1)
            case commands.AnyOf() if step.steps:
                node = Group(self._start, step.steps, len(step.steps), first=True)
            case commands.Window() if step.width > 0:
                node = Group(self._start, step.steps, step.width, collect=step.collect)
            case commands.Now() | commands.Publish() | commands.SendEvent():
                return None, self._instantly(step)
            case commands.ContinueAsNew():
                self._continued = step
                self._root.settle(0, None)
                return self._root, None
            case _:
                return self._leaf(step, parent, slot)
        return node.begin(parent, slot)

    def _program(self, step: Step) -> Program | None:
        """The steps that a step stands for; None if it is one itself."""
        match step:
            case GeneratorType():
                return step
            case commands.CallActor():
                return call_actor(step, self._context.instance_id, step.key or self._key(), self._now())
            case commands.CallEntity(insists=True):
                return _insist(step)
            case commands.CallActivity() | commands.CallBatch() | commands.WaitEvent() if (
                step.timeout is not None
            ):
                return _within(step, step.timeout)
            case _:
                return None

    def _instantly(self, step: commands.Now | commands.Publish | commands.SendEvent) -> float | None:
        match step:
            case commands.Now():
                return self._now()
            case commands.Publish():
                self._context.published = step.status
            case commands.SendEvent():
                self._context.send_event(step.instance, step.name, data=step.payload)
        return None

    def _leaf(self, step: Step, parent: Parent, slot: int) -> Started:
        name = next((getattr(step, word) for word in ("name", "program", "type") if hasattr(step, word)), "")
        try:
            watched = self._task(step)
        except (TypeError, ValueError, OverflowError) as error:
            return None, Failed(InvalidError(f"{name or type(step).__name__}: {error}"))
        if watched.is_complete:
            return None, outcome_of(watched, name)
        return Leaf(watched, name, parent, slot), None

    def _task(self, step: Step) -> task.Task[Any]:
        context = self._context
        match step:
            case commands.CallActivity() | commands.CallBatch():
                return self._activity(step)
            case commands.RunProgram():
                return self._child(step)
            case commands.Stop():
                payload = {"run": self._run, "scope": step.scope, "children": self._pending(step.scope)}
                return context.call_activity(STOP, input=payload)
            case commands.CallEntity():
                entity = EntityInstanceId(step.type, step.id)
                return context.call_entity(entity, step.operation, step.input)
            case commands.Sleep():
                return context.create_timer(max(timedelta(), timedelta(seconds=step.seconds)))
            case commands.WaitEvent():
                return context.wait_for_external_event(step.name)
            case commands.Window() | commands.AnyOf():
                raise ValueError("it would never end")
            case _:
                raise TypeError("not a command")

    def _activity(self, step: commands.CallActivity | commands.CallBatch) -> task.Task[Any]:
        if isinstance(step, commands.CallBatch):
            work = {"inputs": step.inputs, "keys": step.keys or self._keys(len(step.inputs))}
        else:
            told = {"strategy": step.strategy} if step.strategy else {}
            work = {"input": step.input, "key": step.key or self._key(), **told}
        payload = {"activity": step.name, "run": self._run, "at": self._decided(), **work}
        return self._context.call_activity(ACTIVITY, input=payload)

    def _child(self, step: commands.RunProgram) -> task.Task[Any]:
        """A child that is not graceful has been asked to stop when whoever began it is: it begins no more."""
        payload = {"program": step.program, "payload": step.input, "run": self._run}
        own = {} if step.graceful else {"at": self._decided()}
        child = child_id(self._key())
        begun: task.Task[Any] = self._context.call_sub_orchestrator(
            ORCHESTRATION, input={**payload, **own}, instance_id=child
        )
        self._children[child] = step, begun
        return begun

    def _pending(self, scope: str) -> list[JsonObject]:
        """The children whose work belongs to the scope and goes on."""
        return [
            {"id": child, "graceful": step.graceful}
            for child, (step, begun) in self._children.items()
            if not begun.is_complete and covers(scope, step.key)
        ]

    def _now(self) -> float:
        return self._context.current_utc_datetime.replace(tzinfo=UTC).timestamp()

    def _decided(self) -> float:
        """When what is scheduled now was decided on: with the program itself, unless it is graceful."""
        return self._call.get("at") or self._now()

    def _key(self) -> str:
        self._number += 1
        return f"{self._context.instance_id}:{self._number}"

    def _keys(self, count: int) -> list[str]:
        call = self._key()
        return [f"{call}/{index}" for index in range(count)]


def _within(step: commands.CallActivity | commands.CallBatch | commands.WaitEvent, seconds: float) -> Program:
    """The same step against a timer; whoever loses is abandoned."""
    index, result = yield commands.AnyOf((replace(step, timeout=None), commands.Sleep(seconds)))
    if index:
        raise TimedOutError(f"{step.name} took longer than {seconds:g} s")
    return result


def _insist(step: commands.CallEntity) -> Program:
    for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
        try:
            return (yield replace(step, insists=False))
        except StepFailedError as error:
            if error.error_type != UnavailableError.__name__:
                raise
        yield commands.Sleep(pause)
    return None


def child_id(key: str) -> str:
    """The instance id of the child that this key was given to: deterministic, and never that of a run."""
    name = "sub-" + key.partition("-")[2].replace(":", "-")
    return name if len(name) <= MAX_INSTANCE_ID else f"sub-{hashlib.sha256(name.encode()).hexdigest()[:26]}"
