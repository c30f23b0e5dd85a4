"""A document with stages in, a `Plan` out, or one `InvalidError` that lists everything that is wrong with it.

Shape, modes, expressions, references and order are checked apart from each other and on the document as it
was written, so that a fault in one place hides none in another.
"""

from loom_core.expressions.parse import Expression, member
from loom_core.notations import stages as definition
from loom_core.notations.checks import RESERVED, Checks, at, closed_fields, list_at, text_at
from loom_core.notations.routes import KINDS, read_call, read_compensation
from loom_core.pipelines.plan import Call, Gather, Plan, Scatter, Stage, Work
from loom_core.wire.json import Json, JsonObject

DEFAULT_CONCURRENCY = 8
SOURCES = ("stage", "stages", "from")


def compile_stages(document: JsonObject) -> Plan:
    """Check a definition and compile it. Raises InvalidError with all its problems, each at its JSONPath."""
    drafts = list_at(document, "stages")
    items = [text_at(at(draft, "scatter"), "as") or "item" for draft in drafts]
    names = {f"$.stages[{index}]": text_at(draft, "name") for index, draft in enumerate(drafts)}
    checks = Checks(set(names.values()), fields=closed_fields(document.get("input"), items))
    pipeline = checks.shape(definition.Pipeline, document, "$")
    waits: dict[str, set[str]] = {}
    stages = [_stage(checks, draft, path, waits) for draft, path in zip(drafts, names, strict=True)]
    output = checks.read(document, "$", "output")
    checks.refuse_doubles(names, "name")
    checks.refuse_circles(waits, {name: path for path, name in reversed(names.items())})
    block = tuple(stage for stage in stages if stage is not None)
    return checks.passed(pipeline).plan(document, block, output, warnings=checks.warnings, notation="stages")


def _stage(checks: Checks, draft: Json, path: str, order: dict[str, set[str]]) -> Stage | None:
    waits: set[str] = set()
    order.setdefault(text_at(draft, "name"), waits)
    written = checks.shape(definition.Stage, draft, path)
    mode = at(draft, "mode") or "single"
    _check_mode(checks, draft, path, mode)
    for place, name in enumerate(list_at(draft, "after")):
        checks.wait(name, f"{path}.after[{place}]", waits)
    call = _call(checks, draft, path, waits, required=mode != "gather")
    taken = checks.read(draft, path, "input", waits)
    items = checks.read(at(draft, "scatter"), f"{path}.scatter", "input", waits, bare=True)
    condition = checks.read(at(draft, "scatter"), f"{path}.scatter", "condition", waits, bare=True)
    _read_gather(checks, at(draft, "gather"), f"{path}.gather", waits)
    needs: set[str] = set()
    undo = read_compensation(checks, draft, path, needs)
    waits |= needs - {text_at(draft, "name")}
    if written is None:
        return None
    work: Work | None = call
    if written.gather is not None:
        work = _gather(checks, written.gather, call, taken, f"{path}.gather")
    elif written.scatter is not None:
        work = call and items and _scatter(checks, written, path, call=call, items=items, condition=condition)
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


def _check_mode(checks: Checks, draft: Json, path: str, mode: Json) -> None:
    """Refuse what another mode than the stage's needs, and miss what its own does."""
    for key in ("scatter", "gather"):
        if mode != key:
            checks.forbid(draft, path, [key], f"needs the mode {key!r}, not {mode!r}")
        elif at(draft, key) is None:
            checks.refuse(f"{path}.{key}", f"is required, for the mode is {key!r}")
    if mode != "scatter":
        limits, place = at(draft, "config"), f"{path}.config"
        checks.forbid(limits, place, ["concurrency"], "only a scatter runs several items at a time")
        checks.forbid(limits, place, ["rateLimit"], "only a scatter has calls to spread")
        checks.forbid(draft, path, ["executorConfig"], "only a scatter has items to execute")
    if mode != "single":
        checks.forbid(draft, path, ["compensation"], "only a single stage is compensated")
    if at(at(draft, "config"), "timeout") is None:
        checks.forbid(draft, path, ["onTimeout"], "needs a config.timeout")


