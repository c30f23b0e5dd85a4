"""A plan as a picture: the text of a Mermaid flowchart, the same for the same plan.

Names come from strangers. Whatever is not a letter, a digit or harmless is written as a character reference,
so that no name can end its quotes, become Markdown, HTML or a directive, or add a line.
"""

from collections.abc import Iterator, Mapping

from loom_core.errors import InvalidError
from loom_core.expressions.parse import Expression
from loom_core.pipelines import plan
from loom_core.pipelines.plan import Plan, Route, Stage

MAX_LABEL = 80
_HARMLESS = frozenset(" .,:_-/@")


def mermaid(pipeline: Plan) -> str:
    """The flowchart of a plan: a shape by kind of work, loops and branches as subgraphs, edges by order.

    Rectangles are calls, subroutines scatters, trapezoids gathers, stadiums waits, rhombi decide. An edge is
    labelled with the branch it belongs to; one that only orders, beside others that decide, is dotted. What
    follows a stage of its own way is led to from there, and not from where that way begins.
    """
    stages = {stage.name: stage for stage in pipeline.every_stage()}
    ids = {name: f"s{number}" for number, name in enumerate(stages)}
    lines = ["flowchart TD", *_block(pipeline.stages, ids, "  ")]
    for name, stage in stages.items():
        before = [other for other in ids if other in stage.after - {gate.stage for gate in stage.gates}]
        follows = any(stages[other].gates == stage.gates for other in before)
        for gate in () if follows else stage.gates:
            label = f"|{_quoted(gate.branch)}|" if gate.branch else ""
            lines.append(f"  {ids[gate.stage]} -->{label} {ids[name]}")
        arrow = "-->" if follows or not stage.gates else "-.->"
        lines.extend(f"  {ids[other]} {arrow} {ids[name]}" for other in before)
    return "\n".join(lines) + "\n"


def _block(block: plan.Block, ids: Mapping[str, str], indent: str) -> Iterator[str]:
    for stage in block:
        number, inner = ids[stage.name], plan.blocks(stage.work)
        if not inner:
            left, right = _shape(stage)
            yield f"{indent}{number}{left}{_label(stage)}{right}"
            continue
        yield f"{indent}subgraph {number}[{_label(stage)}]"
        if isinstance(stage.work, plan.Loop):
            yield from _block(stage.work.body, ids, f"{indent}  ")
        else:
            for place, branch in enumerate(inner, 1):
                yield f'{indent}  subgraph {number}b{place}["branch {place}"]'
                yield from _block(branch, ids, f"{indent}    ")
                yield f"{indent}  end"
        yield f"{indent}end"


def _shape(stage: Stage) -> tuple[str, str]:
    if stage.branching:
        return "{", "}"
    match stage.work:
        case plan.Scatter():
            return "[[", "]]"
        case plan.Gather():
            return "[\\", "/]"
        case plan.Wait():
            return "([", "])"
        case plan.Value():
            return "(", ")"
        case _:
            return "[", "]"


def _label(stage: Stage) -> str:
    lines = [stage.name, *_work(stage)]
    if stage.compensation is not None:
        lines.append(f"undone by {_route(stage.compensation.route)}")
    return _quoted(*lines)


def _work(stage: Stage) -> Iterator[str]:
    match stage.work:
        case plan.Call(route=route):
            yield _route(route)
        case plan.Scatter() as work:
            yield _route(work.call.route)
            batches = f", batches of {work.batch_size}" if work.batch_size > 1 else ""
            rate = f", {work.rate:g} a second" if work.rate is not None else ""
            yield f"{work.concurrency:,} at a time{batches}{rate}"
        case plan.Gather() as work:
            yield work.reducer or work.strategy
            if work.call is not None:
                yield _route(work.call.route)
        case plan.Wait() as work:
            yield _wait(work)
        case plan.Loop() as work:
            yield _loop(work)
        case plan.Parallel():
            yield "parallel"
        case plan.Value():
            return


def _route(route: Route) -> str:
    """`activity a`; the ways of a choice with what chooses between them."""
    if route.weights:
        whole = sum(weight for _, weight in route.weights)
        return " or ".join(f"{_way(route, label)} {weight / whole:.0%}" for label, weight in route.weights)
    if route.fallback:
        return ", else ".join(_way(route, label) for label in route.fallback)
    ways = [f"{label}: {_target(target)}" for label, target in sorted(route.targets.items())]
    default = [_target(route.default)] if route.default else []
    return " or ".join([*default, *ways])


def _way(route: Route, label: str) -> str:
    if label in route.targets:
        return _target(route.targets[label])
    return f"{_target(route.default)} {label}" if route.default else label


def _target(target: plan.Target) -> str:
    return f"{target.kind} {target.name} {target.strategy}".rstrip()


def _wait(work: plan.Wait) -> str:
    if work.watch is not None:
        return f"files in {work.watch}"
    if work.event is not None:
        return f"event {_fixed(work.event)}".rstrip()
    return f"{_fixed(work.seconds)} seconds".lstrip()


def _loop(work: plan.Loop) -> str:
    if work.items is not None:
        kind = f"for each {work.item}"
    elif work.condition is not None:
        kind = "while"
    else:
        kind = "until stopped" if work.again is None else "again while"
    return kind if work.limit is None else f"{kind}, {work.limit:,} rounds at most"


def _fixed(expression: Expression | None) -> str:
    """The value of an expression that reads nothing; what depends on the run has none yet."""
    if expression is None or expression.references:
        return ""
    try:
        return str(expression.evaluate({}))
    except InvalidError:
        return ""


def _quoted(*lines: str) -> str:
    return f'"{"<br/>".join(map(_escaped, lines))}"'


def _escaped(text: str) -> str:
    short = text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"
    plain = "".join(character if character.isprintable() else " " for character in short)
    return "".join(c if c.isalnum() or c in _HARMLESS else f"#{ord(c)};" for c in plain)
