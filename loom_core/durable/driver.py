"""Drives a program as a Durable orchestrator: gives each command its meaning on the SDK's context."""

import hashlib
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, timedelta
from types import GeneratorType
from typing import Any, Final

from durabletask import task

from loom_core.activities.stops import covers
from loom_core.durable import sdk
from loom_core.durable.tree import Branch, Failed, Group, Leaf, Parent, Root, Started, outcome_of
from loom_core.errors import InvalidError, TimedOutError
from loom_core.wire import commands
from loom_core.wire.commands import Program, Step
from loom_core.wire.json import JsonObject

ACTIVITY: Final = "run_activity"
ORCHESTRATION: Final = "run_program"
STOP: Final = "stop_work"
MAX_INSTANCE_ID: Final = 100


class Drive:
    """One execution of one program."""

    def __init__(
        self, context: task.OrchestrationContext, run: str, number: int = 0, status: JsonObject | None = None
    ) -> None:
        self._context, self._run = sdk.publish_late(context), run
        self._context.published = status
        self._root = Root()
        self._children: dict[str, tuple[str, bool, task.Task[Any]]] = {}
        self.number = number
        """How many activities and children were started, over all executions of the instance."""
        self.continued: commands.ContinueAsNew | None = None
        """The command that ended this execution, if one did."""

    @property
    def status(self) -> JsonObject | None:
        """What was published last."""
        return self._context.published

    def run(self, program: Program) -> Generator[task.Task[Any], Any, Any]:
        """Drive the program to its end; returns its result or raises what it raised."""
        pending, outcome = Branch(self._start, program).begin(self._root, 0)
        if pending is not None and self.continued is None:
            outcome = yield self._root
        if type(outcome) is Failed:
            raise outcome.error
        return outcome

    def _start(self, step: Step, parent: Parent, slot: int) -> Started:
        if self.continued is not None or self._context.is_over:
            return self._root, None
        match step:
            case GeneratorType():
                node = Branch(self._start, step)
            case commands.CallActivity() | commands.CallBatch() | commands.WaitEvent() if (
                step.timeout is not None
            ):
                node = Branch(self._start, _within(step, step.timeout))
            case commands.All():
                node = Group(self._start, step.steps, len(step.steps) + 1)
            case commands.AnyOf() if step.steps:
                node = Group(self._start, step.steps, len(step.steps), first=True)
            case commands.Window() if step.width > 0:
                node = Group(self._start, step.steps, step.width, collect=step.collect)
            case commands.Now() | commands.Publish() | commands.ContinueAsNew():
                return self._instant(step)
            case _:
                return self._leaf(step, parent, slot)
        return node.begin(parent, slot)

    def _leaf(self, step: Step, parent: Parent, slot: int) -> Started:
        name = getattr(step, "name", None) or getattr(step, "program", "")
        try:
            watched = self._task(step)
        except (TypeError, ValueError, OverflowError) as error:
            return None, Failed(InvalidError(f"{name or type(step).__name__}: {error}"))
        return (
            (None, outcome_of(watched, name))
            if watched.is_complete
            else (Leaf(watched, name, parent, slot), None)
        )

    def _task(self, step: Step) -> task.Task[Any]:
        context = self._context
        match step:
            case commands.CallActivity():
                told = {"strategy": step.strategy} if step.strategy else {}
                work = {"input": step.input, "key": step.key or self._key(), **told}
                return self._activity(step.name, work)
            case commands.CallBatch():
                work = {"inputs": step.inputs, "keys": step.keys or self._keys(len(step.inputs))}
                return self._activity(step.name, work)
            case commands.RunProgram():
                payload = {"program": step.program, "payload": step.input, "run": self._run}
                child = child_id(self._key())
                begun: task.Task[Any] = context.call_sub_orchestrator(
                    ORCHESTRATION, input=payload, instance_id=child
                )
                self._children[child] = step.key, step.graceful, begun
                return begun
            case commands.Stop():
                payload = {"run": self._run, "scope": step.scope, "children": self._pending(step.scope)}
                return context.call_activity(STOP, input=payload)
            case commands.CallActor():
                raise ValueError("actors are not available yet")
            case commands.Sleep():
                return context.create_timer(max(timedelta(), timedelta(seconds=step.seconds)))
            case commands.WaitEvent():
                return context.wait_for_external_event(step.name)
            case commands.Window() | commands.AnyOf():
                raise ValueError("it would never end")
            case _:
                raise TypeError("not a command")

    def _activity(self, name: str, work: dict[str, Any]) -> task.Task[Any]:
        payload = {"activity": name, "run": self._run, "at": self._now(), **work}
        return self._context.call_activity(ACTIVITY, input=payload)

    def _pending(self, scope: str) -> list[JsonObject]:
        """The children whose work belongs to the scope and goes on."""
        return [
            {"id": child, "graceful": graceful}
            for child, (key, graceful, begun) in self._children.items()
            if not begun.is_complete and covers(scope, key)
        ]

    def _now(self) -> float:
        return self._context.current_utc_datetime.replace(tzinfo=UTC).timestamp()

    def _key(self) -> str:
        self.number += 1
        return f"{self._context.instance_id}:{self.number}"

    def _keys(self, count: int) -> list[str]:
        call = self._key()
        return [f"{call}/{index}" for index in range(count)]

    def _instant(self, step: commands.Now | commands.Publish | commands.ContinueAsNew) -> Started:
        match step:
            case commands.Now():
                return None, self._now()
            case commands.Publish():
                self._context.published = step.status
                return None, None
            case commands.ContinueAsNew():
                self.continued = step
                self._root.settle(0, None)
                return self._root, None


def _within(step: commands.CallActivity | commands.CallBatch | commands.WaitEvent, seconds: float) -> Program:
    """The same step against a timer; whoever loses is abandoned."""
    index, result = yield commands.AnyOf((replace(step, timeout=None), commands.Sleep(seconds)))
    if index:
        raise TimedOutError(f"{step.name} took longer than {seconds:g} s")
    return result


def child_id(key: str) -> str:
    """The instance id of the child that this key was given to: deterministic, and never that of a run."""
    name = "sub-" + key.partition("-")[2].replace(":", "-")
    return name if len(name) <= MAX_INSTANCE_ID else f"sub-{hashlib.sha256(name.encode()).hexdigest()[:26]}"