def _call(checks: Checks, draft: Json, path: str, waits: set[str], *, required: bool) -> Call | None:
    missing = f"is required, or one of {', '.join([*KINDS][1:])}" if required else ""
    double = "there is {} already, and one does the work"
    if not checks.one_of(draft, path, [*KINDS], missing=missing, double=double):
        checks.forbid(draft, path, ("strategy", "actorId"), "there is nothing here that it could be told to")
        return None
    return read_call(checks, draft, path, waits, strategy=at(draft, "strategy"))


def _scatter(
    checks: Checks,
    stage: definition.Stage,
    path: str,
    *,
    call: Call,
    items: Expression,
    condition: Expression | None,
) -> Scatter:
    """Set the limits of a scatter and refuse batches that cannot be one call."""
    item = stage.scatter.item if stage.scatter else ""
    if item in RESERVED:
        checks.refuse(f"{path}.scatter.as", f"{item!r} is taken; choose another name")
    config, wanted = stage.config, stage.executor_config.batch_size
    limits = [n for n in (config.concurrency, stage.executor_config.max_parallel) if n is not None]
    concurrency = min(limits, default=DEFAULT_CONCURRENCY)
    if not limits and config.rate is None:
        message = f"no concurrency is set; {DEFAULT_CONCURRENCY} items run at a time"
        checks.warn(f"{path}.config.concurrency", message)
    place = f"{path}.executorConfig.batchSize"
    if wanted > concurrency:
        checks.warn(place, f"no batch is larger than the concurrency, {concurrency}")
    if wanted > 1:
        if call.route.expression or call.route.weights or call.route.fallback:
            checks.refuse(place, "a batch is one call, and here each item chooses its own")
        if any(target.kind != "activity" for target in call.route.names):
            checks.refuse(place, "only activities take several items in a call")
    return Scatter(
        call=call,
        items=items,
        item=item,
        condition=condition,
        concurrency=concurrency,
        batch_size=min(wanted, concurrency),
        rate=config.rate,
    )


def _read_gather(checks: Checks, gather: Json, path: str, waits: set[str]) -> None:
    """Note what a gather waits for, and refuse what contradicts itself."""
    if not isinstance(gather, dict):
        return
    checks.wait(at(gather, "stage"), f"{path}.stage", waits)
    for index, name in enumerate(list_at(gather, "stages")):
        checks.wait(name, f"{path}.stages[{index}]", waits)
    named = at(gather, "from")
    for label, name in (named if isinstance(named, dict) else {}).items():
        checks.wait(name, member(f"{path}.from", label), waits)
    missing = f"is required, or one of {', '.join(SOURCES[1:])}"
    double = "there is {} already, and one of them says what is gathered"
    checks.one_of(gather, path, SOURCES, missing=missing, double=double)
    double = "is another word for {}, which is here already"
    checks.one_of(gather, path, ("strategy", "combine"), double=double)


def _gather(
    checks: Checks, written: definition.Gather, call: Call | None, taken: Expression | None, path: str
) -> Gather:
    """Set the order of what is gathered, and how it is combined."""
    names = written.stages or ([written.stage] if written.stage else [])
    sources = tuple(written.sources.items()) if written.sources else tuple((name, name) for name in names)
    strategy = written.strategy or written.combine or ("object" if written.sources else "concat")
    if strategy == "custom" and written.reducer is None and call is None:
        checks.refuse(f"{path}.reducer", "is required, or an activity or actor that combines")
    if strategy != "custom" and written.reducer is not None:
        checks.refuse(f"{path}.reducer", f"needs the strategy 'custom', not {strategy!r}")
    for index, name in enumerate(names):
        if name in names[:index]:
            checks.refuse(f"{path}.stages[{index}]", f"{name!r} is gathered already")
    return Gather(sources=sources, strategy=strategy, reducer=written.reducer, call=call, input=taken)
