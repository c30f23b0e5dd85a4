"""Runs on the local engine, through the real client SDK."""

import asyncio
import base64
import json
from functools import partial

import azure.durable_functions as df
import pytest
from azure.durable_functions.worker import DurableFunctionsWorker
from durabletask.internal import helpers

from loom_core.adapters.memory import MemoryBlobStore
from loom_core.clients.run import RUN_ID, Start, keyed_run_id, new_run_id
from loom_core.clients.runs import Runs
from loom_core.durable.driver import run_program
from loom_core.durable.hub import Hub, hub_of
from loom_core.errors import ConflictError, InvalidError, NotFoundError, SandboxError, UnavailableError
from loom_core.notations import PROGRAMS
from loom_core.stops import Stops
from loom_core.wire.commands import Publish, WaitEvent
from loom_local.engine.worker import ActivityOutcome
from loom_local.sidecar.service import Sidecar


def asking(payload):
    stage = {"status": "running", "total": 1, "started": 1, "at": 1}
    yield Publish({"seq": 1, "stages": {"Ask": stage}})
    return (yield WaitEvent("answer"))


class App:
    """The worker half of a host: `run_program` over the real programs and one that asks."""

    async def run_orchestrator(self, name, request):
        def orchestrator(context, call):
            programs = PROGRAMS
            if call["payload"].get("definition") == {"name": "ask"}:
                programs = {"pipeline": asking}
            return (yield from run_program(programs, context, call))

        encoded = base64.b64encode(request).decode()
        return base64.b64decode(DurableFunctionsWorker().execute_orchestration_request(orchestrator, encoded))

    async def run_activity(self, call):
        payload = json.loads(call.input)
        if payload["activity"] == "fail":
            failed = helpers.new_failure_details(SandboxError("out of fuel"))
            return ActivityOutcome(failure=failed.SerializeToString())
        if "inputs" in payload:
            return ActivityOutcome(json.dumps([{"ok": value} for value in payload["inputs"]]))
        return ActivityOutcome(json.dumps(payload["input"]))

    async def run_entity(self, name, request):
        raise NotImplementedError


@pytest.fixture(params=["in process", "over gRPC"])
async def runs(tmp_path, request):
    sidecar = Sidecar(tmp_path / "loom.db", App(), durable=False)
    await sidecar.start()
    address = (
        sidecar.address
        if request.param == "in process"
        else sidecar.address.replace("127.0.0.1", "localhost")
    )
    client = df.DurableFunctionsClient(json.dumps({"taskHubName": "Loom", "rpcBaseUrl": f"http://{address}"}))
    try:
        yield Runs(Hub(client), Stops(MemoryBlobStore()))
    finally:
        await client.close()
        await sidecar.stop(2.0)


def pipeline(*stages, value=None):
    return Start("p", "v1", {"name": "p", "stages": list(stages)}, value)


ONE = {"name": "Only", "activity": "noop"}
ask = partial(Start, "ask", "v1", {"name": "ask"})


async def until(runs, run_id, condition):
    async with asyncio.timeout(10):
        while not condition(run := await runs.get(run_id)):
            await asyncio.sleep(0)
        return run


async def test_a_pipeline_runs_to_its_end(runs):
    run_id, is_new = await runs.start(pipeline(ONE, value={"x": 1}))

    run = await runs.wait(run_id, 10)

    assert is_new
    assert (run.status, run.input, run.output) == ("completed", {"x": 1}, {"x": 1})
    assert run.stages["Only"]["status"] == "completed"
    assert run.created <= run.updated


@pytest.mark.parametrize("items", [0, 10, 600])
async def test_a_scatter_runs_in_one_orchestration_or_in_many_lanes(runs, items):
    stage = {
        "name": "Each",
        "mode": "scatter",
        "activity": "noop",
        "scatter": {"input": "$.items", "as": "item"},
        "config": {"concurrency": 16},
    }
    run_id, _ = await runs.start(pipeline(stage, value={"items": list(range(items))}))

    run = await runs.wait(run_id, 30)
    listed = await runs.list()

    assert run.output == list(range(items)), run.error
    assert [r.id for r in listed.runs] == [run_id], "lanes are no runs"


async def test_a_failed_run_tells_its_error(runs):
    run_id, _ = await runs.start(pipeline({"name": "Bad", "activity": "fail"}))

    run = await runs.wait(run_id, 10)

    assert (run.status, run.output) == ("failed", None)
    assert run.error == {"type": "StepFailedError", "message": "Bad: SandboxError: out of fuel"}


