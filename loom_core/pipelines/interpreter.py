"""Blocks of stages: one starts when those it waits for are done, independent ones side by side."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from loom_core.errors import InvalidError, LoomError, Problem, StepFailedError, TimedOutError, described
from loom_core.pipelines import plan as plans
from loom_core.pipelines.calls import Calls, Chains, call
from loom_core.pipelines.gather import combine
from loom_core.pipelines.items import scattered
from loom_core.pipelines.loops import Rounds
from loom_core.pipelines.plan import Block, Compensation, Gate, Plan, Route, Stage, Target, names_of
from loom_core.pipelines.progress import MAX_MESSAGE, Status
from loom_core.pipelines.routes import chain, label_of
from loom_core.pipelines.scope import Here, actor_id, captured, evaluate
from loom_core.pipelines.session import Session
from loom_core.resilience.retry import RetryPolicy
from loom_core.wire.commands import All, AnyOf, Now, Program, Sleep, WaitEvent, Window
from loom_core.wire.json import Json, JsonObject
from loom_core.wire.messages import iso

_WATCH = Route(default=Target("activity", "loom.watch"))
UNDO = RetryPolicy(max_attempts=5)
"""How often a compensation is tried that does not say so itself."""
MAX_SAGA = 1_000
"""What can be undone: all of it is carried along, and done in one history."""
MOMENTS = ("now", "deadline", "wake", "broken")
"""What a stage under way has in the checkpoint that is forgotten when its run is taken up after a failure."""

type Parse = Callable[[Json], Plan]


class _Stopped(Exception):  # noqa: N818 - not an error: it ends the loop around a wait
    pass


class Interpreter:
    """Runs one plan, or that of a pipeline within it, over one input, from where its `state` says it is.

    `state` has `out` (the outputs by stage), `done` (the branch each stage took, None if it was skipped),
    `bound` (outputs by names of their own) and `underWay` (by stage: what it needs to go on).
    """

    def __init__(
        self, parse: Parse, session: Session, plan: Plan, *, taken: Json, state: dict[str, Any], here: Here
    ) -> None:
        self.parse, self.session, self.plan, self.taken = parse, session, plan, taken
        self.fields = taken if isinstance(taken, dict) else {}
        self.state, self.here = state, here
        self.out: dict[str, Json] = state.setdefault("out", {})
        self.done: dict[str, str | None] = state.setdefault("done", {})
        self.bound: dict[str, Json] = state.setdefault("bound", {})
        self.under_way: dict[str, dict[str, Any]] = state.setdefault("underWay", {})
        self.prefix = f"{here.seed}/".removeprefix(f"{session.seed}/")

    def program(self) -> Program:
        """Run the plan to its end; the result is its output."""
        plan = self.plan
        if "started" not in self.state:
            self.state["started"] = yield Now()
        late, _ = yield from _timed(self.state, plan.timeout, self._block(plan.stages, self.here))
        if late:
            raise TimedOutError(f"{plan.name}: not done within {plan.timeout:g} seconds")
        if plan.output is not None:
            return evaluate(plan.output, self.scope(self.here), "$.output")
        reached = [stage for stage in plan.stages if self.done[stage.name] is not None]
        return self.out[reached[-1].name] if reached else None

    def scope(self, here: Here, run: JsonObject | None = None) -> dict[str, Json]:
        """What `$` is."""
        known: JsonObject = {"id": self.session.id, "startedAt": iso(self.state["started"]), **(run or {})}
        own: JsonObject = {"input": self.taken, "stages": self.out, "run": known}
        return {**self.fields, **self.bound, **here.names, **own}

    def _block(self, block: Block, here: Here) -> Program:
        """Run a block; the result is the output of its last stage.

        Raises _Stopped if a wait in it has been cut short, once what stands beside the wait has ended.
        """
        started = {stage.name for stage in block if stage.name in self.done}
        is_stopped = False

        def take() -> list[Stage]:
            """The stages that wait for nothing any more; each is handed out once."""
            ready = [one for one in block if one.name not in started and one.after <= self.done.keys()]
            started.update(stage.name for stage in ready)
            return ready

        def go(ready: list[Stage]) -> Program:
            """Run a stage, then those that it kept waiting last: the branch that ends a wait carries on."""
            nonlocal is_stopped
            while len(ready) == 1:
                try:
                    yield from self._stage(ready[0], here)
                except _Stopped:
                    is_stopped = True
                    return
                ready = take()
            if ready:
                yield All(tuple(go([stage]) for stage in ready))

        yield from go(take())
        if is_stopped:
            raise _Stopped
        return self.out[block[-1].name] if block else None

    def _stage(self, stage: Stage, here: Here) -> Program:
        if stage.gates and not any(map(self._is_open, stage.gates)):
            self._settle(stage, None, None)
            return (yield from self._show(stage, "skipped"))
        yield from self.session.ready()
        key, mine = here.key(stage.name), self.under_way.setdefault(stage.name, {})
        run = captured(key, mine.setdefault("now", (yield Now())))
        scope = self.scope(here, run)
        counts = 0 if isinstance(stage.work, plans.Scatter) else 1
        if not stage.hidden and counts:
            yield self.session.progress.start(self.prefix + stage.name, 1, again=bool(here.rounds))
        branch, status, failed = "", "completed", 0
        try:
            late, output = yield from _timed(mine, stage.timeout, self._work(stage, key, scope, here))
            if late:
                yield from self.session.halt(self._shown((stage,)))
                branch, status = "timeout" if stage.on_timeout == "branch" else "", "skipped"
            elif stage.branching:
                branch = "true" if output else "false"
            if late and stage.on_timeout == "fail":
                raise TimedOutError(f"{stage.name}: not done within {stage.timeout:g} seconds")
        except _Stopped:
            yield from self._show(stage, "skipped")
            yield from self.session.settled()
            raise
        except LoomError as error:
            if not counts or stage.on_error == "fail":
                yield from self._show(stage, "failed", failed=counts, error=described(error, MAX_MESSAGE))
                raise
            yield from self.session.halt(self._shown((stage,)))
            collected, branch, failed = stage.on_error == "collect", "", 1
            status, output = ("completed", {"error": described(error)}) if collected else ("skipped", None)
        self.session.active.pop(key, None)
        is_done = status == "completed" and not failed
        self._settle(stage, branch, output)
        yield from self._show(stage, status, done=counts if is_done else 0, failed=failed)
        if stage.compensation is not None and is_done:
            self._remember(stage, stage.compensation, key, self.scope(here, run))
        yield from self.session.settled()

    def _is_open(self, gate: Gate) -> bool:
        branch = self.done[gate.stage]
        return branch is not None and gate.branch in (None, branch)

    def _settle(self, stage: Stage, branch: str | None, output: Json) -> None:
        """Take note of what has become of a stage."""
        self.out[stage.name], self.done[stage.name] = output, branch
        for name in names_of((stage,)):
            self.under_way.pop(name, None)
        if stage.output is not None and (branch is not None or stage.output not in self.bound):
            self.bound[stage.output] = output

    def _show(
        self, stage: Stage, status: Status, *, done: int = 0, failed: int = 0, error: JsonObject | None = None
    ) -> Program:
        if not stage.hidden:
            yield self.session.progress.end(self._shown((stage,)), status, done, failed, error)

    def _shown(self, block: Block) -> list[str]:
        return [self.prefix + name for name in names_of(block)]

    def _remember(self, stage: Stage, how: Compensation, key: str, scope: JsonObject) -> None:
        """Note what undoes the stage, with what it takes: the first to be undone is the last to be done."""
        saga, path = self.session.state["saga"], f"{stage.path}.compensation"
        entry: dict[str, Any] = {"stage": self.prefix + stage.name}
        try:
            targets = chain(how.route, label_of(how.route, scope, key))
            calls = self._calls(stage, how.route, f"{key}/!undo", {"": targets})
            calls.retry, calls.run = how.retry or UNDO, {}
            taken = self.out[stage.name] if how.input is None else evaluate(how.input, scope, f"{path}.input")
            actor = actor_id(how.actor, scope, f"{path}.actorId")
            entry |= {"calls": calls.to_json(), "input": taken, "actor": actor}
        except InvalidError as error:
            entry["error"] = str(error)
        saga.append(entry)
        if len(saga) > MAX_SAGA:
            raise InvalidError([Problem(path, f"there are more than {MAX_SAGA:,} stages to undo")])

    def _work(self, stage: Stage, key: str, scope: JsonObject, here: Here) -> Program:  # noqa: PLR0911
        match stage.work:
            case plans.Call():
                return self._call(stage, stage.work, self.taken, scope, here)
            case plans.Scatter():
                self.session.active[key] = shown = self.prefix + stage.name
                calls, again = self._calls(stage, stage.work.call.route, key, {}), bool(here.rounds)
                return scattered(self.session, stage, stage.work, calls, scope, shown=shown, again=again)
            case plans.Gather():
                return self._gather(stage, stage.work, scope, here)
            case plans.Value():
                return _value(evaluate(stage.work.value, scope, f"{stage.path}.input"))
            case plans.Wait():
                return self._wait(stage, stage.work, key, scope, here)
            case plans.Parallel():
                return self._parallel(stage, stage.work, here)
            case plans.Loop():
                return self._loop(stage, stage.work, scope, here)

    def _calls(self, stage: Stage, route: Route, key: str, chains: Chains) -> Calls:
        """What the calls of a stage have in common."""
        on, run = sorted(route.fallback_on), self.session.needed_by(chains)
        return Calls(stage=stage.name, seed=key, chains=chains, on=on, retry=stage.retry, run=run)

    def _call(self, stage: Stage, how: plans.Call, taken: Json, scope: JsonObject, here: Here) -> Program:
        key = here.key(stage.name)
        if how.input is not None:
            taken = evaluate(how.input, scope, f"{stage.path}.input")
        actor = actor_id(how.actor, scope, f"{stage.path}.actorId")
        targets = chain(how.route, label_of(how.route, scope, key))
        if len(targets) == 1 and targets[0].kind == "pipeline" and stage.retry is None:
            return (yield from self._inner(stage, targets[0].name, taken, here))
        self.session.active[key] = self.prefix + stage.name
        self.session.steps += 1
        try:
            return (yield from call(self._calls(stage, how.route, key, {"": targets}), taken, key, "", actor))
        except StepFailedError as error:
            del self.session.active[key]
            raise error.of(stage.name) from error

    def _inner(self, stage: Stage, name: str, taken: Json, here: Here) -> Program:
        """Run a pipeline as part of this run, with a state of its own in that of this one."""
        state = self.under_way[stage.name].setdefault("inner", {})
        plan = self.parse(self.session.library[name])
        inside = Here(f"{here.seed}/{stage.name}", {}, here.rounds)
        inner = Interpreter(self.parse, self.session, plan, taken=taken, state=state, here=inside)
        return (yield from inner.program())

    def _gather(self, stage: Stage, how: plans.Gather, scope: JsonObject, here: Here) -> Program:
        reached = [(label, name) for label, name in how.sources if self.done[name] is not None]
        outputs = [(label, self.out[name]) for label, name in reached]
        taken, odd = combine(how.strategy, outputs, how.reducer)
        yield from self.session.warn(f"{stage.path}.gather", odd)
        if how.input is not None:
            taken = evaluate(how.input, {**scope, "gathered": taken}, f"{stage.path}.input")
        if how.call is None:
            return taken
        return (yield from self._call(stage, how.call, taken, scope, here))

    def _wait(self, stage: Stage, how: plans.Wait, key: str, scope: JsonObject, here: Here) -> Program:
        if self.session.stopping and here.rounds:
            raise _Stopped
        if how.event is None:
            assert how.seconds is not None
            seconds = evaluate(how.seconds, scope, f"{stage.path}.duration")
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
                raise InvalidError([Problem(f"{stage.path}.duration", "is no number of seconds")])
            yield Sleep((yield from _left(self.under_way[stage.name], "wake", seconds)))
            told = None
        else:
            event = evaluate(how.event, scope, f"{stage.path}.event")
            if not isinstance(event, str) or not event or event.startswith("loom:"):
                raise InvalidError([Problem(f"{stage.path}.event", "is no name of an event")])
            if how.watch is not None:
                yield from self._watch(stage, how.watch, key, event)
            told = yield WaitEvent(event)
        self.session.steps += 1
        return told

    def _watch(self, stage: Stage, path: str, key: str, event: str) -> Program:
        self.session.active[key] = self.prefix + stage.name
        calls = self._calls(stage, _WATCH, key, {"": chain(_WATCH, "")})
        calls.retry = stage.retry or RetryPolicy()
        yield from call(calls, {"run": self.session.id, "path": path, "event": event}, key)
        del self.session.active[key]
        yield from self.session.settled()

    def _parallel(self, stage: Stage, how: plans.Parallel, here: Here) -> Program:
        broken = self.under_way[stage.name].setdefault("broken", {})
        branches = (self._branch(broken, str(n), branch, here) for n, branch in enumerate(how.branches))
        outcomes: list[Any] = yield Window(branches, max(1, len(how.branches)), collect=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, LoomError)]
        if failures:
            count = f"{len(failures)} of {len(outcomes)} branches failed"
            told = "; ".join(str(failure)[:400] for failure in failures)
            raise StepFailedError(stage.name, "ParallelError", f"{count}: {told}")
        if others := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise others[0]
        return outcomes

    def _branch(self, broken: dict[str, str], number: str, block: Block, here: Here) -> Program:
        """Run a branch; in further executions of the run, it has failed already if it has."""
        if number in broken:
            raise LoomError(broken[number])
        try:
            return (yield from self._block(block, here))
        except LoomError as error:
            yield from self.session.halt(self._shown(block))
            broken[number] = str(error)[:400]
            yield from self.session.settled()
            raise

    def _loop(self, stage: Stage, how: plans.Loop, scope: JsonObject, here: Here) -> Program:
        names = names_of(how.body)
        state = self.under_way[stage.name].setdefault("rounds", {})
        rounds = Rounds(stage, how, state, here, partial(self.scope, run=cast("JsonObject", scope["run"])))
        while rounds.is_under_way or (not self.session.stopping and rounds.has_next()):
            if is_new := not rounds.is_under_way:
                yield from self.session.ready()
                for name in names:
                    self.done.pop(name, None)
                    self.under_way.pop(name, None)
                rounds.begin()
            steps = self.session.steps
            try:
                output = yield from self._block(how.body, rounds.here)
            except _Stopped:
                break
            # A round that asks nothing of the world counts too, else it could go on for ever in one history.
            self.session.steps += is_new and self.session.steps == steps
            if not rounds.end(output):
                break
        return rounds.output


def _value(value: Json) -> Program:
    yield from ()
    return value


def _timed(state: dict[str, Any], seconds: float | None, work: Program) -> Program:
    """Do the work in time; the result is whether that has run out, and the output."""
    if seconds is None:
        return False, (yield from work)
    first, output = yield AnyOf((work, Sleep((yield from _left(state, "deadline", seconds)))))
    return first == 1, output


def _left(state: dict[str, Any], key: str, seconds: float) -> Program:
    """How many of the seconds are left that began when this was first asked; the result is a number."""
    now: float = yield Now()
    return max(0.0, state.setdefault(key, now + seconds) - now)
