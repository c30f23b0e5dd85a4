import pytest

from loom_core.catalogue.names import targets
from loom_core.errors import InvalidError
from loom_core.notations import parse
from loom_core.pipelines.plan import Call, Gate, Loop, Parallel, Target, Value, Wait
from tests.notations.graphs import graph, node


def problems(document):
    with pytest.raises(InvalidError) as caught:
        parse(document)
    return {(problem.path, problem.message) for problem in caught.value.problems}


def refusal(document):
    """The one problem of a document."""
    [found] = problems(document)
    return found


def shape(block):
    """The stages of a block by name, those of the blocks within nested in lists."""
    return [
        (stage.name, shape(stage.work.body))
        if isinstance(stage.work, Loop)
        else (stage.name, *map(shape, stage.work.branches))
        if isinstance(stage.work, Parallel)
        else stage.name
        for stage in block
    ]


def stages(document):
    return {stage.name: stage for stage in parse(document).every_stage()}


def loop(name, kind="while", **more):
    return node(name, more.pop("function", None), "loop", loop_type=kind, **more)


def timer(name, **more):
    return node(name, mode="event", event_type="timer", interval=5, **more)


# what a graph becomes


def test_a_graph_becomes_a_plan():
    plan = parse(
        graph(
            [
                node("load", "load@2", timeout=30, retryPolicy={"maxAttempts": 2}, onError="skip"),
                node("judge", actor="Judge"),
                node("end"),
            ],
            ["load judge", "judge end"],
            version="7",
            description="Judge what is loaded.",
            input={"type": "object"},
            timeout=60,
            output="$.stages.end",
        )
    )
    load, judge, end = plan.stages

    assert (plan.name, plan.label, plan.notation, plan.timeout) == ("graph", "7", "graph", 60)
    assert targets(plan) == {
        Target("activity", "load@2"): "$.nodes[0]",
        Target("actor", "Judge"): "$.nodes[1]",
    }
    assert (load.timeout, load.retry.max_attempts, load.on_error) == (30, 2, "skip")
    assert [sorted(stage.after) for stage in plan.stages] == [[], ["load"], ["judge"]]
    assert [type(stage.work) for stage in (load, judge, end)] == [Call, Call, Value]
    assert not any(stage.gates for stage in plan.stages)


def test_paths_gate_their_nodes_and_what_only_these_lead_to():
    found = stages(
        graph(
            [
                node("check", mode="conditional", condition="$.size > 2", true_path=["a"], false_path=["b"]),
                node("a", "work"),
                node("b", "work"),
                node("after"),
                node("either", input="$.stages.a ?? $.stages.b"),
                node("beside"),
            ],
            ["check a", "check b", "a after", "a either", "b either", "check beside"],
        )
    )

    assert {name: stage.gates for name, stage in found.items()} == {
        "check": (),
        "check-if": (),
        "a": (Gate("check-if", "true"),),
        "b": (Gate("check-if", "false"),),
        "after": (Gate("a"),),
        "either": (Gate("a"), Gate("b")),
        "beside": (),
    }
    assert found["check-if"].branching
    assert found["check-if"].hidden


def test_the_result_of_a_function_decides():
    found = stages(graph([node("check", "is_large", "conditional", true_path=["a"]), node("a")]))

    assert list(found) == ["check", "a"]
    assert found["check"].branching


def test_a_condition_function_decides_beside_what_the_node_passes_on():
    found = stages(graph([node("c", mode="conditional", condition_func="big", true_path=["a"]), node("a")]))

    assert isinstance(found["c"].work, Value)
    assert found["c-if"].work.route.default == Target("activity", "big")


