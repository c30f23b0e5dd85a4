"""A definition in, a `Plan` out, or one `InvalidError` that lists everything that is wrong with it.

Shape, modes, expressions, references and order are checked apart from each other and on the document as it
was written, so that a fault in one place hides none in another.
"""

from loom_core.errors import InvalidError
from loom_core.notations import stages as definition
from loom_core.notations.checks import RESERVED, Checks, at
from loom_core.pipelines.plan import Call, Gather, Plan, Route, Scatter, Stage, Target
from loom_core.wire.expressions import Expression
from loom_core.wire.json import Json, JsonObject, digest

DEFAULT_CONCURRENCY = 8


def compile_stages(document: JsonObject) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    return _Compiler(document).plan()


class _Compiler:
    def __init__(self, document: JsonObject) -> None:
        self.document = document
        stages = document.get("stages")
        self.drafts: list[Json] = stages if isinstance(stages, list) else []
        self.names = [name if isinstance(name := at(draft, "name"), str) else "" for draft in self.drafts]
        self.waits: dict[str, set[str]] = {}
        self.checks = Checks(self.names)

    def plan(self) -> Plan:
        pipeline = self.checks.shape(definition.Pipeline, self.document, "$")
        stages = [self._stage(index, draft) for index, draft in enumerate(self.drafts)]
        output = self.checks.read(self.document.get("output"), "$.output", set())
        paths = [f"$.stages[{index}]" for index in range(len(self.drafts))]
        self.checks.refuse_doubles(self.names, paths)
        self.checks.refuse_circles(self.waits, dict(zip(self.names, paths, strict=True)))
        if self.checks.problems or pipeline is None:
            raise InvalidError(self.checks.problems)
        return Plan(
            name=pipeline.name,
            version=digest(self.document),
            description=pipeline.description,
            input_schema=pipeline.input,
            stages=tuple(stage for stage in stages if stage is not None),
            output=output,
            warnings=tuple(self.checks.warnings),
        )

    def _stage(self, index: int, draft: Json) -> Stage | None:
        path = f"$.stages[{index}]"
        written = self.checks.shape(definition.Stage, draft, path)
        self._check_mode(draft, path)
        waits: set[str] = set()
        taken = self.checks.read(at(draft, "input"), f"{path}.input", waits)
        scatter = at(draft, "scatter")
        items = self.checks.read(at(scatter, "input"), f"{path}.scatter.input", waits, bare=True)
        condition = self.checks.read(at(scatter, "condition"), f"{path}.scatter.condition", waits, bare=True)
        self.checks.wait(at(at(draft, "gather"), "stage"), f"{path}.gather.stage", waits)
        after = at(draft, "after")
        for place, name in enumerate(after if isinstance(after, list) else []):
            self.checks.wait(name, f"{path}.after[{place}]", waits)
        self.waits.setdefault(self.names[index], waits)
        if written is None:
            return None
        call = written.activity and Call(
            route=Route(default=Target("activity", written.activity)),
            input=taken,
        )
        work = (
            self._scatter(written, call or None, items, condition, path)
            or (written.gather and self._gather(written.gather, call or None, taken))
            or call
        )
        if not work:
            return None
        return Stage(
            name=written.name,
            path=path,
            work=work,
            after=frozenset(waits),
            timeout=written.config.timeout,
            retry=written.config.retry_policy and written.config.retry_policy.policy,
            on_error=written.on_error,
        )

    @staticmethod
    def _gather(written: definition.Gather, call: Call | None, taken: Expression | None) -> Gather:
        sources = ((written.stage, written.stage),)
        return Gather(sources=sources, strategy=written.strategy, call=call, input=taken)

    def _scatter(
        self,
        stage: definition.Stage,
        call: Call | None,
        items: Expression | None,
        condition: Expression | None,
        path: str,
    ) -> Scatter | None:
        if stage.scatter is None or items is None or call is None:
            return None
        if stage.scatter.item in RESERVED:
            self.checks.refuse(f"{path}.scatter.as", f"{stage.scatter.item!r} is taken; choose another name")
        limits = [n for n in (stage.config.concurrency, stage.executor_config.max_parallel) if n is not None]
        concurrency = min(limits, default=DEFAULT_CONCURRENCY)
        if not limits:
            message = f"no concurrency is set; {DEFAULT_CONCURRENCY} items run at a time"
            self.checks.warn(f"{path}.config.concurrency", message)
        batch_size = min(stage.executor_config.batch_size, concurrency)
        if batch_size < stage.executor_config.batch_size:
            message = f"no batch is larger than the concurrency, {concurrency}"
            self.checks.warn(f"{path}.executorConfig.batchSize", message)
        return Scatter(
            call=call,
            items=items,
            item=stage.scatter.item,
            condition=condition,
            concurrency=concurrency,
            batch_size=batch_size,
        )

    def _check_mode(self, draft: Json, path: str) -> None:
        mode = at(draft, "mode") or "single"
        if at(draft, "actor") is not None:
            self.checks.refuse(f"{path}.actor", "actors are not available yet; name an activity")
        elif at(draft, "activity") is None and mode != "gather":
            self.checks.refuse(f"{path}.activity", "is required")
        for key in ("scatter", "gather"):
            if mode == key and at(draft, key) is None:
                self.checks.refuse(f"{path}.{key}", f"is required, for the mode is {key!r}")
            elif mode != key and at(draft, key) is not None:
                self.checks.refuse(f"{path}.{key}", f"needs the mode {key!r}, not {mode!r}")
        if mode != "scatter":
            if at(at(draft, "config"), "concurrency") is not None:
                self.checks.refuse(
                    f"{path}.config.concurrency", "only a scatter runs several items at a time"
                )
            if at(draft, "executorConfig") is not None:
                self.checks.refuse(f"{path}.executorConfig", "only a scatter has items to execute")
