"""Whatever a graph looks like: it is refused, or every node of it has its place in a plan that runs."""

import contextlib
import copy
from itertools import islice, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from loom_core.errors import InvalidError, StepFailedError
from loom_core.notations import parse, pipeline_program
from loom_core.notations.diagram import mermaid
from loom_core.pipelines.plan import Loop, blocks
from loom_core.testing import Bench
from tests.notations.graphs import graph, node

NAMES = [f"n{number}" for number in range(8)]
PAIRS = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))


@st.composite
def nodes(draw, name):
    mode = draw(
        st.sampled_from(["sequential", "sequential", "conditional", "loop", "loop", "parallel", "event"])
    )
    function = draw(st.sampled_from([None, "echo", "no"]))
    some = st.lists(st.sampled_from(NAMES), max_size=2, unique=True)
    rounds = draw(st.sampled_from([1, 2, 3]))
    match mode:
        case "conditional":
            paths = {"true_path": draw(some), "false_path": draw(some)}
            return node(name, function, mode, condition="$.yes", **paths)
        case "loop":
            kind = draw(st.sampled_from(["for", "while", "infinite"]))
            ends = {"for": {"count": 2}, "while": {"condition": "$.yes"}, "infinite": {}}[kind]
            back = draw(st.sampled_from([None, None, *NAMES]))
            body = draw(st.none() | some)
            return node(
                name,
                function,
                mode,
                loop_type=kind,
                loop_back_to=back,
                body=body,
                max_iterations=rounds,
                **ends,
            )
        case "parallel":
            branches = draw(
                st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2), min_size=1, max_size=2)
            )
            return node(name, mode=mode, parallel_branches=branches)
        case "event":
            return node(name, mode=mode, event_type="timer", interval=1, max_iterations=rounds)
        case _:
            refers = draw(st.sampled_from([None, None, *NAMES]))
            return node(name, function, **({"input": f"$.stages.{refers}"} if refers else {}))


