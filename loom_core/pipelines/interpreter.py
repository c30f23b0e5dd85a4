"""Blocks of stages: one starts when those it waits for are done, independent ones side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from loom_core.errors import InvalidError, LoomError, Problem, StepFailedError, TimedOutError
from loom_core.pipelines.calls import Calls, call
from loom_core.pipelines.gather import combine
from loom_core.pipelines.items import described, scattered
from loom_core.pipelines.loops import Rounds
from loom_core.pipelines.plan import (
    Block,
    Call,
    Gate,
    Gather,
    Loop,
    Parallel,
    Plan,
    Scatter,
    Stage,
    Target,
    Value,
    Wait,
    blocks,
)
from loom_core.pipelines.progress import Status
from loom_core.pipelines.routes import chain, label_of
from loom_core.pipelines.scope import Here, captured, evaluate, iso
from loom_core.pipelines.session import Session
from loom_core.resilience.retry import RetryPolicy
from loom_core.wire.commands import All, AnyOf, Now, Program, Sleep, WaitEvent, Window
from loom_core.wire.json import Json, JsonObject

_WATCH = {"": (Target("activity", "loom.watch"),)}

type Parse = Callable[[Json], Plan]


class _Stopped(Exception):  # noqa: N818 - not an error: it ends the loop around a wait
    pass


class Interpreter:
    """Runs one plan, or that of a pipeline within it, over one input, from where its `state` says it is.

    `state` has `out` (the outputs by stage), `done` (the branch each stage took, None if it was skipped),
    `bound` (outputs by names of their own), `rounds` (of loops under way) and `inner` (of pipelines within).
    """

    def __init__(
        self, parse: Parse, session: Session, plan: Plan, *, taken: Json, state: dict[str, Any], seed: str
    ) -> None:
        self.parse, self.session, self.plan, self.taken, self.seed = parse, session, plan, taken, seed
        self.fields = taken if isinstance(taken, dict) else {}
        self.state = state
        self.out: dict[str, Json] = state.setdefault("out", {})
        self.done: dict[str, str | None] = state.setdefault("done", {})
        self.bound: dict[str, Json] = state.setdefault("bound", {})
        self.prefix = seed[len(session.seed) + 1 :] + "/" if seed != session.seed else ""

    def program(self) -> Program:
        """Run the plan to its end; the result is its output."""
        if "started" not in self.state:
            self.state["started"] = yield Now()
        yield from self._block(self.plan.stages, Here())
        if self.plan.output is None:
            reached = [stage for stage in self.plan.stages if self.done[stage.name] is not None]
            return self.out[reached[-1].name] if reached else None
        return evaluate(self.plan.output, self.scope(Here()), "$.output")

    def scope(self, here: Here, run: JsonObject | None = None) -> dict[str, Json]:
        """What `$` is."""
        known: JsonObject = {"id": self.session.id, "startedAt": iso(self.state["started"])}
        return {
            **self.fields,
            **self.bound,
            **here.names,
            "input": self.taken,
            "stages": self.out,
            "run": {**known, **(run or {})},
        }

    def _block(self, block: Block, here: Here) -> Program:
        started = {stage.name for stage in block if stage.name in self.done}

        def take() -> list[Stage]:
            """The stages that wait for nothing any more; each is handed out once."""
            waiting = [stage for stage in block if stage.name not in started]
            ready = [stage for stage in waiting if stage.after <= self.done.keys()]
            started.update(stage.name for stage in ready)
            return ready

        def go(ready: list[Stage]) -> Program:
            """Run a stage, then those that it kept waiting last: the branch that ends a wait carries on."""
            while len(ready) == 1:
                yield from self._stage(ready[0], here)
                ready = take()
            if ready:
                yield All(tuple(go([stage]) for stage in ready))

        yield from go(take())

    def _stage(self, stage: Stage, here: Here) -> Program:
        if stage.gates and not any(map(self._is_open, stage.gates)):
            yield from self._end(stage, "skipped", None, None)
            return
        yield from self.session.ready()
        key = here.key(self.seed, stage.name)
        run = captured(key, (yield Now()))
        scope = self.scope(here, run)
        counts = 0 if isinstance(stage.work, Scatter) else 1
        if not stage.hidden and counts:
            yield self.session.progress.start(self.prefix + stage.name, 1, again=bool(here.rounds))
        branch, status, failed = "", "completed", 0
        try:
            late, output = yield from self._timed(stage, key, self._work(stage, key, scope, here))
            if late and stage.on_timeout == "fail":
                raise TimedOutError(f"{stage.name}: not done within {stage.timeout:g} seconds")
            if late:
                branch, status = "timeout" if stage.on_timeout == "branch" else "", "skipped"
            elif stage.branching:
                branch = "true" if output else "false"
        except _Stopped:
            yield from self._end(stage, "skipped", None, None)
            raise
        except LoomError as error:
            if not counts or stage.on_error == "fail":
                yield from self._fail(stage, error, counts)
            collected, failed = stage.on_error == "collect", 1
            status, output = ("completed", {"error": described(error)}) if collected else ("skipped", None)
        self.session.active.pop(key, None)
        done = counts if status == "completed" and not failed else 0
        yield from self._end(stage, status, branch, output, done=done, failed=failed)
        if stage.compensation is not None and status == "completed":
            self._remember(stage, key, here, run)
        yield from self.session.settled()

    def _is_open(self, gate: Gate) -> bool:
        branch = self.done[gate.stage]
        return branch is not None and gate.branch in (None, branch)

    def _fail(self, stage: Stage, error: LoomError, counts: int) -> Program:
        if not stage.hidden:
            name = self.prefix + stage.name
            yield self.session.progress.end(name, "failed", failed=counts, error=described(error))
        raise error

    def _end(
        self,
        stage: Stage,
        status: Status,
        branch: str | None,
        output: Json,
        *,
        done: int = 0,
        failed: int = 0,
    ) -> Program:
        self.out[stage.name], self.done[stage.name] = output, branch
        if stage.output is not None and (branch is not None or stage.output not in self.bound):
            self.bound[stage.output] = output
        if not stage.hidden:
            yield self.session.progress.end(self.prefix + stage.name, status, done, failed)

    def _remember(self, stage: Stage, key: str, here: Here, run: JsonObject) -> None:
        """Note what undoes the stage, with what it takes: the first to be undone is the last to be done."""
        how = stage.compensation
        assert how is not None
        scope = self.scope(here, run)
        path = f"{stage.path}.compensation.input"
        calls = self.calls(stage, f"{key}/!undo", {"": chain(how.route, label_of(how.route, scope, key))})
        calls.retry = how.retry
        entry: dict[str, Any] = {"stage": self.prefix + stage.name, "calls": calls.to_json()}
        try:
            taken = self.out[stage.name] if how.input is None else evaluate(how.input, scope, path)
            entry["input"] = taken
            entry["actor"] = None if how.actor is None else str(evaluate(how.actor, scope, path))
        except InvalidError as error:
            entry["error"] = str(error)
        self.session.state["saga"].append(entry)

    def _timed(self, stage: Stage, key: str, work: Program) -> Program:
        """Do the work in time; the result is whether that has run out, and the output."""
        if stage.timeout is None:
            return False, (yield from work)
        left: float = yield from self.session.remaining(key, stage.timeout)
        first, result = yield AnyOf((work, Sleep(left)))
        del self.session.state["deadlines"][key]
        if first == 1:
            yield from self.session.halt(self._shown((stage,)))
        return first == 1, result

    def _work(self, stage: Stage, key: str, scope: JsonObject, here: Here) -> Program:  # noqa: PLR0911
        match stage.work:
            case Call():
                return self._call(stage, stage.work, self.taken, key, scope)
            case Scatter():
                self.session.active[key] = shown = self.prefix + stage.name
                calls_of, again = partial(self.calls, stage, key), bool(here.rounds)
                return scattered(
                    self.session, stage, stage.work, scope=scope, shown=shown, calls_of=calls_of, again=again
                )
            case Gather():
                return self._gather(stage, stage.work, key, scope)
            case Value():
                return self._value(stage, stage.work, scope)
            case Wait():
                return self._wait(stage, stage.work, key, scope, here)
            case Parallel():
                return self._parallel(stage, stage.work, here)
            case Loop():
                return self._loop(stage, stage.work, scope, here)

    def calls(self, stage: Stage, key: str, chains: Any) -> Calls:
        """What the calls of a stage have in common."""
        run: dict[str, Json] = {"run": self.session.id}
        if any(target.kind == "pipeline" for targets in chains.values() for target in targets):
            run["library"] = self.session.library
        first_route = stage.work.call if isinstance(stage.work, Scatter | Gather) else stage.work
        on = first_route.route.fallback_on if isinstance(first_route, Call) else ()
        return Calls(stage=stage.name, seed=key, chains=chains, on=sorted(on), retry=stage.retry, run=run)

    def _call(self, stage: Stage, how: Call, taken: Json, key: str, scope: JsonObject) -> Program:
        if how.input is not None:
            taken = evaluate(how.input, scope, f"{stage.path}.input")
        actor = None if how.actor is None else str(evaluate(how.actor, scope, f"{stage.path}.actorId"))
        targets = chain(how.route, label_of(how.route, scope, key))
        calls = self.calls(stage, key, {"": targets})
        if len(targets) == 1 and targets[0].kind == "pipeline" and stage.retry is None:
            return (yield from self._inner(targets[0].name, taken, key))
        self.session.active[key] = self.prefix + stage.name
        self.session.steps += 1
        try:
            return (yield from call(calls, taken, key, "", actor))
        except StepFailedError as error:
            del self.session.active[key]
            again = error.can_retry
            raise StepFailedError(stage.name, error.error_type, error.message, retryable=again) from error

    def _inner(self, name: str, taken: Json, key: str) -> Program:
        """Run a pipeline as part of this run, with a state of its own in that of this one."""
        inner = self.state.setdefault("inner", {}).setdefault(key, {})
        plan = self.parse(self.session.library[name])
        output = yield from Interpreter(
            self.parse, self.session, plan, taken=taken, state=inner, seed=key
        ).program()
        del self.state["inner"][key]
        return output

    def _gather(self, stage: Stage, how: Gather, key: str, scope: JsonObject) -> Program:
        outputs = [
            (label, self.out[source]) for label, source in how.sources if self.done[source] is not None
        ]
        taken, odd = combine(how.strategy, outputs, how.reducer)
        yield from self.session.warn(f"{stage.path}.gather", odd)
        if how.input is not None:
            taken = evaluate(how.input, {**scope, "gathered": taken}, f"{stage.path}.input")
        if how.call is None:
            return taken
        return (yield from self._call(stage, how.call, taken, key, scope))

    def _value(self, stage: Stage, how: Value, scope: JsonObject) -> Program:
        yield from ()
        return evaluate(how.value, scope, f"{stage.path}.input")

    def _wait(self, stage: Stage, how: Wait, key: str, scope: JsonObject, here: Here) -> Program:
        if self.session.stopping and here.rounds:
            raise _Stopped
        self.session.steps += 1
        if how.event is None:
            assert how.seconds is not None
            seconds = evaluate(how.seconds, scope, f"{stage.path}.duration")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
                raise InvalidError([Problem(f"{stage.path}.duration", "is no number of seconds")])
            yield Sleep((yield from self.session.remaining(f"{key}#", seconds)))
            del self.session.state["deadlines"][f"{key}#"]
            return None
        event = evaluate(how.event, scope, f"{stage.path}.event")
        if not isinstance(event, str) or not event or event.startswith("loom:"):
            raise InvalidError([Problem(f"{stage.path}.event", "is no name of an event")])
        if how.watch is not None:
            self.session.active[key] = self.prefix + stage.name
            calls = Calls(stage=stage.name, seed=key, chains=_WATCH, retry=stage.retry or RetryPolicy())
            yield from call(calls, {"run": self.session.id, "path": how.watch, "event": event}, key)
            del self.session.active[key]
            yield from self.session.settled()
        return (yield WaitEvent(event))

    def _parallel(self, stage: Stage, how: Parallel, here: Here) -> Program:
        branches = (self._isolated(branch, here) for branch in how.branches)
        outcomes: list[Any] = yield Window(branches, max(1, len(how.branches)), collect=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if stopped := next((failure for failure in failures if isinstance(failure, _Stopped)), None):
            raise stopped
        if failures:
            count = f"{len(failures)} of {len(outcomes)} branches failed"
            told = "; ".join(str(failure)[:400] for failure in failures)
            raise StepFailedError(stage.name, "ParallelError", f"{count}: {told}")
        return outcomes

    def _isolated(self, block: Block, here: Here) -> Program:
        try:
            yield from self._block(block, here)
        except LoomError:
            yield from self.session.halt(self._shown(block))
            raise
        return self.out[block[-1].name] if block else None

    def _shown(self, block: Block) -> list[str]:
        return [self.prefix + name for name in names_of(block)]

    def _loop(self, stage: Stage, how: Loop, scope: JsonObject, here: Here) -> Program:
        names = names_of(how.body)
        state = self.state.setdefault("rounds", {}).setdefault(stage.name, {})
        rounds = Rounds(stage, how, state, here, partial(self.scope, run=cast("JsonObject", scope["run"])))
        while rounds.has_next(stopping=self.session.stopping):
            if not rounds.resumed():
                for name in names:
                    self.done.pop(name, None)
                    self.state["rounds"].pop(name, None)
            try:
                yield from self._block(how.body, rounds.here)
            except _Stopped:
                break
            if not rounds.end(self.out[how.body[-1].name]):
                break
        del self.state["rounds"][stage.name]
        for name in names:
            self.done.setdefault(name, None)
            self.out.setdefault(name, None)
        return rounds.output


def names_of(block: Block, *, shown: bool = False) -> list[str]:
    """The names of a block's stages and of those within them; with `shown`, of those that are not hidden."""
    names: list[str] = []
    for stage in block:
        if not (shown and stage.hidden):
            names.append(stage.name)
        for inner in blocks(stage.work):
            names += names_of(inner, shown=shown)
    return names
