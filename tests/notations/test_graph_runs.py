"""Graphs that run: what each mode of a node means."""

import json
import re
from pathlib import Path

import pytest

from loom_core.errors import StepFailedError
from loom_core.notations import pipeline_program
from loom_core.testing import Bench
from tests.notations.graphs import graph, node


def refuse(taken):
    raise ValueError(f"not {taken}")


FUNCTIONS = {
    "echo": lambda x: x,
    "increment": lambda x: x + 1,
    "double": lambda x: 2 * x,
    "is_small": lambda x: x < 10,
    "is_large": lambda x: x >= 10,
    "split": lambda x: {"half": x // 2, "rest": x - x // 2},
    "join": lambda x: "-".join(map(str, x)),
    "refuse": refuse,
}


def run(document, taken=None, **more):
    """The run's output, and the bench it ran on."""
    bench = Bench(FUNCTIONS, **more)
    payload = {"run": "run-1", "definition": document, "input": taken}
    return bench.run(pipeline_program, payload), bench


def test_the_example_of_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "graph.md").read_text(encoding="utf-8")
    document = json.loads(re.search(r"```json\n(.*?)```", page, re.DOTALL)[1])

    def review(size):
        functions = {
            "load-document": lambda _: {"text": "long", "size": size},
            "summarise": lambda text: text[:2],
        }
        bench = Bench({**functions, "judge": lambda taken: taken["text"]})
        return bench.run(pipeline_program, {"run": "run-1", "definition": document, "input": None})

    assert (review(5), review(200_000)) == ("long", "lo")


def loop(name, kind="while", **more):
    return node(name, more.pop("function", None), "loop", loop_type=kind, **more)


def test_nodes_run_in_the_order_of_their_connections_with_what_comes_in_at_their_ports():
    document = graph(
        [
            node("join", "join", inputs=3, input={"2": "!"}),
            node("split", "split", outputs=["half", "rest"]),
            node("double", "double"),
        ],
        ["split.rest join.1", "split.half double", "double join.0"],
    )

    output, bench = run(document, 7)
    assert output == "6-4-!"
    assert [name for name, _ in bench.calls] == ["split", "double", "join"]


@pytest.mark.parametrize(("size", "output", "called"), [(20, 40, "double"), (3, 4, "increment")])
@pytest.mark.parametrize("decide", [{"condition": "$.stages.check >= 10"}, {"condition_func": "is_large"}])
def test_a_conditional_takes_one_path_and_what_comes_after_takes_what_there_is(size, output, called, decide):
    document = graph(
        [
            node("check", mode="conditional", **decide, true_path=["large"], false_path=["small"]),
            node("large", "double"),
            node("small", "increment"),
            node("end", input="$.stages.large ?? $.stages.small"),
        ],
        ["check large", "check small", "large end", "small end"],
    )

    found, bench = run(document, size)
    assert found == output
    assert [name for name, _ in bench.calls if name != "is_large"] == [called]
    assert bench.published[-1]["stages"]["small" if size > 10 else "large"]["status"] == "skipped"


@pytest.mark.parametrize(("size", "output"), [(20, [False, None]), (3, [True, 4])])
def test_the_result_of_the_nodes_own_function_decides_and_is_passed_on(size, output):
    check = node("check", "is_small", "conditional", true_path=["small"])
    document = graph(
        [
            check,
            node("small", "increment", input="$.input"),
            node("end", input=["$.stages.check", "$.stages.small"]),
        ]
    )

    assert run(document, size)[0] == output


def test_a_loop_node_at_the_end_of_the_round_carries_a_value_back():
    document = graph(
        [
            node("start"),
            node("work", "double"),
            loop("more", condition="$.stages.work < 50", loop_back_to="work"),
            node("end", "increment"),
        ],
        ["start work", "work more", "more work", "more end"],
    )

    output, bench = run(document, 1)
    assert output == 65
    assert [taken for name, taken in bench.calls if name == "double"] == [1, 2, 4, 8, 16, 32]


