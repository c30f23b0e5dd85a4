"""A definition in, a `Plan` out, or one `InvalidError` that lists everything that is wrong with it.

Shape, modes, expressions, references and order are checked apart from each other and on the document as it
was written, so that a fault in one place hides none in another.
"""

import json
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loom_core.errors import InvalidError, Problem
from loom_core.notations import stages as definition
from loom_core.pipelines.plan import Gather, Plan, Scatter, Stage
from loom_core.resilience.retry import RetryPolicy
from loom_core.wire.expressions import Expression, Reference, member, parse, parse_value
from loom_core.wire.json import Json, JsonObject, digest, dump

DEFAULT_CONCURRENCY = 8
RESERVED = frozenset({"input", "run", "stages"})


def compile_definition(document: Json) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    try:
        text = dump(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"a definition is a JSON document: {error}") from None
    return _compile(text)


# A run carries its definition, and every replay of it compiles it again: the cache makes that a lookup.
@lru_cache(maxsize=256)
def _compile(text: str) -> Plan:
    document: Json = json.loads(text)
    if not isinstance(document, dict):
        raise InvalidError("a pipeline is an object")
    return _Compiler(document).plan()


class _Compiler:
    def __init__(self, document: JsonObject) -> None:
        self.document = document
        stages = document.get("stages")
        self.drafts: list[Json] = stages if isinstance(stages, list) else []
        self.names = [name if isinstance(name := _field(draft, "name"), str) else "" for draft in self.drafts]
        self.waits: dict[str, set[str]] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def plan(self) -> Plan:
        pipeline = self._shape(definition.Pipeline, self.document, "$")
        stages = [self._stage(index, draft) for index, draft in enumerate(self.drafts)]
        output = self._read(self.document.get("output"), "$.output", set())
        self._refuse_doubles()
        self._refuse_cycles()
        if self.problems or pipeline is None:
            raise InvalidError(self.problems)
        return Plan(
            name=pipeline.name,
            version=digest(self.document),
            description=pipeline.description,
            input_schema=pipeline.input,
            stages=tuple(stage for stage in stages if stage is not None),
            output=output,
            warnings=tuple(self.warnings),
        )

    def _stage(self, index: int, draft: Json) -> Stage | None:
        path = f"$.stages[{index}]"
        written = self._shape(definition.Stage, draft, path)
        self._check_mode(draft, path)
        waits: set[str] = set()
        taken = self._read(_field(draft, "input"), f"{path}.input", waits)
        scatter = _field(draft, "scatter")
        items = self._read(_field(scatter, "input"), f"{path}.scatter.input", waits, bare=True)
        condition = self._read(_field(scatter, "condition"), f"{path}.scatter.condition", waits, bare=True)
        self._wait(_field(_field(draft, "gather"), "stage"), f"{path}.gather.stage", waits)
        after = _field(draft, "after")
        for place, name in enumerate(after if isinstance(after, list) else []):
            self._wait(name, f"{path}.after[{place}]", waits)
        self.waits.setdefault(self.names[index], waits)
        if written is None:
            return None
        return Stage(
            name=written.name,
            path=path,
            activity=written.activity,
            input=taken,
            scatter=self._scatter(written, items, condition, path),
            gather=written.gather and Gather(stage=written.gather.stage, strategy=written.gather.strategy),
            after=frozenset(waits),
            timeout=written.config.timeout,
            retry=written.config.retry_policy and _retry(written.config.retry_policy),
            on_error=written.on_error,
        )

    def _scatter(
        self, stage: definition.Stage, items: Expression | None, condition: Expression | None, path: str
    ) -> Scatter | None:
        if stage.scatter is None or items is None:
            return None
        if stage.scatter.item in RESERVED:
            self._refuse(f"{path}.scatter.as", f"{stage.scatter.item!r} is taken; choose another name")
        limits = [n for n in (stage.config.concurrency, stage.executor_config.max_parallel) if n is not None]
        concurrency = min(limits, default=DEFAULT_CONCURRENCY)
        if not limits:
            message = f"no concurrency is set; {DEFAULT_CONCURRENCY} items run at a time"
            self.warnings.append(Problem(f"{path}.config.concurrency", message))
        batch_size = min(stage.executor_config.batch_size, concurrency)
        if batch_size < stage.executor_config.batch_size:
            message = f"no batch is larger than the concurrency, {concurrency}"
            self.warnings.append(Problem(f"{path}.executorConfig.batchSize", message))
        return Scatter(
            items=items,
            item=stage.scatter.item,
            condition=condition,
            concurrency=concurrency,
            batch_size=batch_size,
        )

    def _check_mode(self, draft: Json, path: str) -> None:
        mode = _field(draft, "mode") or "single"
        if _field(draft, "actor") is not None:
            self._refuse(f"{path}.actor", "actors are not available yet; name an activity")
        elif _field(draft, "activity") is None and mode != "gather":
            self._refuse(f"{path}.activity", "is required")
        for key in ("scatter", "gather"):
            if mode == key and _field(draft, key) is None:
                self._refuse(f"{path}.{key}", f"is required, for the mode is {key!r}")
            elif mode != key and _field(draft, key) is not None:
                self._refuse(f"{path}.{key}", f"needs the mode {key!r}, not {mode!r}")
        if mode != "scatter":
            if _field(_field(draft, "config"), "concurrency") is not None:
                self._refuse(f"{path}.config.concurrency", "only a scatter runs several items at a time")
            if _field(draft, "executorConfig") is not None:
                self._refuse(f"{path}.executorConfig", "only a scatter has items to execute")

    def _read(self, value: Json, path: str, waits: set[str], *, bare: bool = False) -> Expression | None:
        """Parse what stands at the path and note which stages it waits for; `bare` text is an expression."""
        if value is None:
            return None
        try:
            expression = parse(value) if bare and isinstance(value, str) else parse_value(value)
        except InvalidError as error:
            self.problems.extend(Problem(path + found.path[1:], found.message) for found in error.problems)
            return None
        for reference in sorted(expression.references, key=repr):
            self._refer(reference, path, waits)
        return expression

    def _refer(self, reference: Reference, path: str, waits: set[str]) -> None:
        match reference:
            case ("stages", str(name), *_):
                self._wait(name, path, waits)
            case ("stages", *_):
                self._refuse(path, "$.stages must go on with the name of a stage")
            case () | (None, *_):
                self._refuse(path, "$ must go on with a name; the whole input is $.input")
            case ("run", key, *_) if key != "id":
                self._refuse(path, "a run has an id and nothing else")
            case _:
                return

    def _wait(self, name: Json, path: str, waits: set[str]) -> None:
        if not isinstance(name, str):
            return
        if name in self.names:
            waits.add(name)
            return
        longer = next((other for other in self.names if other.startswith(f"{name}-")), None)
        hint = f"; a name with a dash is written $.stages['{longer}']" if longer else ""
        self._refuse(path, f"there is no stage {name!r}{hint}")

    def _refuse_doubles(self) -> None:
        for index, name in enumerate(self.names):
            first = self.names.index(name)
            if name and first < index:
                self._refuse(f"$.stages[{index}].name", f"{name!r} is the name of $.stages[{first}] already")

    def _refuse_cycles(self) -> None:
        while True:
            try:
                TopologicalSorter({name: sorted(waits) for name, waits in self.waits.items()}).prepare()
            except CycleError as error:
                circle: list[str] = error.args[1][::-1]
                path = f"$.stages[{self.names.index(circle[0])}]"
                self._refuse(path, f"waits for itself: {' -> '.join(circle)}")
                self.waits[circle[0]].discard(circle[1])
            else:
                return

    def _shape[Model: BaseModel](self, model: type[Model], document: Json, path: str) -> Model | None:
        try:
            return model.model_validate(document)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self._refuse(path + _place(document, detail), _message(detail))
            return None

    def _refuse(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def _field(value: Json, key: str) -> Json:
    return value.get(key) if isinstance(value, dict) else None


def _place(document: Json, detail: ErrorDetails) -> str:
    """The path of a validation error within the document, without the union members that pydantic puts in."""
    path, here = "", document
    for key in detail["loc"]:
        if isinstance(here, list) and isinstance(key, int):
            path, here = f"{path}[{key}]", here[key]
        elif isinstance(here, dict) and (key in here or detail["type"] == "missing"):
            path, here = member(path, str(key)), here.get(str(key))
    return path


def _message(detail: ErrorDetails) -> str:
    known = {"missing": "is required", "extra_forbidden": "is not a known key"}
    return known.get(detail["type"]) or detail["msg"].removeprefix("Input ")


def _retry(written: definition.Retry) -> RetryPolicy:
    """Waits in a list are meant as they are; a single wait doubles, up to a minute."""
    listed = isinstance(written.backoff_ms, list)
    waits = tuple(written.backoff_ms) if isinstance(written.backoff_ms, list) else (written.backoff_ms,)
    growth, longest = (1.0, max(waits)) if listed else (2.0, 60_000.0)
    return RetryPolicy(
        max_attempts=written.max_attempts,
        backoff_ms=waits,
        multiplier=written.backoff_multiplier or growth,
        max_backoff_ms=longest if written.max_backoff_ms is None else written.max_backoff_ms,
        jitter=written.jitter,
    )