@pytest.mark.parametrize(
    ("nodes", "ways", "blocks"),
    [
        # the loop node ends each round
        ([node("w", "f"), loop("l", function="g", loop_back_to="w"), node("end")], ["w l", "l end"],
         [("l-loop", ["w", "l"]), "end"]),
        # the loop node begins each round
        ([loop("l", condition="$.go"), node("w"), node("end")], ["l w", "w l", "l end"],
         [("l-loop", ["l", "w"]), "end"]),
        # no circle: all that is reached from it
        ([loop("l", "infinite"), node("a"), node("b")], ["l a", "a b"], [("l-loop", ["l", "a", "b"])]),
        # no circle: what is listed
        ([loop("l", "for", items="$.input", body=["a"]), node("a"), node("b")], ["l a", "a b"],
         [("l-loop", ["l", "a"]), "b"]),
        # on its own
        ([loop("l", function="poll")], [], [("l-loop", ["l"])]),
        ([loop("l", function="poll")], ["l l"], [("l-loop", ["l"])]),
        # in each other, by circles
        ([node("a"), node("b"), loop("in", condition="$.x", loop_back_to="b"), node("c"),
          loop("out", condition="$.y", loop_back_to="a")], ["a b", "b in", "in c", "c out"],
         [("out-loop", ["a", ("in-loop", ["b", "in"]), "c", "out"])]),
        ([loop("out", condition="$.x"), loop("in", condition="$.y"), node("a")],
         ["out in", "in a.1", "a in.1", "in out.1"], [("out-loop", ["out", ("in-loop", ["in", "a"])])]),
        ([node("s"), *(loop(name, condition="$.x") for name in "wxyz"), node("a")],
         ["s w", "w x", "x y", "y z", "z a", "a z.1", "z y.1", "y x.1", "x w.1"],
         ["s", ("w-loop", ["w", ("x-loop", ["x", ("y-loop", ["y", ("z-loop", ["z", "a"])])])])]),
        # in each other, without circles
        ([loop("out", "for", items="$.input"), loop("in", "for", items="$.item"), node("a")],
         ["out in", "in a"], [("out-loop", ["out", ("in-loop", ["in", "a"])])]),
        # a loop in a branch, a parallel node in a loop
        ([node("p", mode="parallel", parallel_branches=[["a", "l"], ["b"]]), node("a", "f"),
          loop("l", function="g", loop_back_to="a"), node("b")], ["a l"],
         [("p", [("l-loop", ["a", "l"])], ["b"])]),
        ([loop("l", condition="$.x"), node("p", mode="parallel", parallel_branches=[["a"], ["b"]]),
          node("a"), node("b")], ["l p", "p l"], [("l-loop", ["l", ("p", ["a"], ["b"])])]),
        # events
        ([timer("t"), node("a"), node("b")], ["t a", "b a.1"], ["b", ("t-loop", ["t", "a"])]),
        ([timer("t", max_iterations=1), node("a")], ["t a"], ["t", "a"]),
        ([node("a"), timer("t", max_iterations=1), loop("l", condition="$.x", loop_back_to="a")],
         ["a t", "t l"], [("l-loop", ["a", "t", "l"])]),
    ],
)  # fmt: skip
def test_loops_and_branches_become_blocks(nodes, ways, blocks):
    assert shape(parse(graph(nodes, ways)).stages) == blocks


def test_what_kind_of_loop_it_is_says_when_it_ends():
    def rounds(**more):
        found = stages(graph([loop("l", **more), node("a", "f")], ["l a", "a l.1"]))["l-loop"].work
        ends = [name for name in ("items", "condition", "again") if getattr(found, name) is not None]
        return (ends, found.limit, found.strict, found.collect)

    assert rounds(kind="while", condition="$.x") == (["condition"], 1_000, True, False)
    assert rounds(kind="while", function="f") == (["again"], 1_000, True, False)
    assert rounds(kind="for", items="$.x", max_iterations=7) == (["items"], 7, True, True)
    assert rounds(kind="for", count=3) == (["condition"], 1_000, True, True)
    assert rounds(kind="infinite", max_iterations=-1) == ([], None, True, False)


def test_what_a_loop_node_decides_is_a_gate_for_the_rest_of_the_round():
    found = stages(graph([loop("l", function="more"), node("a"), node("b")], ["l a", "a b", "b l"]))

    assert [found[name].gates for name in "lab"] == [(), (Gate("l", "true"),), (Gate("a"),)]
    assert found["l"].branching