def test_a_loop_goes_round_as_long_as_its_function_says_so():
    document = graph(
        [
            node("work", "increment", input="{{ (stages.work ?? 7) }}"),
            loop("more", function="is_small", loop_back_to="work"),
        ],
        ["work more"],
    )

    output, bench = run(document)
    assert output is False
    assert [taken for name, taken in bench.calls if name == "increment"] == [7, 8, 9]


def test_a_loop_node_at_the_beginning_is_asked_before_the_rest_of_the_round():
    document = graph(
        [
            node("start"),
            loop("more", function="is_small"),
            node("work", "double", input="{{ (stages.work ?? input) }}"),
            node("end", input="$.stages.more"),
        ],
        ["start more", "more work", "work more", "more end"],
    )

    output, bench = run(document, 3)
    assert bench.calls == [
        ("is_small", 3), ("double", 3), ("is_small", 6), ("double", 6), ("is_small", 12)
    ]  # fmt: skip
    assert output is False


def test_a_condition_that_does_not_hold_at_first_lets_no_round_begin():
    document = graph(
        [loop("l", condition="$.loop.index < $.times"), node("work", "double", input=4)], ["l work"]
    )

    assert [len(run(document, {"times": times})[1].calls) for times in (0, 3)] == [0, 3]


def test_a_for_loop_has_a_round_for_each_item_that_a_connection_brings():
    document = graph(
        [node("list"), loop("each", "for"), node("work", "double"), node("all", "join")],
        ["list each", "each work", "work each", "each all"],
    )

    assert run(document, [1, 2, 3])[0] == "2-4-6"
    assert run(document, [])[0] == ""


def test_a_for_loop_can_count():
    document = graph([loop("each", "for", count="$.times"), node("work", "increment")], ["each work"])

    assert run(document, {"times": 3})[0] == [1, 2, 3]


def test_loops_in_loops_have_items_of_their_own():
    document = graph(
        [
            loop("row", "for", items="$.input", **{"as": "line"}),
            loop("cell", "for", items="$.line"),
            node("work", "join", input=["$.loop.index", "$.item"]),
        ],
        ["row cell", "cell work"],
    )

    assert run(document, [["a", "b"], [], ["c"]])[0] == [["0-a", "1-b"], [], ["0-c"]]


def test_an_inner_loop_begins_anew_in_every_round_of_the_outer_one():
    document = graph(
        [
            node("start", input=1),
            node("outer-in"),
            node("work", "double"),
            loop("inner", condition="$.loop.index < 1", loop_back_to="work"),
            node("add", "increment"),
            loop("outer", condition="$.stages.add < 100", loop_back_to="outer-in"),
        ],
        [
            "start outer-in",
            "outer outer-in",
            "outer-in work",
            "inner work",
            "work inner",
            "inner add",
            "add outer",
        ],
    )

    output, bench = run(document)
    assert [taken for name, taken in bench.calls if name == "increment"] == [4, 20, 84, 340]
    assert output == 341


def test_a_loop_of_many_rounds_goes_on_in_new_executions():
    document = graph(
        [
            node("start", input=0),
            node("work", "increment"),
            loop("more", condition="$.stages.work < 700", loop_back_to="work"),
            node("end"),
        ],
        ["start work", "work more", "more work", "more end"],
    )

    output, bench = run(document)
    assert (output, len(bench.calls)) == (700, 700)
    assert len(bench.executions) > 1


def test_a_server_answers_until_it_is_to_stop():
    document = graph(
        [
            loop("server_loop", "infinite", max_iterations=-1),
            node("next", mode="event", event_type="http_request", event="request", max_iterations=1),
            node("handle_request", "double"),
            node("send_response", "echo"),
        ],
        ["server_loop next", "next handle_request", "handle_request send_response"],
    )

    _, bench = run(document, events=[(1, "request", 1), (2, "request", 2), (9, "loom:stop", None)])
    assert [taken for name, taken in bench.calls if name == "echo"] == [2, 4]