@st.composite
def wild(draw):
    """A graph that is most likely refused."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    pairs = draw(st.lists(PAIRS, min_size=1, max_size=9))
    known = [f"{a} {b}" for a, b in pairs if {a, b} <= set(names)]
    return graph([draw(nodes(name)) for name in names], known, input={"type": "object"})


@st.composite
def sound(draw):
    """A graph that can most likely run: a chain of nodes, some of which lead back, on or into branches."""
    count = draw(st.integers(2, len(NAMES)))
    ways = [f"{one} {other}" for one, other in pairwise(NAMES[:count])]
    written = []
    for index, name in enumerate(NAMES[:count]):
        before, after = NAMES[: index + 1], NAMES[index + 1 : count]
        function = draw(st.sampled_from([None, "echo", "no"]))
        match draw(st.sampled_from(["plain", "refers", "if", "tail", "head", "rounds", "parallel", "event"])):
            case "refers":
                written.append(
                    node(name, function, input=f"$.stages.{draw(st.sampled_from(before[:-1] or after))}")
                )
            case "if" if after:
                path = [draw(st.sampled_from(after[:3]))]
                branch = draw(st.sampled_from(["true_path", "false_path"]))
                written.append(node(name, function, "conditional", condition="$.yes", **{branch: path}))
            case "tail":
                back, times = draw(st.sampled_from(before[-3:])), draw(st.integers(1, 3))
                condition = f"$.loop.index < {times - 1}"
                written.append(node(name, function, "loop", condition=condition, loop_back_to=back))
            case "head":
                kind = draw(
                    st.sampled_from([{"condition": "$.loop.index < 2"}, {"loop_type": "for", "count": 2}])
                )
                written.append(node(name, function, "loop", **kind))
                ways.append(f"{draw(st.sampled_from([name, *after[:3]]))} {name}.{40 + index}")
            case "rounds":
                written.append(node(name, function, "loop", loop_type="for", items=[1, 2], body=after[:1]))
            case "parallel":
                branches = [f"{name}-a", f"{name}-b"]
                written += [node(branch, function) for branch in branches]
                written.append(
                    node(name, mode="parallel", parallel_branches=[[branch] for branch in branches])
                )
                ways.append(f"{name} {branches[0]}")
            case "event":
                rounds = draw(st.sampled_from([1, 1, 2]))
                written.append(
                    node(name, mode="event", event_type="timer", interval=1, max_iterations=rounds)
                )
            case _:
                written.append(node(name, function))
                if len(after) > 1 and draw(st.booleans()):
                    ways.append(f"{name} {draw(st.sampled_from(after[1:]))}.{10 + index}")
    return graph(draw(st.permutations(written)), ways, input={"type": "object"})


GRAPHS = st.one_of(sound(), sound(), sound(), wild())


def every_block(stages):
    yield stages
    for stage in stages:
        for inner in blocks(stage.work):
            yield from every_block(inner)


@settings(max_examples=400, deadline=None)
@given(GRAPHS)
def test_a_graph_is_refused_or_every_node_has_one_place_in_its_plan(document):
    try:
        plan = parse(document)
    except InvalidError:
        return

    names = [stage.name for stage in plan.every_stage()]
    assert len(names) == len(set(names))
    assert {written["nodeId"] for written in document["nodes"]} <= set(names)
    assert set(names) - {stage.name for stage in plan.every_stage() if stage.hidden} == {
        written["nodeId"] for written in document["nodes"]
    }
    for block in every_block(plan.stages):
        done = set()
        for stage in block:
            assert stage.after <= done, "a block is in an order in which it can run"
            assert {gate.stage for gate in stage.gates} <= stage.after
            done.add(stage.name)
    assert mermaid(plan).startswith("flowchart TD\n")


@settings(max_examples=150, deadline=None)
@given(GRAPHS, st.booleans(), st.integers(0, 9))
def test_what_is_not_refused_runs_to_its_end_and_again_from_its_history(document, yes, seed):
    try:
        plan = parse(document)
    except InvalidError:
        return
    bench = Bench({"echo": lambda taken: taken, "no": lambda _taken: False}, seed=seed)

    with contextlib.suppress(StepFailedError):
        bench.run(pipeline_program, {"run": "run-1", "definition": document, "input": {"yes": yes}})
        # A loop that goes through no round shows nothing, and there may be nothing else.
        shown = bench.published[-1]["stages"] if bench.published else {}
        ended = {"completed", "skipped"}
        assert {shown[stage.name]["status"] for stage in plan.stages if not stage.hidden} <= ended


WHOLE = graph(
    [
        node("start", "f", timeout=5, retryPolicy={"maxAttempts": 2}, outputs=["x", "y"]),
        node("check", mode="conditional", condition="$.x > 1", true_path=["both"], false_path=["small"]),
        node("small", "f", inputs=["one", "two"], input={"two": ["$.x"]}),
        node("both", mode="parallel", parallel_branches=[["a"], ["b"]]),
        node("a", "f"),
        node("b", actor={"type": "B", "weights": {"x": 1}}),
        node("work", "f"),
        node("again", "f", "loop", loop_type="while", loop_back_to="work", max_iterations=9),
        node("each", mode="loop", loop_type="for", items="$.list", body=["item"]),
        node("item", "f"),
        node("tick", mode="event", event_type="timer", interval=5, max_iterations=2),
        node("end"),
    ],
    ["start.x check", "start.y small", "check both", "both a", "work again", "again work.1", "start.x work",
     "each item", "item tick", "tick end", "small each"],
    output={"all": "$.stages['each-loop']"},
)  # fmt: skip
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 200)
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["work", "start", "nope", "", "$.stages.end", "$.stages.", "{{", "for", "loop", "\ud800", "x" * 200]
    )
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nodeId", "execution_mode", "items", "x"]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(document, way=()):
    """The way to every value of a document."""
    if way:
        yield way
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*way, key))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), JUNK, st.booleans()), min_size=1, max_size=3))
def test_whatever_is_changed_in_a_graph_nothing_worse_happens_than_a_refusal(changes):
    document = copy.deepcopy(WHOLE)
    for number, junk, takes_away in changes:
        every = list(places(document))
        *way, last = every[number % len(every)]
        target = document
        for key in way:
            target = target[key]
        if takes_away:
            del target[last]
        else:
            target[last] = junk

    with contextlib.suppress(InvalidError):
        assert parse(document).every_stage()


def test_the_graph_that_is_changed_can_run():
    assert len(list(parse(WHOLE).every_stage())) == 17


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_large_graphs_full_of_loops_are_judged_too(data):
    names = [f"n{number}" for number in range(100)]
    written = [node(name, mode="loop", loop_type="while", condition="$.x") for name in names]
    ends = st.sampled_from(names)
    pairs = data.draw(st.lists(st.tuples(ends, ends), min_size=100, max_size=1_000))
    document = graph(written, islice((f"{a} {b}" for a, b in pairs), 1_000))

    with contextlib.suppress(InvalidError):
        assert any(isinstance(stage.work, Loop) for stage in parse(document).every_stage())