def test_events_wait():
    found = stages(
        graph(
            [
                timer("t", max_iterations=3),
                node("f", mode="event", event_type="file_change", watch_path="in/{{ box }}"),
                node("h", mode="event", event_type="http_request"),
                node("g", mode="event", event_type="http_request", event="go"),
                *map(node, "abcd"),
            ],
            ["t a", "f b", "h c", "g d"],
        )
    )

    waits = {name: found[name].work for name in "tfhg"}
    assert all(isinstance(wait, Wait) for wait in waits.values())
    assert waits["t"].seconds.evaluate({}) == 5
    assert (waits["f"].watch, waits["f"].event.evaluate({})) == ("in/{{ box }}", "file_change:in/{{ box }}")
    assert [waits[name].event.evaluate({}) for name in "hg"] == ["h", "go"]
    assert [(found[f"{n}-loop"].work.limit, found[f"{n}-loop"].work.strict) for n in "tf"] == [
        (3, False),
        (None, False),
    ]


# what comes in at the ports


@pytest.mark.parametrize(
    ("taker", "ways", "taken"),
    [
        (node("t", "f"), ["a t"], 1),
        (node("t", "f"), ["a t", "b t.1"], [1, {"x": 2, "y": [5]}]),
        (node("t", "f"), ["a t.one", "b.y t.two"], {"one": 1, "two": [5]}),
        (node("t", "f", inputs=["one", "two"]), ["a t", "b.x t.1"], {"one": 1, "two": 2}),
        (node("t", "f", inputs=["one", "two"], input={"two": "$.z"}), ["a t"], {"one": 1, "two": 9}),
        (node("t", "f", inputs=3, input={"1": "$.z"}), ["a t", "b.x t.2"], [1, 9, 2]),
        (node("t", "f", input={"also": "$.z"}), ["a t.one"], {"also": 9, "one": 1}),
        (node("t", "f", input={"all": ["$.stages.a"]}), ["a t", "b t"], {"all": [1]}),
        (node("t", "f"), ["c.0 t.0", "c.1 t.1"], [7, 8]),
        (node("t", "f"), ["c t.0"], [7, 8]),
        (node("t", "f"), ["a.0 t.0", "a.1 t.1"], [1, None]),
        (node("t", "f"), ["d.second t"], 6),
        (node("t", "f"), ["d.1 t"], 6),
        (node("t", "f"), [], None),
    ],
)
def test_connections_carry_from_port_to_port(taker, ways, taken):
    sources = [node("a"), node("b"), node("c"), node("d", outputs=["first", "second"])]
    ends = [f"{name} {name}-end" for name in "abcd"]
    document = graph([*sources, *(node(f"{name}-end") for name in "abcd"), taker], [*ends, *ways])
    if not ways:
        document["nodes"][-1]["input"] = "$.stages.a.none"
    outputs = {"a": 1, "b": {"x": 2, "y": [5]}, "c": [7, 8], "d": {"first": 4, "second": 6}}

    assert stages(document)["t"].work.input.evaluate({"z": 9, "stages": outputs}) == taken


def test_a_node_that_nothing_leads_to_takes_the_input_of_the_run():
    found = stages(graph([node("a", "f"), node("b"), node("c")], ["a c", "b c.1"]))

    assert found["a"].work.input is None
    assert found["b"].work.value.evaluate({"input": 5}) == 5


def test_what_comes_back_takes_turns_with_what_came_first():
    found = stages(
        graph(
            [node("s"), node("w", "f"), loop("l", condition="$.x", loop_back_to="w")], ["s w", "w l", "l w"]
        )
    )
    outputs = {"s": "first", "l": "later"}

    taken = [found["w"].work.input.evaluate({"loop": {"index": n}, "stages": outputs}) for n in (0, 1)]
    assert taken == ["first", "later"]


def test_what_is_referred_to_is_waited_for():
    found = stages(graph([node("b", input="$.stages.a"), node("a")]))
    assert found["b"].after == {"a"}

    inside = [loop("l", "for", items="$.stages.out"), node("w", input="$.stages.late"), node("out")]
    found = stages(graph([*inside, node("late", input="$.stages.w")], ["l w", "w late", "late l"]))
    assert found["l-loop"].after == {"out"}
    assert found["w"].after == {"l"}

    found = stages(graph([loop("l", "for", count=2), node("all", input="$.stages['l-loop']")]))
    assert found["all"].after == {"l-loop"}


# what is refused


