"""A plan as a picture: the text of a Mermaid flowchart, the same for the same plan.

Names come from strangers. Whatever is not a letter, a digit or harmless is written as a character reference,
so that no name can end its quotes, become Markdown, HTML or a directive, or add a line.
"""

from collections.abc import Iterator, Mapping

from loom_core.errors import InvalidError
from loom_core.expressions.parse import Expression
from loom_core.pipelines.plan import (
    Block,
    Call,
    Gather,
    Loop,
    Parallel,
    Plan,
    Route,
    Scatter,
    Stage,
    Target,
    Value,
    Wait,
)

MAX_LABEL = 80
_HARMLESS = frozenset(" .,:_-/@")


def mermaid(plan: Plan) -> str:
    """The flowchart of a plan: a shape by kind of work, loops and branches as subgraphs, edges by order.

    Rectangles are calls, subroutines scatters, trapezoids gathers, stadiums waits, rhombi decide. An edge is
    labelled with the branch it belongs to; one that only orders, beside others that decide, is dotted.
    """
    ids = {stage.name: f"s{number}" for number, stage in enumerate(plan.every_stage())}
    lines = ["flowchart TD", *_block(plan.stages, ids, "  ")]
    lines.extend(f"  {edge}" for stage in plan.every_stage() for edge in _edges(stage, ids))
    return "\n".join(lines) + "\n"


def _block(block: Block, ids: Mapping[str, str], indent: str) -> Iterator[str]:
    for stage in block:
        match stage.work:
            case Loop(body=body):
                yield f"{indent}subgraph {ids[stage.name]}[{_label(stage)}]"
                yield from _block(body, ids, f"{indent}  ")
                yield f"{indent}end"
            case Parallel(branches=branches):
                yield f"{indent}subgraph {ids[stage.name]}[{_label(stage)}]"
                for number, branch in enumerate(branches, 1):
                    yield f'{indent}  subgraph {ids[stage.name]}b{number}["branch {number}"]'
                    yield from _block(branch, ids, f"{indent}    ")
                    yield f"{indent}  end"
                yield f"{indent}end"
            case _:
                left, right = _shape(stage)
                yield f"{indent}{ids[stage.name]}{left}{_label(stage)}{right}"


def _edges(stage: Stage, ids: Mapping[str, str]) -> Iterator[str]:
    for gate in stage.gates:
        label = f"|{_quoted(gate.branch)}|" if gate.branch else ""
        yield f"{ids[gate.stage]} -->{label} {ids[stage.name]}"
    arrow = "-.->" if stage.gates else "-->"
    for name in sorted(
        stage.after - {gate.stage for gate in stage.gates}, key=lambda name: int(ids[name][1:])
    ):
        yield f"{ids[name]} {arrow} {ids[stage.name]}"


def _shape(stage: Stage) -> tuple[str, str]:
    if stage.branching:
        return "{", "}"
    match stage.work:
        case Scatter():
            return "[[", "]]"
        case Gather():
            return "[\\", "/]"
        case Wait():
            return "([", "])"
        case Value():
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
        case Call(route=route):
            yield _route(route)
        case Scatter(call=call):
            yield _route(call.route)
            yield _pace(stage.work)
        case Gather(call=call):
            yield stage.work.reducer or stage.work.strategy
            if call is not None:
                yield _route(call.route)
        case Wait():
            yield _wait(stage.work)
        case Loop():
            yield _loop(stage.work)
        case Parallel():
            yield "parallel"
        case Value():
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


def _target(target: Target) -> str:
    return f"{target.kind} {target.name} {target.strategy}".rstrip()


def _pace(work: Scatter) -> str:
    words = [f"{work.concurrency:,} at a time"]
    if work.batch_size > 1:
        words.append(f"batches of {work.batch_size}")
    if work.rate is not None:
        words.append(f"{work.rate:g} a second")
    return ", ".join(words)


def _wait(work: Wait) -> str:
    if work.watch is not None:
        return f"files in {work.watch}"
    if work.event is not None:
        return f"event {_fixed(work.event)}".rstrip()
    return f"{_fixed(work.seconds)} seconds".lstrip()


def _loop(work: Loop) -> str:
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