async def test_the_same_key_and_request_is_the_same_run_even_when_it_is_finished(runs):
    first, is_new = await runs.start(pipeline(ONE, value=1), "key")
    await runs.wait(first, 10)

    again, is_new_again = await runs.start(pipeline(ONE, value=1), "key")

    assert (first, is_new, is_new_again) == (again, True, False)
    with pytest.raises(ConflictError, match="use a new key"):
        await runs.start(pipeline(ONE, value=2), "key")
    assert (await runs.get(first)).output == 1


async def test_concurrent_starts_with_one_key_start_one_run(runs):
    started = await asyncio.gather(*(runs.start(pipeline(ONE, value=1), "key") for _ in range(20)))

    assert len({run_id for run_id, _ in started}) == 1
    assert sum(is_new for _, is_new in started) == 1


async def test_a_run_that_waits_is_followed_suspended_resumed_and_answered(runs):
    run_id, _ = await runs.start(ask(None))
    waiting = await until(runs, run_id, lambda run: run.seq == 1)

    suspended = await runs.control(run_id, "suspend")
    await runs.raise_event(run_id, "answer", {"yes": True})
    still = await runs.wait(run_id, 0.05)
    resumed = await runs.control(run_id, "resume")
    finished = await runs.wait(run_id, 10)

    assert waiting.stages["Ask"]["status"] == "running"
    assert (suspended.status, still.status) == ("suspended", "suspended")
    assert still.seq == 1, "the progress outlives dispatches in which the program does not run"
    assert resumed.status in {"running", "completed"}
    assert (finished.status, finished.output) == ("completed", {"yes": True})


async def test_a_run_that_is_cancelled_by_force_keeps_its_progress_and_takes_no_more_commands(runs):
    run_id, _ = await runs.start(ask(None))
    await until(runs, run_id, lambda run: run.seq == 1)

    cancelled = await runs.control(run_id, "cancel", force=True)
    again = await runs.control(run_id, "cancel")

    assert (cancelled.status, again.status, cancelled.seq) == ("cancelled", "cancelled", 1)
    assert cancelled.output is None
    with pytest.raises(ConflictError, match="start a new run"):
        await runs.control(run_id, "resume")
    with pytest.raises(ConflictError, match="no more events"):
        await runs.raise_event(run_id, "answer", 1)


async def test_runs_are_listed_by_pages_and_status(runs):
    finished = {(await runs.start(pipeline(ONE, value=i)))[0] for i in range(5)}
    for run_id in finished:
        await runs.wait(run_id, 10)
    waiting, _ = await runs.start(ask(None))

    pages, after = [], None
    while True:
        page = await runs.list(limit=2, after=after)
        pages += page.runs
        after = page.next
        if after is None:
            break

    assert {run.id for run in pages} == finished | {waiting}
    assert len(pages) == 6
    assert {run.id for run in (await runs.list(status="completed")).runs} == finished
    assert (await runs.list(status="failed")).runs == ()
    with pytest.raises(InvalidError, match="not a continuation token"):
        await runs.list(after="rubbish")


@pytest.mark.parametrize("run_id", ["run-" + "0" * 26, "nonsense", "@entity@key", "sub-1-1"])
async def test_what_is_not_a_run_is_not_found(runs, run_id):
    with pytest.raises(NotFoundError, match="there is no run"):
        await runs.get(run_id)
    with pytest.raises(NotFoundError):
        await runs.control(run_id, "cancel")
    with pytest.raises(NotFoundError):
        await runs.raise_event(run_id, "go", None)


async def test_an_event_that_the_sdk_would_take_for_an_envelope_is_refused(runs):
    with pytest.raises(InvalidError, match="__class__"):
        await runs.raise_event("run-x", "go", {"__class__": "A", "__module__": "b", "__data__": 1})


async def test_a_backend_that_is_down_is_unavailable():
    hub = hub_of(json.dumps({"taskHubName": "Loom", "rpcBaseUrl": "http://127.0.0.1:1"}))
    runs = Runs(hub, Stops(MemoryBlobStore()))

    with pytest.raises(UnavailableError, match="UNAVAILABLE"):
        await runs.list()


async def test_a_binding_string_has_one_hub():
    binding = json.dumps({"taskHubName": "Loom", "rpcBaseUrl": "http://127.0.0.1:2"})

    assert hub_of(binding) is hub_of(binding)


def test_run_ids_sort_by_time_and_never_repeat():
    early, late = new_run_id(lambda: 1.0), new_run_id(lambda: 2.0)

    assert early < late
    assert all(RUN_ID.fullmatch(new_run_id()) for _ in range(100))
    assert len({new_run_id() for _ in range(100)}) == 100


def test_a_key_means_another_run_in_another_pipeline():
    assert keyed_run_id("a", "b c") != keyed_run_id("a b", "c")
    assert RUN_ID.fullmatch(keyed_run_id("pipeline", "ключ"))
