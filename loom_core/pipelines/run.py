"""A pipeline as a program: a stage starts when those it waits for are done, independent ones side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

from loom_core.errors import InvalidError, LoomError, Problem, StepFailedError, TimedOutError
from loom_core.pipelines.calls import Calls, Item, Outcome, call
from loom_core.pipelines.lanes import scatter
from loom_core.pipelines.plan import Call, Gather, Plan, Scatter, Stage
from loom_core.pipelines.progress import Progress, Status
from loom_core.wire.commands import All, AnyOf, Program, Sleep
from loom_core.wire.expressions import Expression
from loom_core.wire.expressions_evaluate import kind
from loom_core.wire.json import Json, JsonObject

MAX_ITEMS = 1_000_000


def pipeline_program(parse: Callable[[Json], Plan], payload: JsonObject) -> Program:
    """Run `{"run": id, "definition": document, "input": json}`; the result is the run's output.

    Raises InvalidError for a wrong definition and for expressions that cannot be evaluated, StepFailedError
    for a stage that failed, TimedOutError for one that took too long.
    """
    plan = parse(payload["definition"])
    return (yield from _Run(plan, str(payload["run"]), payload["input"]).program())


class _Run:
    def __init__(self, plan: Plan, run: str, taken: Json) -> None:
        self.plan = plan
        self.id = run
        self.outputs: dict[str, Json] = {}
        fields = taken if isinstance(taken, dict) else {}
        self.scope: dict[str, Json] = {**fields, "input": taken, "stages": self.outputs, "run": {"id": run}}
        self.progress = Progress(stage.name for stage in plan.stages)
        self.started: set[str] = set()

    def program(self) -> Program:
        yield All(tuple(map(self._branch, self._ready())))
        if self.plan.output is None:
            return self.outputs[self.plan.stages[-1].name]
        return _evaluate(self.plan.output, self.scope, "$.output")

    def _ready(self) -> list[Stage]:
        """Take the stages that wait for nothing any more; each is handed out once."""
        waiting = (stage for stage in self.plan.stages if stage.name not in self.started)
        ready = [stage for stage in waiting if stage.after <= self.outputs.keys()]
        self.started.update(stage.name for stage in ready)
        return ready

    def _branch(self, stage: Stage) -> Program:
        """Run a stage, then those that it kept waiting last: the branch that ends a wait carries on."""
        ready = [stage]
        while len(ready) == 1:
            yield from self._stage(ready[0])
            ready = self._ready()
        if ready:
            yield All(tuple(map(self._branch, ready)))

    def _stage(self, stage: Stage) -> Program:
        scattered = isinstance(stage.work, Scatter)
        work = self._scatter(stage, stage.work) if isinstance(stage.work, Scatter) else self._single(stage)
        counts = {} if scattered else {"done": 1}
        status: Status = "completed"
        try:
            output: Json = yield from _within(stage, work)
        except LoomError as error:
            counts = {} if scattered else {"failed": 1}
            if scattered or stage.on_error == "fail":
                yield self.progress.end(stage.name, "failed", **counts)
                raise
            collected = stage.on_error == "collect"
            status, output = ("completed", {"error": _described(error)}) if collected else ("skipped", None)
        self.outputs[stage.name] = output
        yield self.progress.end(stage.name, status, **counts)

    def _single(self, stage: Stage) -> Program:
        yield self.progress.start(stage.name, 1)
        work = stage.work
        taken = self._gathered(work) if isinstance(work, Gather) else self.scope["input"]
        one = work.call if isinstance(work, Gather) else work
        given = work.input if isinstance(work, Gather | Call) else None
        if given is not None:
            taken = _evaluate(given, self.scope, f"{stage.path}.input")
        if not isinstance(one, Call):
            return taken
        try:
            return (yield from call(_name(one), taken, stage.retry, f"{self.id}/{stage.name}"))
        except StepFailedError as error:
            raise StepFailedError(
                stage.name, error.error_type, error.message, retryable=error.can_retry
            ) from error

    def _gathered(self, gather: Gather) -> Json:
        label, source = gather.sources[0]
        output = self.outputs[source]
        if gather.strategy == "object":
            return {label: output}
        return output if isinstance(output, list) else [output]

    def _scatter(self, stage: Stage, how: Scatter) -> Program:
        picked = _pick(stage, how, self.scope)
        failures = picked.failures
        total = len(picked.items) + len(failures)
        yield self.progress.start(stage.name, total, picked.skipped, len(failures))
        if failures and stage.on_error == "fail":
            raise failures[0][1]
        calls = Calls(
            stage=stage.name,
            seed=f"{self.id}/{stage.name}",
            activity=_name(how.call),
            batch_size=how.batch_size,
            retry=stage.retry,
            stop=stage.on_error == "fail",
        )
        outcomes: list[Outcome] = yield from scatter(
            calls, picked.items, how.concurrency, partial(self.progress.count, stage.name)
        )
        indices = (index for index, _ in picked.items)
        settled = sorted([*zip(indices, outcomes, strict=True), *failures], key=itemgetter(0))
        return [
            {"error": _described(outcome), "item": index} if isinstance(outcome, StepFailedError) else outcome
            for index, outcome in settled
            if stage.on_error == "collect" or not isinstance(outcome, StepFailedError)
        ]


@dataclass(frozen=True, slots=True)
class _Picked:
    """The items of a scatter that are to be called for, and what became of the others."""

    items: list[Item]
    failures: list[tuple[int, StepFailedError]]
    skipped: int


def _pick(stage: Stage, how: Scatter, scope: JsonObject) -> _Picked:
    """Evaluate condition and input of every item; where that fails, that item has failed and no other."""
    found = _evaluate(how.items, scope, f"{stage.path}.scatter.input")
    if not isinstance(found, list) or len(found) > MAX_ITEMS:
        given = f"{len(found):,} items" if isinstance(found, list) else kind(found)
        problem = f"gives {given}, but a scatter takes a list of at most {MAX_ITEMS:,}"
        raise InvalidError([Problem(f"{stage.path}.scatter.input", problem)])
    items: list[Item] = []
    failures: list[tuple[int, StepFailedError]] = []
    scope = dict(scope)
    for index, item in enumerate(found):
        scope[how.item] = item
        try:
            if how.condition is None or how.condition.evaluate(scope):
                items.append((index, item if how.call.input is None else how.call.input.evaluate(scope)))
        except InvalidError as error:
            failures.append((index, StepFailedError(f"{stage.name}[{index}]", "InvalidError", str(error))))
    return _Picked(items, failures, len(found) - len(items) - len(failures))


def _name(call: Call) -> str:
    return call.route.default.name if call.route.default else ""


def _within(stage: Stage, work: Program) -> Program:
    if stage.timeout is None:
        return (yield from work)
    first, result = yield AnyOf((work, Sleep(stage.timeout)))
    if first == 1:
        raise TimedOutError(f"{stage.name}: not done within {stage.timeout:g} seconds")
    return result


def _evaluate(expression: Expression, scope: JsonObject, path: str) -> Json:
    try:
        return expression.evaluate(scope)
    except InvalidError as error:
        raise InvalidError([Problem(path + p.path[1:], p.message) for p in error.problems]) from None


def _described(error: LoomError) -> JsonObject:
    if isinstance(error, StepFailedError):
        return {"type": error.error_type, "message": error.message}
    return {"type": type(error).__name__, "message": str(error)}
