"""Cancel, stop and rewind on the local engine: runs, their children and their running activities."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import azure.durable_functions as df
import pytest
from azure.durable_functions.worker import DurableFunctionsWorker
from durabletask.internal import helpers

from loom_core.activities import Activities, activity
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.clients.run import Start
from loom_core.clients.runs import Runs
from loom_core.clients.stopping import stop_work
from loom_core.durable.driver import run_program
from loom_core.durable.hub import Hub
from loom_core.errors import CancelledError, ConflictError, InvalidError, StepFailedError
from loom_core.notations import PROGRAMS
from loom_core.pipelines.session import CANCEL, STOP
from loom_core.wire.commands import (
    All,
    AnyOf,
    CallActivity,
    ContinueAsNew,
    Publish,
    RunProgram,
    Stop,
    WaitEvent,
)
from loom_local.engine.worker import ActivityOutcome, EngineLimits
from loom_local.sidecar.service import Sidecar

ACTIVITIES = 4


def pipeline(payload):
    """As a pipeline behaves: work under a key, an ear for cancelling, a failure that keeps what was done."""
    if failure := payload.get("failure"):
        raise CancelledError("somebody asked for it") if failure == "cancelled" else InvalidError(failure)
    key, taken = payload["run"], payload["input"]
    state = dict(payload.get("state", {}))
    yield Publish({"seq": 1, "stages": {}})
    if "done" not in state:
        state["done"] = yield CallActivity("note", f"first {taken.get('name', '')}", key=f"{key}/first")
    try:
        work = All((_work(key, taken, state), RunProgram("lane", {**taken, "key": key}, key=f"{key}/lane")))
        index, result = yield AnyOf((work, WaitEvent(CANCEL), WaitEvent(STOP)))
        failure = "cancelled"
    except StepFailedError as error:
        index, failure = None, str(error)
    if index == 0:
        return result
    if index == 2:
        return "stopped"
    if index == 1:
        yield Stop(key)
    if taken.get("undo_slowly"):
        yield CallActivity("wait", "undoing", key=f"{key}/undo")
    if undo := taken.get("undo"):
        yield CallActivity("note", undo, key=f"{key}/undo")
        state["compensated"] = True
    yield ContinueAsNew({**payload, "state": state, "failure": failure})


def _work(key, taken, state):
    if taken.get("fails"):
        return (yield CallActivity("fail_once", None, key=f"{key}/work"))
    if inner := taken.get("inner"):
        payload = {"run": f"{key}/inner", "input": inner, "definition": {}}
        return (yield RunProgram("pipeline", payload, key=f"{key}/inner", graceful=True))
    return (yield CallActivity("wait", taken.get("name", "work"), key=f"{key}/work"))


def lane(taken):
    if taken.get("lane"):
        yield RunProgram("lane", {"key": taken["key"]}, key=f"{taken['key']}/lane/0")
        return None
    if "lane" in taken or taken.get("fails"):
        return "lane"
        yield
    return (yield CallActivity("wait", "lane", key=f"{taken['key']}/lane/0"))


def deaf(payload):
    return (yield WaitEvent("never"))


class World:
    """The worker half of a host, the activities' side of it, and the client."""

    def __init__(self):
        self.waiting, self.ended, self.notes, self.failures = [], [], [], 1
        self.blobs = MemoryBlobStore()
        self.activities = Activities([self._wait(), self._note(), self._fail_once()], blobs=self.blobs)

    def _wait(self):
        @activity("wait")
        async def wait(name):
            self.waiting.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append(name)

        return wait

    def _note(self):
        @activity("note")
        async def note(text):
            self.notes.append(text)
            return text

        return note

    def _fail_once(self):
        @activity("fail_once")
        async def fail_once(_):
            if self.failures:
                self.failures -= 1
                raise InvalidError("not yet")
            return "in the end"

        return fail_once

    async def run_orchestrator(self, name, request):
        def orchestrator(context, call):
            programs = {"pipeline": pipeline, "lane": lane}
            if call.get("pipeline") == "deaf":
                programs = {"pipeline": deaf}
            elif "calls" in call["payload"] or "stages" in call["payload"].get("definition", ()):
                programs = PROGRAMS
            return (yield from run_program(programs, context, call))

        encoded = base64.b64encode(request).decode()
        return base64.b64decode(DurableFunctionsWorker().execute_orchestration_request(orchestrator, encoded))

    async def run_activity(self, call):
        payload = json.loads(call.input)
        try:
            if call.name == "stop_work":
                await stop_work(self.hub, self.activities.stops, payload)
                return ActivityOutcome("null")
            return ActivityOutcome(json.dumps(await self.activities.run(payload)))
        except Exception as error:
            return ActivityOutcome(failure=helpers.new_failure_details(error).SerializeToString())

    async def run_entity(self, name, request):
        raise NotImplementedError

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition(self):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(path, **limits):
    world = World()
    world.sidecar = Sidecar(path / "loom.db", world, durable=False, limits=EngineLimits(**limits))
    await world.sidecar.start()
    binding = {"taskHubName": "Loom", "rpcBaseUrl": f"http://{world.sidecar.address}"}
    world.client = df.DurableFunctionsClient(json.dumps(binding))
    world.hub = Hub(world.client)
    world.runs = Runs(world.hub, world.activities.stops)
    try:
        yield world
    finally:
        await world.client.close()
        await world.sidecar.stop(2.0)


