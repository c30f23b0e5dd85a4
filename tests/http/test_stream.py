import asyncio
import json

import httpx
import pytest

from loom_core.http.stream import _encode, events


def stage(status, started=0, at=0, finished=0, *, done=0, total=0, **more):
    return {**more,
        "status": status, "started": started, "at": at, "finished": finished,
        "done": done, "total": total, "skipped": 0, "failed": 0,
    }  # fmt: skip


@pytest.fixture
async def run_id(runs, api):
    return (await api.post("/pipelines/audit/runs", json={})).json()["runId"]


async def publish(runs, run_id, seq, **stages):
    await runs.change(run_id, status="running", stages=stages, seq=seq)


async def read(address, run_id, last=None):
    """Events as (id, name, data) until the stream ends."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with (
        httpx.AsyncClient(timeout=10) as client,
        client.stream("GET", f"{address}/runs/{run_id}/events", headers=headers) as answer,
    ):
        async for found in parse(answer):
            yield found


async def parse(answer):
    fields = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id"), fields["event"], json.loads(fields["data"])
            fields = {}


async def test_a_stream_tells_what_happens_until_the_run_is_finished(runs, run_id, served):
    told = []
    stream = read(served, run_id)
    await publish(runs, run_id, 1, list=stage("running", started=1, at=1))
    told.append(await anext(stream))
    await publish(runs, run_id, 2, list=stage("running", started=1, at=2, done=5, total=9))
    told.append(await anext(stream))
    await publish(
        runs,
        run_id,
        3,
        list=stage("completed", 1, 3, 3, done=9, total=9),
        scan=stage("running", started=3, at=3, total=9),
    )
    await runs.change(run_id, status="completed", output="large")
    told += [event async for event in stream]

    assert [(number, name) for number, name, _ in told] == [
        ("1", "stage.started"),
        ("2", "stage.progress"),
        (None, "stage.started"),
        ("3", "stage.finished"),
        ("end", "run.finished"),
    ]
    assert told[1][2]["stages"] == {
        "list": {"status": "running", "done": 5, "total": 9, "skipped": 0, "failed": 0}
    }
    assert told[-1][2]["status"] == "completed"
    assert "output" not in told[-1][2]


async def test_a_stream_resumes_after_the_last_event_that_was_seen(runs, run_id, served):
    await publish(runs, run_id, 4, list=stage("completed", 1, 2, 2), scan=stage("running", started=3, at=4))
    await runs.change(run_id, status="failed")

    names = [[name async for _, name, _ in read(served, run_id, last)] for last in (None, "2", "4")]

    assert names == [
        ["stage.started", "stage.finished", "stage.started", "stage.progress", "run.finished"],
        ["stage.started", "stage.progress", "run.finished"],
        ["run.finished"],
    ]


async def test_whoever_saw_the_end_is_told_to_stop_asking(api, run_id):
    answer = await api.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": "end"})

    assert answer.status_code == 204


async def test_a_silent_run_is_kept_alive(runs, run_id):
    from loom_core.http.stream import follow

    ticks = iter(range(0, 1000, 11))
    stream = follow(runs, runs.runs[run_id], 0, clock=lambda: next(ticks))

    first, second = await anext(stream), await anext(stream)

    assert (first, second) == ("retry: 1000\n\n", ": still here\n\n")


async def test_a_client_that_leaves_ends_its_stream(runs, run_id, served):
    await publish(runs, run_id, 1, list=stage("running", started=1, at=1))
    stream = read(served, run_id)

    await anext(stream)
    await stream.aclose()
    await asyncio.sleep(0)


async def test_every_resumption_point_leads_to_the_same_end(runs, run_id):
    """Dropping the connection after any event loses no start and no end of a stage."""
    documents = [
        {"a": stage("running", 1, 1)},
        {"a": stage("running", 1, 2, done=1)},
        {"a": stage("completed", 1, 3, 3), "b": stage("running", 3, 3), "c": stage("running", 3, 3)},
        {"a": stage("completed", 1, 3, 3), "b": stage("completed", 3, 4, 4), "c": stage("running", 3, 3)},
        {
            "a": stage("completed", 1, 3, 3),
            "b": stage("completed", 3, 4, 4),
            "c": stage("completed", 3, 5, 5),
        },
    ]
    whole = {("stage.started", s) for s in "abc"} | {("stage.finished", s) for s in "abc"}
    for seen_after in range(len(documents)):
        told, seen = set(), 0
        for seq, stages in enumerate(documents):
            if seq > seen_after and seq < len(documents) - 1:
                continue  # nobody was listening
            await publish(runs, run_id, seq + 1, **stages)
            happened = list(events(runs.runs[run_id], seen))
            told |= {(name, *data["stages"]) for _, name, data in happened}
            _, seen = _encode(runs.runs[run_id], seen)

        assert whole <= told


BROKEN = {"type": "ValueError", "message": "no such file"}


async def test_a_failed_stage_says_why(runs, api, run_id):
    await publish(runs, run_id, 2, list=stage("failed", 1, 2, 2, error=BROKEN), scan=stage("pending"))

    told = list(events(await runs.get(run_id), 1))
    shown = (await api.get(f"/runs/{run_id}")).json()["progress"]

    assert [(name, data["stages"]["list"]["error"]) for _, name, data in told] == [("stage.finished", BROKEN)]
    counts = {"done": 0, "total": 0, "skipped": 0, "failed": 0}
    assert shown["list"] == {"status": "failed", **counts, "error": BROKEN}
    assert "error" not in shown["scan"]


async def test_what_was_undone_and_warned_of_is_in_the_run(runs, api, run_id):
    before = (await api.get(f"/runs/{run_id}")).json()
    warning = {"path": "$.stages[2]", "message": "two shapes"}
    undone = {"stage": "Pay", "status": "failed", "error": BROKEN}
    await runs.change(run_id, notes={"compensations": [undone], "warnings": [warning]})

    after = (await api.get(f"/runs/{run_id}")).json()
    listed = (await api.get("/runs")).json()["runs"][0]

    assert before.keys().isdisjoint({"compensations", "warnings"})
    assert after["compensations"] == listed["compensations"] == [undone]
    assert after["warnings"] == [warning]


async def test_the_nodes_of_a_graph_are_told_by_their_ids_too(runs, run_id, served):
    await runs.change(run_id, is_graph=True)
    stages = {
        "read": stage("completed", 1, 2, 2),
        "skipped": stage("skipped", 0, 3, 3),
        "again": stage("running", 5, 5, 4),
        "broken": stage("failed", 1, 6, 6, error=BROKEN),
    }
    await publish(runs, run_id, 6, **stages)
    await runs.change(run_id, status="failed")

    told = [event async for event in read(served, run_id)]

    assert [(number, data) for number, name, data in told if name == "node_executed"] == [
        ("2", {"nodeId": "read", "status": "completed", "at": 2}),
        ("3", {"nodeId": "skipped", "status": "skipped", "at": 3}),
    ]
    assert [(number, data) for number, name, data in told if name == "execution_error"] == [
        ("6", {"nodeId": "broken", "error": BROKEN, "at": 6})
    ]
    assert [name for _, name, _ in told if name.startswith("stage.")].count("stage.finished") == 3


async def test_a_run_of_stages_tells_of_no_nodes(runs, run_id):
    await publish(runs, run_id, 2, list=stage("completed", 1, 2, 2))

    assert [name for _, name, _ in events(await runs.get(run_id), 0)] == ["stage.started", "stage.finished"]