def test_too_many_rounds_are_an_error():
    document = graph([loop("l", "infinite", max_iterations=3), node("work", "double", input=1)], ["l work"])

    with pytest.raises(StepFailedError, match=r"exceeded max iterations \(3\)"):
        run(document)


def test_a_loop_without_an_end_ends_when_the_run_is_to_stop():
    document = graph(
        [
            loop("serve", "infinite", max_iterations=-1),
            node("pause", mode="event", event_type="timer", interval=10, max_iterations=1),
            node("work", "double", input="$.loop.index"),
            node("end", input="$.stages['serve-loop']"),
        ],
        ["serve pause", "pause work", "work serve"],
    )

    output, bench = run(document, events=[(35, "loom:stop", None)])
    assert [taken for _, taken in bench.calls] == [0, 1, 2]
    assert output == 4


def test_branches_run_side_by_side_and_give_a_list():
    document = graph(
        [
            node("start"),
            node("both", mode="parallel", parallel_branches=[["a"], ["b", "c"]]),
            node("a", "double"),
            node("b", "increment"),
            node("c", "double"),
            node("end", "join"),
        ],
        ["start both", "both a", "both b", "b c", "both end"],
    )

    output, bench = run(document, 5, duration=lambda _name, _taken: 1.0)
    assert output == "10-12"
    assert bench.clock == 3


def test_what_fails_in_several_branches_is_told_together():
    document = graph(
        [
            node("both", mode="parallel", parallel_branches=[["a"], ["b"], ["c"]]),
            node("a", "refuse", input="this"),
            node("b", "double", input=1),
            node("c", "refuse", input="that"),
        ],
    )

    with pytest.raises(StepFailedError, match=r"2 of 3 branches failed: .*not this.*not that"):
        run(document)


def test_a_timer_starts_what_it_leads_to_until_the_run_is_to_stop():
    document = graph(
        [
            node("tick", mode="event", event_type="timer", interval=10),
            node("work", "double", input="$.loop.index"),
        ],
        ["tick work"],
    )

    _, bench = run(document, events=[(45, "loom:stop", None)])
    assert [taken for _, taken in bench.calls] == [0, 1, 2, 3]


def test_events_bring_their_payload_as_often_as_the_node_says():
    document = graph(
        [node("order", mode="event", event_type="http_request", max_iterations=2), node("work", "double")],
        ["order work"],
    )

    output, bench = run(document, events=[(1, "order", 4), (2, "order", 5), (3, "order", 6)])
    assert (output, [taken for _, taken in bench.calls]) == (10, [4, 5])


def test_a_node_can_wait_once_in_a_round():
    document = graph(
        [
            node("ask", "echo", input="$.loop.index"),
            node("answer", mode="event", event_type="http_request", event="reply", max_iterations=1),
            loop("again", condition="$.stages.answer === 'more'", loop_back_to="ask"),
        ],
        ["ask answer", "answer again"],
    )

    output, bench = run(document, events=[(1, "reply", "more"), (2, "reply", "more"), (3, "reply", "done")])
    assert (output, len(bench.calls)) == ("done", 3)


def test_files_are_watched_for():
    document = graph(
        [
            node("drop", mode="event", event_type="file_change", watch_path="in/*.csv", max_iterations=1),
            node("work", "echo"),
        ],
        ["drop work"],
    )
    watched = []
    files = {**FUNCTIONS, "loom.watch": watched.append}
    bench = Bench(files, events=[(1, "file_change:in/*.csv", {"path": "in/a.csv"})])

    output = bench.run(pipeline_program, {"run": "run-1", "definition": document, "input": None})
    assert output == {"path": "in/a.csv"}
    assert watched == [{"run": "run-1", "path": "in/*.csv", "event": "file_change:in/*.csv"}]