@pytest.fixture
async def world(tmp_path):
    async with serving(tmp_path) as world:
        yield world


@pytest.fixture
async def narrow(tmp_path):
    """A world that has room for few activities at a time."""
    async with serving(tmp_path, activities=ACTIVITIES) as world:
        yield world


async def start(world, pipeline="p", **taken):
    run_id, _ = await world.runs.start(Start(pipeline, "v1", {"name": pipeline}, taken))
    return run_id


async def children(world):
    states = await world.client.get_all_orchestration_states()
    return {
        state.instance_id: state.runtime_status.name for state in states if state.instance_id[:4] == "sub-"
    }


async def all_ended(world):
    async with asyncio.timeout(10):
        while {"PENDING", "RUNNING"} & set((await children(world)).values()):
            await asyncio.sleep(0.01)
    return sorted((await children(world)).values())


async def test_cancelling_ends_running_activities_and_lanes_and_undoes_what_was_done(world):
    run_id = await start(world, undo="undone")
    await world.until(lambda w: sorted(w.waiting) == ["lane", "work"])

    cancelled = await world.runs.control(run_id, "cancel")
    again = await world.runs.control(run_id, "cancel")

    assert (cancelled.status, cancelled.error, again.status) == ("cancelled", None, "cancelled")
    assert cancelled.seq == 1
    assert world.notes == ["first ", "undone"]
    await world.until(lambda w: sorted(w.ended) == ["lane", "work"])
    assert await all_ended(world) in (["TERMINATED"], ["FAILED"])  # whether it or its call is told first


async def test_lanes_of_lanes_are_ended_too(world):
    run_id = await start(world, lane=True)
    await world.until(lambda w: sorted(w.waiting) == ["lane", "work"])

    await world.runs.control(run_id, "cancel")

    await world.until(lambda w: sorted(w.ended) == ["lane", "work"])
    assert len(await all_ended(world)) == 2


async def test_a_pipeline_within_cancels_itself(world):
    run_id = await start(
        world, lane=False, undo="outer", inner={"lane": False, "undo": "inner", "name": "in"}
    )
    await world.until(lambda w: w.waiting == ["in"])

    await world.runs.control(run_id, "cancel")

    await world.until(lambda w: "inner" in w.notes and "outer" in w.notes)
    await world.until(lambda w: w.ended == ["in"])
    assert await all_ended(world) == ["COMPLETED", "COMPLETED", "FAILED"]