def test_everything_that_is_wrong_is_told_at_once():
    document = graph(
        [
            node("a", "f", colour="red"),
            node("a"),
            node("b", mode="sometimes"),
            node("circle"),
            node("round"),
            node("after"),
            node("lonely"),
            node("c", mode="conditional", condition="$.a ===", true_path=["nope"]),
            node("taker", inputs=["x", "y"]),
            node("p", mode="parallel", parallel_branches=[["no"], []]),
            {"nodeId": "bad id"},
            "node",
        ],
        ["a b", "circle round", "round circle", "round after", "a taker.z", "q a", "b taker.x", "c taker.x"],
        output="$.stages.nowhere",
        timeout=-1,
    )

    assert {path for path, _ in problems(document)} == {
        "$.nodes[0].colour",
        "$.nodes[1].nodeId",
        "$.nodes[2].metadata.execution_mode",
        "$.nodes[3]",
        "$.nodes[5]",
        "$.nodes[6]",
        "$.nodes[7].metadata.condition",
        "$.nodes[7].metadata.true_path[0]",
        "$.nodes[8].inputs",
        "$.nodes[9].metadata.parallel_branches[1]",
        "$.nodes[10].nodeId",
        "$.nodes[11]",
        "$.connections[4].targetPort",
        "$.connections[5].sourceNodeId",
        "$.connections[7].targetPort",
        "$.output",
        "$.timeout",
    }


A, B, C = (node(name, "f") for name in "abc")
BOTH = node("p", mode="parallel", parallel_branches=[["a"], ["b"]])
ASK = node("ask", mode="conditional", condition="$.x", true_path=["a"])


