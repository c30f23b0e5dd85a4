"""The modes of a stage: what belongs to a scatter, what to a gather, and what they become in a plan."""

from loom_core.expressions.parse import Expression, member
from loom_core.notations import stages as definition
from loom_core.notations.checks import RESERVED, Checks, at, list_at
from loom_core.pipelines import plan
from loom_core.pipelines.plan import Call
from loom_core.wire.json import Json

DEFAULT_CONCURRENCY = 8
SOURCES = ("stage", "stages", "from")
SCATTER_ONLY = {
    "concurrency": "only a scatter runs several items at a time",
    "rateLimit": "only a scatter has calls to spread",
}


def check_mode(checks: Checks, draft: Json, path: str) -> None:
    """Refuse what another mode than the stage's needs, and miss what its own does."""
    mode = at(draft, "mode") or "single"
    for key in ("scatter", "gather"):
        if mode == key and at(draft, key) is None:
            checks.refuse(f"{path}.{key}", f"is required, for the mode is {key!r}")
        elif mode != key and at(draft, key) is not None:
            checks.refuse(f"{path}.{key}", f"needs the mode {key!r}, not {mode!r}")
    if mode != "scatter":
        for key, message in SCATTER_ONLY.items():
            if at(at(draft, "config"), key) is not None:
                checks.refuse(f"{path}.config.{key}", message)
        if at(draft, "executorConfig") is not None:
            checks.refuse(f"{path}.executorConfig", "only a scatter has items to execute")
    if mode != "single" and at(draft, "compensation") is not None:
        checks.refuse(f"{path}.compensation", "only a single stage is compensated")
    if at(draft, "onTimeout") is not None and at(at(draft, "config"), "timeout") is None:
        checks.refuse(f"{path}.onTimeout", "needs a config.timeout")


def read_scatter(
    checks: Checks, scatter: Json, path: str, waits: set[str]
) -> tuple[Expression | None, Expression | None]:
    """The items of a scatter and their condition."""
    items = checks.read(at(scatter, "input"), f"{path}.scatter.input", waits, bare=True)
    condition = checks.read(at(scatter, "condition"), f"{path}.scatter.condition", waits, bare=True)
    return items, condition


def scatter(
    checks: Checks,
    stage: definition.Stage,
    path: str,
    *,
    call: Call,
    items: Expression,
    condition: Expression | None,
) -> plan.Scatter:
    """Set the limits of a scatter and refuse batches that cannot be one call."""
    item = stage.scatter.item if stage.scatter else ""
    if item in RESERVED:
        checks.refuse(f"{path}.scatter.as", f"{item!r} is taken; choose another name")
    limits = [n for n in (stage.config.concurrency, stage.executor_config.max_parallel) if n is not None]
    concurrency = min(limits, default=DEFAULT_CONCURRENCY)
    rate = stage.config.rate
    if not limits and rate is None:
        message = f"no concurrency is set; {DEFAULT_CONCURRENCY} items run at a time"
        checks.warn(f"{path}.config.concurrency", message)
    batch_size = min(stage.executor_config.batch_size, concurrency)
    if batch_size < stage.executor_config.batch_size:
        message = f"no batch is larger than the concurrency, {concurrency}"
        checks.warn(f"{path}.executorConfig.batchSize", message)
    if stage.executor_config.batch_size > 1:
        _check_batch(checks, call, f"{path}.executorConfig.batchSize")
    return plan.Scatter(
        call=call,
        items=items,
        item=item,
        condition=condition,
        concurrency=concurrency,
        batch_size=batch_size,
        rate=rate,
    )


def _check_batch(checks: Checks, call: Call, path: str) -> None:
    route = call.route
    if route.expression or route.weights or route.fallback:
        checks.refuse(path, "a batch is one call, and here each item chooses its own")
    if any(target.kind != "activity" for target in route.names):
        checks.refuse(path, "only activities take several items in a call")


def read_gather(checks: Checks, gather: Json, path: str, waits: set[str]) -> None:
    """Note what a gather waits for, and refuse what contradicts itself."""
    if not isinstance(gather, dict):
        return
    path = f"{path}.gather"
    checks.wait(at(gather, "stage"), f"{path}.stage", waits)
    for index, name in enumerate(list_at(gather, "stages")):
        checks.wait(name, f"{path}.stages[{index}]", waits)
    named = at(gather, "from")
    for label, name in (named if isinstance(named, dict) else {}).items():
        checks.wait(name, member(f"{path}.from", label), waits)
    first, *others = [key for key in SOURCES if at(gather, key) is not None] or [""]
    if not first:
        checks.refuse(f"{path}.stage", f"is required, or one of {', '.join(SOURCES[1:])}")
    for other in others:
        checks.refuse(f"{path}.{other}", f"there is {first} already, and one of them says what is gathered")
    if at(gather, "strategy") is not None and at(gather, "combine") is not None:
        checks.refuse(f"{path}.combine", "is another word for strategy, which is here already")


def gather(
    checks: Checks, written: definition.Gather, call: Call | None, taken: Expression | None, path: str
) -> plan.Gather:
    """Set the order of what is gathered, and how it is combined."""
    names = written.stages or ([written.stage] if written.stage else [])
    sources = tuple(written.sources.items()) if written.sources else tuple((name, name) for name in names)
    strategy = written.strategy or written.combine or ("object" if written.sources else "concat")
    if strategy == "custom" and written.reducer is None and call is None:
        checks.refuse(f"{path}.gather.reducer", "is required, or an activity or actor that combines")
    if strategy != "custom" and written.reducer is not None:
        checks.refuse(f"{path}.gather.reducer", f"needs the strategy 'custom', not {strategy!r}")
    for index, name in enumerate(names):
        if name in names[:index]:
            checks.refuse(f"{path}.gather.stages[{index}]", f"{name!r} is gathered already")
    return plan.Gather(sources=sources, strategy=strategy, reducer=written.reducer, call=call, input=taken)