async def test_a_suspended_run_is_cancelled(world):
    run_id = await start(world)
    await world.until(lambda w: len(w.waiting) == 2)
    await world.runs.control(run_id, "suspend")

    assert (await world.runs.control(run_id, "cancel")).status == "cancelled"


async def test_force_ends_a_run_that_does_not_listen_and_all_it_started(world):
    deaf_id = await start(world, pipeline="deaf")
    run_id = await start(world)
    await world.until(lambda w: len(w.waiting) == 2)

    deaf = await world.runs.control(deaf_id, "cancel", force=True)
    forced = await world.runs.control(run_id, "cancel", force=True)

    assert (deaf.status, forced.status, forced.error) == ("cancelled", "cancelled", None)
    await world.until(lambda w: len(w.ended) == 2)
    assert await world.blobs.head(f"stopped/{run_id}")
    for one in (deaf_id, run_id):
        with pytest.raises(ConflictError, match="start a new run"):
            await world.runs.control(one, "rewind")


async def test_stopping_lets_a_run_come_to_its_own_end(world):
    run_id = await start(world)
    await world.until(lambda w: len(w.waiting) == 2)

    await world.runs.control(run_id, "stop")
    run = await world.runs.wait(run_id, 10)

    assert (run.status, run.output) == ("completed", "stopped")
    for action in ("stop", "cancel"):
        with pytest.raises(ConflictError, match="start a new run"):
            await world.runs.control(run_id, action)
    with pytest.raises(ConflictError, match="completed; only failed and cancelled runs"):
        await world.runs.control(run_id, "rewind")


async def test_a_failed_run_goes_on_from_what_failed(world):
    run_id = await start(world, fails=True)
    failed = await world.runs.wait(run_id, 10)

    rewound = await world.runs.control(run_id, "rewind")
    run = await world.runs.wait(run_id, 10)

    assert (failed.status, failed.error["type"]) == ("failed", "InvalidError")
    assert rewound.id == run_id
    assert (run.status, run.output, run.error) == ("completed", ["in the end", "lane"], None)
    assert (run.created, run.pipeline, run.input) == (failed.created, "p", {"fails": True})
    assert world.notes == ["first "], "what was done is not done again"
    assert len(await children(world)) == 2, "a lane of its own"


async def test_a_cancelled_run_is_rewound_and_its_new_work_is_not_asked_to_stop(world):
    run_id = await start(world, lane=False)
    await world.until(lambda w: w.waiting == ["work"])
    await world.runs.control(run_id, "cancel")

    rewound = await world.runs.control(run_id, "rewind")
    await world.until(lambda w: w.waiting == ["work", "work"])

    assert rewound.status in {"pending", "running"}
    assert await world.blobs.head(f"stopped/{run_id}") is None
    assert world.ended == ["work"]
    with pytest.raises(ConflictError, match="running; only failed and cancelled"):
        await world.runs.control(run_id, "rewind")
    assert (await world.runs.control(run_id, "cancel")).status == "cancelled"
    await world.until(lambda w: w.ended == ["work", "work"])


async def test_what_was_undone_is_not_rewound(world):
    run_id = await start(world, undo="undone")
    await world.until(lambda w: len(w.waiting) == 2)
    await world.runs.control(run_id, "cancel")

    with pytest.raises(ConflictError, match="has undone what it had done"):
        await world.runs.control(run_id, "rewind")


async def test_of_many_rewinds_at_once_one_wins(world):
    run_id = await start(world, lane=False)
    await world.until(lambda w: w.waiting == ["work"])
    await world.runs.control(run_id, "cancel")

    answers = await asyncio.gather(
        *(world.runs.control(run_id, "rewind") for _ in range(10)), return_exceptions=True
    )
    await world.until(lambda w: w.waiting == ["work", "work"])
    await asyncio.sleep(0.05)

    assert all(isinstance(a, ConflictError) or a.status in {"pending", "running"} for a in answers)
    assert not all(isinstance(a, ConflictError) for a in answers)
    assert world.waiting == ["work", "work"], "nothing is doubled"


