"""A document with stages in, a `Plan` out, or one `InvalidError` that lists everything that is wrong with it.

Shape, modes, expressions, references and order are checked apart from each other and on the document as it
was written, so that a fault in one place hides none in another.
"""

from loom_core.errors import InvalidError
from loom_core.expressions.parse import Expression
from loom_core.notations import stages as definition
from loom_core.notations.checks import Checks, at, closed_fields, list_at, text_at
from loom_core.notations.routes import KINDS, read_call, read_compensation
from loom_core.notations.stages_modes import check_mode, gather, read_gather, read_scatter, scatter
from loom_core.pipelines.plan import Call, Compensation, Kind, Plan, Stage, Work
from loom_core.wire.json import Json, JsonObject, digest


def compile_stages(document: JsonObject) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    return _Compiler(document).plan()


class _Compiler:
    def __init__(self, document: JsonObject) -> None:
        self.document = document
        self.drafts = list_at(document, "stages")
        self.names = [text_at(draft, "name") for draft in self.drafts]
        self.waits: dict[str, set[str]] = {}
        items = [text_at(at(draft, "scatter"), "as") or "item" for draft in self.drafts]
        self.checks = Checks(self.names, fields=closed_fields(document.get("input"), items))

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
            label=pipeline.version,
            timeout=pipeline.timeout,
        )

    def _stage(self, index: int, draft: Json) -> Stage | None:
        path, waits = f"$.stages[{index}]", set[str]()
        written = self.checks.shape(definition.Stage, draft, path)
        check_mode(self.checks, draft, path)
        for place, name in enumerate(list_at(draft, "after")):
            self.checks.wait(name, f"{path}.after[{place}]", waits)
        call, taken = self._call(draft, path, waits)
        items, condition = read_scatter(self.checks, at(draft, "scatter"), path, waits)
        read_gather(self.checks, at(draft, "gather"), path, waits)
        undo = self._compensation(draft, path, waits)
        self.waits.setdefault(self.names[index], waits)
        if written is None:
            return None
        work: Work | None = call
        if written.gather is not None:
            work = gather(self.checks, written.gather, call, taken, path)
        elif written.scatter is not None:
            work = None
            if call and items:
                work = scatter(self.checks, written, path, call=call, items=items, condition=condition)
        return work and Stage(
            name=written.name,
            path=path,
            work=work,
            after=frozenset(waits),
            timeout=written.config.timeout,
            on_timeout=written.on_timeout,
            retry=written.config.retry_policy and written.config.retry_policy.policy,
            on_error=written.on_error,
            compensation=undo,
        )

    def _call(self, draft: Json, path: str, waits: set[str]) -> tuple[Call | None, Expression | None]:
        """The call of a stage and its input; a gather can have an input without a call."""
        named: list[Kind] = [kind for kind in KINDS if at(draft, kind) is not None]
        for other in named[1:]:
            self.checks.refuse(f"{path}.{other}", f"there is {named[0]} already, and one does the work")
        if named:
            call = read_call(self.checks, draft, path, waits, kind=named[0], strategy=at(draft, "strategy"))
            return call, call and call.input
        if at(draft, "mode") != "gather":
            self.checks.refuse(f"{path}.activity", f"is required, or one of {', '.join(KINDS[1:])}")
        for key in ("strategy", "actorId"):
            if at(draft, key) is not None:
                self.checks.refuse(f"{path}.{key}", "there is nothing here that it could be told to")
        return None, self.checks.read(at(draft, "input"), f"{path}.input", waits)

    def _compensation(self, draft: Json, path: str, waits: set[str]) -> Compensation | None:
        needs: set[str] = set()
        undo = read_compensation(self.checks, at(draft, "compensation"), f"{path}.compensation", needs)
        waits |= needs - {text_at(draft, "name")}
        return undo
