import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_core.expressions.parse import parse_value
from loom_core.notations import parse
from loom_core.notations.diagram import mermaid
from loom_core.pipelines.plan import (
    Call,
    Compensation,
    Gate,
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

ONE = parse_value(1)
ACTIVITY = Call(route=Route(default=Target("activity", "work")))
LINE = re.compile(
    r"""\ +(?:
        (?:subgraph\ )?s\d+(?:b\d+)?
        (?:\[\[|\[\\|\[|\(\[|\(|\{) "[^"`<>\\%]*(?:<br/>[^"`<>\\%]*)*" (?:\]\]|/\]|\]\)|\]|\)|\})
      | s\d+\ (?:-->(?:\|"[a-z]+"\|)?|-\.->)\ s\d+
      | end
    )""",
    re.VERBOSE,
)


def stage(name, work=ACTIVITY, **more):
    return Stage(name=name, path="$", work=work, **more)


def plan(*stages):
    return Plan(
        name="p", version="", description="", input_schema=None, stages=stages, output=None, warnings=()
    )


def test_a_diagram_has_a_shape_for_each_kind_of_work_and_edges_by_order():
    document = {
        "name": "triage",
        "stages": [
            {"name": "List", "activity": "list"},
            {
                "name": "Classify",
                "mode": "scatter",
                "activity": "classify",
                "scatter": {"input": "$.stages.List"},
                "config": {"concurrency": 2_000},
                "executorConfig": {"batchSize": 5},
            },
            {"name": "Report", "mode": "gather", "gather": {"stage": "Classify"}, "activity": "report"},
        ],
    }

    assert mermaid(parse(document)) == (
        "flowchart TD\n"
        '  s0["List<br/>activity list"]\n'
        '  s1[["Classify<br/>activity classify<br/>2,000 at a time, batches of 5"]]\n'
        '  s2[\\"Report<br/>concat<br/>activity report"/]\n'
        "  s0 --> s1\n"
        "  s1 --> s2\n"
    )


def test_branches_are_labelled_and_what_only_orders_is_dotted():
    drawn = mermaid(
        plan(
            stage("Before"),
            stage("Check", Value(value=ONE), branching=True, after=frozenset({"Before"})),
            stage("Yes", after=frozenset({"Check", "Before"}), gates=(Gate("Check", "true"),)),
            stage("Late", after=frozenset({"Check"}), gates=(Gate("Check", "timeout"), Gate("Yes"))),
        )
    )

    assert drawn.splitlines()[2] == '  s1{"Check"}'
    assert drawn.splitlines()[5:] == [
        "  s0 --> s1",
        '  s1 -->|"true"| s2',
        "  s0 -.-> s2",
        '  s1 -->|"timeout"| s3',
        "  s2 --> s3",
    ]


def test_loops_and_branches_are_subgraphs():
    loop = Loop(body=(stage("Wait", Wait(seconds=parse_value(5))),), limit=None)
    both = Parallel(branches=((stage("A"),), (stage("B"), stage("C", after=frozenset({"B"})))))

    assert mermaid(plan(stage("Poll", loop), stage("Both", both, after=frozenset({"Poll"})))) == (
        "flowchart TD\n"
        '  subgraph s0["Poll<br/>until stopped"]\n'
        '    s1(["Wait<br/>5 seconds"])\n'
        "  end\n"
        '  subgraph s2["Both<br/>parallel"]\n'
        '    subgraph s2b1["branch 1"]\n'
        '      s3["A<br/>activity work"]\n'
        "    end\n"
        '    subgraph s2b2["branch 2"]\n'
        '      s4["B<br/>activity work"]\n'
        '      s5["C<br/>activity work"]\n'
        "    end\n"
        "  end\n"
        "  s0 --> s2\n"
        "  s4 --> s5\n"
    )


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (Route(default=Target("actor", "Judge", "strict")), "actor Judge strict"),
        (
            Route(default=Target("activity", "ask"), weights=(("a", 3.0), ("b", 1.0))),
            "activity ask a 75#37; or activity ask b 25#37;",
        ),
        (
            Route(targets={"small": Target("agent", "Mini")}, fallback=("small", "large")),
            "agent Mini, else large",
        ),
        (
            Route(default=Target("activity", "x"), targets={"en": Target("pipeline", "audit@2")}),
            "activity x or en: pipeline audit@2",
        ),
    ],
)
def test_what_a_call_can_go_to_is_told(route, text):
    undone = Compensation(route=route, input=None, retry=None)

    assert f'["Ask<br/>{text}"]' in mermaid(plan(stage("Ask", Call(route=route))))
    assert f"<br/>undone by {text}" in mermaid(plan(stage("Ask", compensation=undone)))


def test_what_a_stage_waits_for_is_told_where_it_is_fixed():
    drawn = mermaid(
        plan(
            stage("A", Wait(event=parse_value("approved"))),
            stage("B", Wait(event=parse_value("{{ input.name }}"))),
            stage("C", Wait(event=ONE, watch="in/box")),
            stage("D", Wait(seconds=parse_value("{{ 1 / 0 }}"))),
        )
    )

    assert [line.strip() for line in drawn.splitlines()[1:]] == [
        's0(["A<br/>event approved"])',
        's1(["B<br/>event"])',
        's2(["C<br/>files in in/box"])',
        's3(["D<br/>seconds"])',
    ]


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_no_name_can_break_out_of_its_label(name, target, label):
    route = Route(default=Target("activity", target), targets={label: Target("agent", name)})
    scatter = Scatter(
        call=Call(route=route), items=ONE, item="item", condition=None, concurrency=1, batch_size=1
    )
    body = (stage(f"{name}1", Wait(watch=label, event=ONE)), stage(f"{name}2", scatter))
    outer = stage(name, Loop(body=body, items=ONE, item=label))
    other = stage(f"{name}3", Call(route=route), after=frozenset({name}), gates=(Gate(name, "true"),))

    first, *rest = mermaid(plan(outer, other)).rstrip("\n").split("\n")

    assert first == "flowchart TD"
    assert len(rest) == 6
    assert [line for line in rest if not LINE.fullmatch(line)] == []


def test_a_stage_that_follows_another_of_its_way_is_led_to_from_there():
    echo = {"type": "activity", "activity": "a"}
    steps = [{"type": "condition", "if": "$.x", "then": [echo, echo]}]

    assert mermaid(parse({"name": "x", "steps": steps})).splitlines()[5:] == [
        '  s0 -->|"true"| s1',
        "  s1 --> s2",
        "  s0 --> s3",
        "  s2 --> s3",
    ]