def staged(*stages, **taken):
    return Start("staged", "v1", {"name": "staged", "stages": list(stages)}, taken)


def scatter(activity, **fields):
    each = {
        "name": "Each",
        "mode": "scatter",
        "activity": activity,
        "scatter": {"input": "$.items", "as": "i"},
    }
    return each | {"config": {"concurrency": 20}} | fields


async def test_a_scatter_in_lanes_is_cancelled_and_rewound(world):
    stages = {"name": "First", "activity": "note"}, scatter("wait", after=["First"], input="$.i")
    run_id, _ = await world.runs.start(staged(*stages, items=list(range(1_000))))
    await world.until(lambda w: len(w.waiting) == 20)

    cancelled = await world.runs.control(run_id, "cancel")
    await world.until(lambda w: len(w.ended) == 20)
    await all_ended(world)
    assert len(world.waiting) == 20, "nothing new was begun"
    rewound = await world.runs.control(run_id, "rewind")
    await world.until(lambda w: len(w.waiting) == 40)
    await world.runs.control(run_id, "cancel", force=True)
    await world.until(lambda w: len(w.ended) == 40)

    assert (cancelled.status, cancelled.error) == ("cancelled", None)
    assert rewound.status in {"pending", "running"}
    assert len(world.notes) == 1, "the stage before is not run again"
    assert sorted(world.waiting[:20]) == sorted(world.waiting[20:])


async def test_cancelling_does_not_queue_behind_the_work_that_it_ends(narrow):
    undone = {"name": "First", "activity": "note", "input": "first", "compensation": {"activity": "note"}}
    stages = undone, scatter("wait", after=["First"], input="$.i")
    run_id, _ = await narrow.runs.start(staged(*stages, items=list(range(100))))
    await narrow.until(lambda w: len(w.waiting) == ACTIVITIES)

    cancelled = await narrow.runs.control(run_id, "cancel")
    run = await narrow.runs.wait(run_id, 10)

    assert (cancelled.status, run.status) == ("cancelled", "cancelled")
    assert [one["status"] for one in run.notes["compensations"]] == ["completed"]
    assert len(narrow.notes) == 2
    assert len(narrow.waiting) == len(narrow.ended) == ACTIVITIES, "what waited for its turn never began"


async def test_cancelling_twice_leaves_what_is_being_undone_alone(world):
    run_id = await start(world, undo_slowly=True)
    await world.until(lambda w: len(w.waiting) == 2)

    for _ in range(2):
        assert (await world.runs.control(run_id, "cancel")).status == "running"

    assert world.waiting[2:] == ["undoing"]
    assert sorted(world.ended) == ["lane", "work"]
    await world.runs.control(run_id, "cancel", force=True)
    await world.until(lambda w: "undoing" in w.ended)


async def test_pipelines_within_undo_what_they_did_when_all_places_are_taken(narrow):
    inner = {
        "name": "inner",
        "stages": [
            {"name": "Do", "activity": "note", "compensation": {"activity": "note"}},
            {"name": "Wait", "activity": "wait", "after": ["Do"]},
        ],
    }
    each = scatter("wait", pipeline="inner", input="$.i")
    del each["activity"]
    document = {"name": "outer", "stages": [each]}
    definition = Start("staged", "v1", document, {"items": list(range(ACTIVITIES))}, {"inner": inner})
    run_id, _ = await narrow.runs.start(definition)
    await narrow.until(lambda w: len(w.waiting) == ACTIVITIES)

    cancelled = await narrow.runs.control(run_id, "cancel")
    await narrow.until(lambda w: len(w.notes) == 2 * ACTIVITIES)
    await all_ended(narrow)

    assert cancelled.status == "cancelled"
    assert len(narrow.waiting) == len(narrow.ended) == ACTIVITIES


