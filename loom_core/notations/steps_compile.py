"""A document with steps in, a `Plan` out, or one `InvalidError` that lists everything that is wrong with it.

Steps run one after the other. A condition is a value with a branch for each of its ways, and ends, as a step
that has steps for its timeout does, in a hidden stage that has the output of the way that was taken.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loom_core.expressions.parse import parse, parse_value
from loom_core.notations import steps as definition
from loom_core.notations.checks import at, closed_fields, list_at, text_at
from loom_core.notations.document import MAX_NESTING, MAX_STAGES
from loom_core.notations.routes import read_call, read_compensation
from loom_core.notations.steps_check import Scope, StepChecks, check_step
from loom_core.pipelines.plan import Block, Gate, Kind, Loop, Parallel, Plan, Stage, Value, Wait, Work
from loom_core.wire.json import Json, JsonObject

DEFAULT_ROUNDS = 1_000
CALLS: Mapping[str, Mapping[str, Kind]] = {
    "activity": {"activity": "activity", "name": "activity"},
    "agent": {"agentType": "agent"},
    "actor": {"actor": "actor"},
    "pipeline": {"pipeline": "pipeline"},
}
"""Under which keys a step of a type names what does its work."""


def compile_steps(document: JsonObject) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    return _Compiler(document).plan()


@dataclass(frozen=True, slots=True)
class _Way:
    """Where a step stands: what is known there, what must be open for it, and which stage it follows."""

    scope: Scope
    gates: tuple[Gate, ...] = ()
    before: str = ""

    @property
    def after(self) -> frozenset[str]:
        return frozenset({self.before, *(gate.stage for gate in self.gates)} - {""})


class _Compiler:
    def __init__(self, document: JsonObject) -> None:
        self.document, self.checks = document, StepChecks()
        self.workflow = self.checks.shape(definition.Workflow, document, "$")
        every = list(definition.every_step(list_at(document, "steps"), "$.steps"))
        self.names = {path: text_at(draft, "id") or f"step-{n}" for n, (path, draft) in enumerate(every, 1)}
        properties = at(document.get("input"), "properties")
        self.checks.elsewhere = set(self.names.values())
        self.checks.fields = closed_fields(document.get("input"))
        self.checks.declared = properties if isinstance(properties, dict) else ()
        self.checks.outputs = {text_at(draft, "output"): path for path, draft in reversed(every)}

    def plan(self) -> Plan:
        if len(self.names) > MAX_STAGES:
            self.checks.refuse("$.steps", f"has {len(self.names)} steps; at most {MAX_STAGES} are allowed")
            self.checks.passed(self.workflow)
        self.checks.refuse_doubles(self.names, "id")
        scope = Scope()
        stages = self._row(list_at(self.document, "steps"), "$.steps", _Way(scope))
        self.checks.enter(scope)
        output = self.checks.read(self.document, "$", "output")
        workflow = self.checks.passed(self.workflow)
        return workflow.plan(self.document, stages, output, warnings=self.checks.warnings, notation="steps")

    def _row(self, drafts: Sequence[Json], path: str, way: _Way) -> Block:
        """Steps one after the other; the last stage has the output of them all."""
        made: list[Stage] = []
        for index, draft in enumerate(drafts):
            place = f"{path}[{index}]"
            if place not in self.names:
                self.checks.refuse(place, f"nested deeper than {MAX_NESTING} levels")
                break
            before = made[-1].name if made else way.before
            made += self._step(draft, place, _Way(way.scope, way.gates, before))
        return tuple(made)

    def _step(self, draft: Json, path: str, way: _Way) -> Sequence[Stage]:
        written = self.checks.shape(definition.Step, draft, path)
        check_step(self.checks, draft, path)
        self.checks.enter(way.scope)
        if text_at(draft, "type") == "condition":
            return self._condition(draft, path, way)
        work = self._work(draft, path, way.scope)
        self._bind(draft, path, way.scope)
        undo = read_compensation(self.checks, draft, path, set())
        late, inside = self._side(draft, "onTimeout", path, way, "timeout")
        way.scope.learn(inside)
        if written is None or work is None:
            return ()
        stage = Stage(
            name=self.names[path],
            path=path,
            work=work,
            after=way.after,
            gates=way.gates,
            output=written.output,
            timeout=written.timeout,
            on_timeout=_on_timeout(written),
            retry=written.retry and written.retry.policy,
            on_error=written.on_error,
            compensation=undo,
        )
        return (stage, *late, _join(stage, late, (stage,))) if late else (stage,)

    def _condition(self, draft: Json, path: str, way: _Way) -> Sequence[Stage]:
        test = self.checks.read(draft, path, "if", bare=True)
        way.scope.steps.add(self.names[path])
        yes, known = self._side(draft, "then", path, way, "true")
        no, otherwise = self._side(draft, "else", path, way, "false")
        way.scope.learn(known, otherwise)
        self._bind(draft, path, way.scope)
        if test is None:
            return ()
        stage = Stage(
            name=self.names[path],
            path=path,
            work=Value(value=test),
            after=way.after,
            gates=way.gates,
            branching=True,
        )
        return stage, *yes, *no, _join(stage, yes, no, output=text_at(draft, "output") or None)

    def _work(self, draft: Json, path: str, scope: Scope) -> Work | None:
        match text_at(draft, "type"):
            case "parallel":
                return self._parallel(draft, path, scope)
            case "loop":
                return self._loop(draft, path, scope)
            case "wait":
                return self._wait(draft, path)
            case kind if kind in CALLS:
                return read_call(self.checks, draft, path, set(), keys=CALLS[kind])
            case _:
                return None

    def _wait(self, draft: Json, path: str) -> Wait | None:
        event = self.checks.read(draft, path, "event")
        seconds = self.checks.read(draft, path, "duration", bare=True)
        if seconds is not None:
            seconds = self.checks.parse(at(draft, "duration"), f"{path}.duration", "({}) / 1000")
        return Wait(event=event, seconds=seconds) if event or seconds else None

    def _side(self, draft: Json, key: str, path: str, way: _Way, branch: str) -> tuple[Block, Scope]:
        """The steps of one way that a step can take, and what is known at their end."""
        name, inside = self.names[path], way.scope.copy()
        row = self._row(list_at(draft, key), f"{path}.{key}", _Way(inside, (Gate(name, branch),), name))
        return row, inside

    def _parallel(self, draft: Json, path: str, scope: Scope) -> Parallel:
        bound: dict[str, str] = {}
        insides: list[Scope] = []
        made: list[Block] = []
        for place, steps in definition.lists_in(draft):
            if place.startswith("branches"):
                bound |= self._bound(steps, f"{path}.{place}", bound)
                insides.append(scope.copy())
                made.append(self._row(steps, f"{path}.{place}", _Way(insides[-1])))
        scope.learn(*insides)
        return Parallel(branches=tuple(made))

    def _bound(self, steps: Sequence[Json], path: str, beside: Mapping[str, str]) -> Mapping[str, str]:
        """The names that a branch binds; what one beside it binds too is refused."""
        found: dict[str, str] = {}
        for place, step in definition.every_step(steps, path):
            if name := text_at(step, "output"):
                found[name] = place
            if name in beside:
                self.checks.refuse(f"{place}.output", f"{name!r} is bound by {beside[name]}, beside this")
        return found

    def _loop(self, draft: Json, path: str, scope: Scope) -> Loop | None:
        inside = scope.copy()
        every = list(definition.every_step(list_at(draft, "steps"), f"{path}.steps"))
        inside.steps.update(self.names[place] for place, _ in every if place in self.names)
        inside.names.update(text_at(step, "output") for _, step in every)
        item = (text_at(draft, "as") or "item") if at(draft, "over") is not None else ""
        for place, step in every:
            if item and text_at(step, "output") == item:
                self.checks.refuse(f"{place}.output", f"{item!r} is the item of {path}")
        inside.names.add(item)
        self.checks.enter(scope)
        items = self.checks.read(draft, path, "over", bare=True)
        count = self.checks.read(draft, path, "times", bare=True)
        self.checks.enter(inside)
        condition = self.checks.read(draft, path, "while", bare=True)
        body = self._row(list_at(draft, "steps"), f"{path}.steps", _Way(inside.copy()))
        inside.names.discard(item)
        scope.learn(inside)
        limit = at(draft, "maxIterations")
        if not isinstance(limit, int):
            limit = DEFAULT_ROUNDS if condition else definition.MAX_ROUNDS if count else None
        if count is not None:
            condition = self.checks.parse(at(draft, "times"), f"{path}.times", "$.loop.index < ({})")
        if not body:
            return None
        return Loop(
            body=body,
            items=items,
            item=item or "item",
            condition=condition,
            limit=None if limit == -1 else limit,
            collect=at(draft, "while") is None,
        )

    def _bind(self, draft: Json, path: str, scope: Scope) -> None:
        """What this step leaves is known from here on."""
        scope.steps.add(self.names[path])
        if name := text_at(draft, "output"):
            scope.names.add(name)
        self.checks.enter(scope)


def _join(stage: Stage, *ways: Block, output: str | None = None) -> Stage:
    """A stage after all ways out of another; only those of the one that was taken have an output."""
    last = [way[-1].name for way in ways if way]
    value = " ?? ".join(f"$.stages[{json.dumps(name)}]" for name in last)
    return Stage(
        name=f"{stage.name}.end",
        path=stage.path,
        work=Value(value=parse(value) if value else parse_value(None)),
        after=frozenset({stage.name, *last, *(gate.stage for gate in stage.gates)}),
        gates=stage.gates,
        output=output,
        hidden=True,
    )


def _on_timeout(written: definition.Step) -> Literal["fail", "skip", "branch"]:
    if written.on_timeout == "fail":
        return "fail"
    return "skip" if written.on_timeout in ("continue", []) else "branch"
