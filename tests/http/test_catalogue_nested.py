"""Pipelines that call pipelines: what is refused when they are stored, what a run takes along."""

import pytest

from loom_core.notations import pipeline_program
from loom_core.testing import Bench
from loom_core.wire.json import digest


def doc(name, *calls, **more):
    stages = [{"name": f"S{index}", "pipeline": call} for index, call in enumerate(calls)]
    return {"name": name, "stages": stages or [{"name": "Only", "activity": "noop"}], **more}


async def put(api, document):
    return await api.put(f"/pipelines/{document['name']}", json=document)


async def problems(api, document):
    answer = await put(api, document)
    assert answer.status_code == 422
    return [(problem["path"], problem["message"]) for problem in answer.json()["problems"]]


async def test_a_pipeline_that_is_not_there_is_told_with_the_one_that_was_perhaps_meant(api):
    assert await problems(api, doc("outer", "audit", "nop")) == [
        ("$.stages[1].pipeline", "there is no pipeline 'nop'; did you mean 'noop'?")
    ]
    assert await problems(api, doc("outer", "noop@9.9")) == [
        ("$.stages[0].pipeline", "there is no pipeline 'noop@9.9'")
    ]


async def test_a_run_takes_along_all_that_it_may_call_as_it_is_when_the_run_starts(api, runs):
    for document in (doc("inner"), doc("middle", "inner", "noop"), doc("outer", "middle", "inner")):
        assert (await put(api, document)).status_code == 201
    await api.post("/pipelines/outer/runs", json={"input": 7})
    newer = doc("inner", description="newer")
    await put(api, newer)
    await api.post("/pipelines/outer/runs", json={"input": 7})

    first, second = runs.started
    noop = doc("noop") | {"stages": [{"name": "Only", "activity": "noop"}]}
    assert first.library == {"middle": doc("middle", "inner", "noop"), "inner": doc("inner"), "noop": noop}
    assert second.library == first.library | {"inner": newer}
    payload = {"run": "run-1", "definition": second.definition, "input": 7, "library": second.library}
    assert Bench({"noop": lambda value: value}).run(pipeline_program, payload) == 7


async def test_a_version_is_written_as_its_digest_or_its_label(api, runs):
    old = doc("inner", version="1.0")
    await put(api, old)
    await put(api, doc("inner", version="2.0"))
    names = ["inner@1.0", f"inner@{digest(old)[:8]}", "inner"]
    await put(api, doc("outer", *names))

    await api.post("/pipelines/outer/runs", json={})

    assert [runs.started[0].library[name]["version"] for name in names] == ["1.0", "1.0", "2.0"]


async def test_pipelines_that_call_each_other_are_refused_with_the_circle(api):
    await put(api, doc("a"))
    await put(api, doc("b", "a"))
    await put(api, doc("c", "b"))

    assert await problems(api, doc("a", "c")) == [
        ("$.stages[0].pipeline", "pipelines that call each other: a -> c -> b -> a")
    ]
    assert await problems(api, doc("self", "self")) == [
        ("$.stages[0].pipeline", "pipelines that call each other: self -> self")
    ]


async def test_a_circle_that_two_writers_close_together_is_refused_when_a_run_starts(api, store, catalogue):
    for document in (doc("a"), doc("b")):
        await put(api, document)
    one, other = catalogue(store), catalogue(store, ticks=lambda: 0.0)
    await other.get("a")  # still fresh to the other process when it is replaced
    await one.put("a", doc("a", "b"))
    await other.put("b", doc("b", "a"))

    answer = await api.post("/pipelines/b/runs", json={})

    assert answer.status_code == 409
    assert "b -> a -> b" in answer.json()["detail"]


async def test_a_pipeline_that_is_gone_since_is_told_when_a_run_starts(api):
    await put(api, doc("inner"))
    await put(api, doc("outer", "inner"))
    await api.delete("/pipelines/inner")

    answer = await api.post("/pipelines/outer/runs", json={})

    assert answer.status_code == 409
    assert "there is no pipeline 'inner'" in answer.json()["detail"]


async def test_pipelines_are_nested_at_most_8_deep(api):
    await put(api, doc("p0"))
    for depth in range(1, 9):
        assert (await put(api, doc(f"p{depth}", f"p{depth - 1}"))).status_code == 201

    path, message = (await problems(api, doc("p9", "p8")))[0]

    assert path == "$.stages[0].pipeline"
    assert message.startswith("nested more than 8 deep: p9 -> p8 -> ")


async def test_many_ways_to_the_same_pipelines_are_walked_once(api, runs):
    await put(api, doc("p0"))
    for depth in range(1, 9):
        await put(api, doc(f"p{depth}", *[f"p{depth - 1}"] * 40))

    answer = await api.post("/pipelines/p8/runs", json={})

    assert answer.status_code == 202
    assert len(runs.started[0].library) == 8


async def test_a_run_takes_at_most_64_pipelines_along(api):
    for number in range(65):
        await put(api, doc(f"p{number}"))

    assert (await put(api, doc("most", *(f"p{number}" for number in range(64))))).status_code == 201
    found = await problems(api, doc("more", *(f"p{number}" for number in range(65))))
    assert found == [("$", "calls more than 64 pipelines, counting those that these call")]


async def test_what_a_run_takes_along_is_bounded_in_bytes(api):
    for number in range(5):
        await put(api, doc(f"p{number}", input={"description": "x" * 250_000}))

    [(path, message)] = await problems(api, doc("outer", *(f"p{number}" for number in range(5))))

    assert path == "$"
    assert message.endswith("1048576 are allowed")


@pytest.mark.parametrize("kind", ["actor", "agent"])
async def test_what_is_no_activity_is_called_by_what_it_is(api, kind):
    word = {"actor": "actor type", "agent": "agent"}[kind]
    document = {"name": "x", "stages": [{"name": "A", kind: "Writer"}]}

    if kind == "agent":
        document = {"name": "x", "steps": [{"type": "agent", "id": "A", "agentType": "Writer"}]}
    found = await problems(api, document)

    assert [message for _, message in found] == [f"there is no {word} 'Writer'"]


async def test_a_pipeline_that_waits_for_an_event_cannot_be_called_for_each_item(api):
    await put(api, {"name": "waits", "steps": [{"type": "wait", "event": "approved"}]})
    await put(api, doc("between", "waits"))
    items = {"mode": "scatter", "scatter": {"input": [1, 2]}, "config": {"concurrency": 1}}
    outer = {"name": "outer", "stages": [{"name": "each", "pipeline": "between", **items}]}

    assert await problems(api, outer) == [
        (
            "$.stages[0].pipeline",
            "the pipeline 'waits' waits for an event, which reaches none that is called per item or again",
        )
    ]


async def test_a_reducer_that_nobody_registered_is_told(api):
    stages = [
        {"name": "a", "activity": "noop"},
        {"name": "b", "mode": "gather", "gather": {"stage": "a", "strategy": "custom", "reducer": "total"}},
    ]

    assert await problems(api, {"name": "p", "stages": stages}) == [
        (
            "$.stages[1].gather.reducer",
            "there is no reducer 'total'; a file in activities/ registers one with @reducer",
        )
    ]