async def test_pipelines_in_the_lanes_of_a_scatter_undo_what_they_did_when_they_are_cancelled(world):
    undone = {"activity": "note", "input": "undid"}
    first = {"name": "First", "activity": "note", "input": "did", "compensation": undone}
    waits = {"name": "Waits", "activity": "wait", "input": "$.i", "after": ["First"]}
    inner = {"name": "inner", "stages": [first, waits]}
    each = scatter(None, pipeline="inner", input={"i": "$.i"})
    outer = replace(staged(each, items=list(range(300))), library={"inner": inner})
    run_id, _ = await world.runs.start(outer)
    await world.until(lambda w: len(w.waiting) == 20)

    cancelled = await world.runs.control(run_id, "cancel")
    await world.until(lambda w: len(w.ended) == 20)
    await all_ended(world)

    assert cancelled.status in {"running", "cancelled"}
    assert (world.notes.count("did"), world.notes.count("undid")) == (20, 20)
    assert (await world.runs.wait(run_id, 10)).status == "cancelled"


async def test_cancelling_a_run_that_undoes_what_it_did_lets_it_do_so(world):
    first = {"name": "First", "activity": "note", "compensation": {"activity": "wait", "input": "undo"}}
    stages = first, {"name": "Then", "activity": "fail_once", "after": ["First"]}
    run_id, _ = await world.runs.start(staged(*stages))
    await world.until(lambda w: w.waiting == ["undo"])

    await world.runs.control(run_id, "cancel")
    await world.runs.control(run_id, "cancel")

    assert world.ended == []
    await world.runs.control(run_id, "cancel", force=True)
    await world.until(lambda w: w.ended == ["undo"])


async def test_a_failed_stage_is_rewound(world):
    stages = (
        {"name": "First", "activity": "note"},
        {"name": "Then", "activity": "fail_once", "after": ["First"]},
    )
    run_id, _ = await world.runs.start(staged(*stages), "key")
    failed = await world.runs.wait(run_id, 10)

    await world.runs.control(run_id, "rewind")
    run = await world.runs.wait(run_id, 10)

    assert failed.error == {"type": "StepFailedError", "message": "Then: InvalidError: $: not yet"}
    assert (run.status, run.output, len(world.notes)) == ("completed", "in the end", 1)
    assert await world.runs.start(staged(*stages), "key") == (run_id, False)


async def test_a_stage_that_takes_too_long_is_asked_to_stop(world):
    stage = {"name": "Slow", "activity": "wait", "config": {"timeout": 0.05}, "onError": "skip"}
    run_id, _ = await world.runs.start(staged(stage))
    run = await world.runs.wait(run_id, 10)

    assert run.status == "completed", run.error
    await world.until(lambda w: len(w.ended) == 1)


async def test_lists_tell_cancelled_runs_from_failed_ones(world):
    forced, asked = [await start(world, lane=False) for _ in range(2)]
    failed = await start(world, fails=True)
    await world.until(lambda w: w.waiting == ["work", "work"])
    await world.runs.control(forced, "cancel", force=True)
    await world.runs.control(asked, "cancel")
    await world.runs.wait(failed, 10)

    found = {}
    for status in ("cancelled", "failed"):
        found[status], after = [], None
        while True:
            page = await world.runs.list(status=status, limit=1, after=after)
            found[status] += page.runs
            if (after := page.next) is None:
                break

    assert {run.id for run in found["cancelled"]} == {forced, asked}
    assert all(run.error is None for run in found["cancelled"])
    assert [run.id for run in found["failed"]] == [failed]


async def test_stopping_work_that_cannot_be_asked_gives_up_and_says_so(world, caplog):
    work = {
        "run": "run-1",
        "scope": "",
        "children": [{"id": "sub-none", "graceful": g} for g in (True, False)],
    }

    await stop_work(world.hub, world.activities.stops, work)

    assert caplog.text.count("not asked to stop") == 2
    assert await world.blobs.head("stopped/run-1")