@pytest.mark.parametrize(
    ("nodes", "ways", "place", "message"),
    [
        ([A, B, C], ["a b", "b c", "c a"], "$.nodes[0]", "no loop node closes the circle a -> b -> c -> a"),
        ([A, B], ["a b", "b b"], "$.nodes[1]", "no loop node closes the circle b -> b"),
        ([loop("l", condition="$.x"), loop("m", condition="$.y")], ["l m", "m l"], "$.nodes[0]",
         "'l' and 'm' could both be the outer loop here; give one of them a `body`"),
        ([A, B], [], "$.nodes[0]", "'a' is connected to no other node"),
        ([A, loop("l", condition="$.x", loop_back_to="a")], [], "$.nodes[1].metadata.loop_back_to",
         "'a' does not lead to 'l'"),
        ([A, loop("l", loop_back_to="a")], ["a l"], "$.nodes[1].metadata.condition",
         "is required, or a function"),
        ([A, loop("l", "for")], ["l a"], "$.nodes[1].metadata.items",
         "is required, or a count, or one connection that brings the items"),
        ([A, loop("l", "for", items="$.stages.a")], ["l a"], "$.nodes[1].metadata.items",
         "'a' is not done before this, or in another branch"),
        ([A, loop("l", "for", items="$.x", count=2)], ["l a"], "$.nodes[1].metadata.count",
         "there is a items already"),
        ([A, loop("l", "infinite", condition="$.x")], ["l a"], "$.nodes[1].metadata.condition",
         "has no use in a loop of type 'infinite'"),
        ([timer("t"), timer("u"), A], ["t a", "u a.1"], "$.nodes[1]",
         "'t' and 'u' both lead to 'a', which can be in one loop only"),
        ([timer("t"), timer("u")], ["t u"], "$.nodes[1]",
         "'t' and 'u' both lead to 'u', which can be in one loop only"),
        ([A, timer("t"), loop("l", condition="$.x", loop_back_to="a")], ["a t", "t l"], "$.nodes[1]",
         "its rounds would have 'l' in them, whose loop it is in; give it `max_iterations: 1`"),
        ([node("t", mode="event", event_type="timer"), A], ["t a"], "$.nodes[0].metadata.interval",
         "is required for a timer"),
        ([timer("t", watch_path="x"), A], ["t a"], "$.nodes[0].metadata.watch_path",
         "has no use for a timer"),
        ([timer("t", input=1), A], ["t a"], "$.nodes[0].input",
         "has no use here; connect a node that has it"),
        ([BOTH, A, B], ["a b"], "$.connections[0]", "the branches of 'p' know nothing of each other"),
        ([BOTH, A, node("b", input="$.stages.a")], [], "$.nodes[2].input",
         "'a' is not done before this, or in another branch"),
        ([BOTH, A, B], ["a p"], "$.connections[0]",
         "'a' is in a branch of 'p'; its output is part of that node's"),
        ([BOTH, A, B, node("q", mode="parallel", parallel_branches=[["b"]])], [],
         "$.nodes[3].metadata.parallel_branches[0][0]", "'b' is listed in 'p' already"),
        ([BOTH, A, B, C], ["a c", "c b"], "$.nodes[0]", "no loop node closes the circle p -> c -> p"),
        ([node("p", mode="parallel", parallel_branches=[["q"]]),
          node("q", mode="parallel", parallel_branches=[["p"]])], [], "$.nodes[1]",
         "is listed in itself: q in p in q"),
        ([ASK, A, node("l", "f", "loop", loop_back_to="ask")], ["a l"], None, None),
        ([node("c", "f", "conditional", true_path=["a"]), loop("l", condition="$.x"), A],
         ["l a", "a l"], "$.nodes[0].metadata.true_path[0]", "leads into 'l', but not to where that begins"),
        ([node("c", "f", "conditional", true_path=["b"]), loop("l", condition="$.x", loop_back_to="c"), B],
         ["c l"], "$.nodes[0].metadata.true_path[0]", "leads out of 'l', in which 'c' is"),
        ([node("c", "f", "conditional", true_path=["l"]), loop("l", condition="$.x")], ["l c"],
         "$.nodes[0].metadata.true_path[0]",
         "a path cannot lead back; that is for a loop node to decide"),
        ([node("a", "f", outputs=1), B], ["a.1 b"], "$.connections[0].sourcePort",
         "'a' has the output ports 0"),
        ([A, node("b", "f", inputs=2, input={"1": 0})], ["a b.2"], "$.connections[0].targetPort",
         "'b' has the input ports 0, 1"),
        ([A, B, C], ["a c", "b c"], "$.connections[1].targetPort",
         "port '0' of 'c' is connected already, by $.connections[0]"),
        ([A, B, C], ["a c", "b c.x"], "$.nodes[2]",
         "its input ports are called by name here and by number there"),
        ([A, node("b", "f", inputs=["x"], input={"x": 1})], ["a b"], "$.nodes[1].input.x",
         "is the value of a port that is connected already"),
        ([A, node("b", "f", inputs=["x"], input={"y": 1})], ["a b"], "$.nodes[1].input.y",
         "is none of the input ports: x"),
        ([A, node("b", "f", inputs=["x", "y"], input=5)], ["a b"], "$.nodes[1].input",
         "must be an object with values for the ports that are not connected"),
        ([node("a", "f", activity="g"), B], ["a b"], "$.nodes[0].activity",
         "the node calls something already, by its function"),
        ([node("a", input="$.stages.b"), B], ["a b"], "$.nodes[0].input", "'b' comes after 'a'"),
        ([node("a", input="$.stages.a"), B], ["a b"], "$.nodes[0].input",
         "'a' is not done before this, or in another branch"),
        ([loop("l", condition="$.x"), node("l-loop")], ["l l-loop"], "$.nodes[1].nodeId",
         "'l-loop' is what a part of 'l' is called"),
        ([node("s"), node("t"), node("w", "f"), loop("in", condition="$.x", loop_back_to="w"),
          loop("out", condition="$.y", loop_back_to="t")],
         ["s w", "t w.1", "w in", "in out", "out w"], "$.connections[4]",
         "goes back in the loop of 'out' into that of 'in'; put a node before that one"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused(nodes, ways, place, message):
    if place is None:
        assert parse(graph(nodes, ways))
    else:
        assert (place, message) in problems(graph(nodes, ways))


def test_half_a_surrogate_pair_is_no_text():
    assert "surrogates not allowed" in refusal(graph([node("a")], description="\ud800"))[1]


def test_loops_and_branches_stand_only_so_deep_in_each_other():
    def nested(depth):
        nodes = [loop(f"l{n}", "for", items="$.x") for n in range(depth)]
        return graph(
            [*nodes, node("end")], [f"l{n} l{n + 1}" for n in range(depth - 1)] + [f"l{depth - 1} end"]
        )

    assert len(list(parse(nested(16)).every_stage())) == 33
    assert {message for _, message in problems(nested(17))} == {
        "loops and branches stand more than 16 deep in each other"
    }
