"""Running calls are asked to stop: in this process at once, in others when they look."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from loom_core import stops
from loom_core.activities import Activities, activity, current_call
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_folder
from loom_core.errors import CancelledError, UnavailableError
from loom_core.stops import MAX_SCOPES, covers
from tests.sandbox import guests

SHIPPED = Path(__file__).parents[2] / "activities"
EARLIER = 1.0
"""A time before every stop of these tests."""


@pytest.fixture
def blobs():
    return MemoryBlobStore()


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(stops, "PERIOD", 0.01)


class Waiting:
    """An async activity that waits for ever, and tells when it began and how it ended."""

    def __init__(self):
        self.begun, self.ended = asyncio.Event(), []

        @activity("wait")
        async def wait(value):
            self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.ended.append(value)
                raise

        self.function = wait


@pytest.fixture
def waiting():
    return Waiting()


def payload(name, key="run-1/S/0", run="run-1", at=EARLIER, value=None):
    return {"activity": name, "input": value, "run": run, "key": key, "at": at}


async def begun(waiting, activities, **fields):
    call = asyncio.create_task(activities.run(payload("wait", **fields)))
    async with asyncio.timeout(10):
        await waiting.begun.wait()
    return call


async def marks(blobs, run="run-1"):
    return json.loads((await blobs.get(f"stopped/{run}")).data)


@pytest.mark.parametrize(
    ("scope", "key", "is_covered"),
    [
        ("", "anything", True),
        ("r/S", "r/S", True),
        ("r/S", "r/S/1", True),
        ("r/S", "r/S2", False),
        ("r/S", "r/S@1/1", False),
        ("r/S/1", "r/S", False),
        ("r/Ä b", "r/Ä b/0", True),
    ],
)
def test_a_scope_covers_its_own_key_and_those_below_it(scope, key, is_covered):
    assert covers(scope, key) is is_covered


async def test_an_async_activity_is_cancelled_and_may_clean_up(waiting, blobs):
    activities = Activities([waiting.function], blobs=blobs)
    call = await begun(waiting, activities, value="mine")

    await activities.stops.ask("run-1", "run-1/S")

    with pytest.raises(CancelledError, match="asked to stop"):
        await call
    assert waiting.ended == ["mine"]


async def test_the_shipped_sleep_stops(blobs):
    activities = Activities(load_folder(SHIPPED), blobs=blobs)
    call = asyncio.create_task(activities.run(payload("sleep", value={"seconds": 60})))
    await asyncio.sleep(0)

    await activities.stops.ask("run-1")

    with pytest.raises(CancelledError):
        await call


async def test_an_async_activity_that_goes_on_has_its_result_and_leaves_its_task_alone(blobs):
    async def stubborn(_):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "in spite of it"

    begun = asyncio.Event()
    activities = Activities([activity("stubborn")(stubborn)], blobs=blobs)

    async def serve():
        result = await activities.run(payload("stubborn"))
        return result, asyncio.current_task().cancelling()

    call = asyncio.create_task(serve())
    await begun.wait()
    await activities.stops.ask("run-1")

    assert await call == ("in spite of it", 0)


async def test_a_host_that_cancels_the_call_itself_is_not_told_otherwise(waiting, blobs):
    activities = Activities([waiting.function], blobs=blobs)
    call = await begun(waiting, activities)

    await activities.stops.ask("run-1")
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_activity_in_a_thread_sees_that_it_is_to_stop(blobs):
    began = threading.Event()

    @activity("polls")
    def polls(_):
        stop = current_call.get().stop
        began.set()
        return [stop.wait(60), stop.is_set()]

    activities = Activities([polls], blobs=blobs)
    call = asyncio.create_task(activities.run(payload("polls")))
    await asyncio.to_thread(began.wait, 10)

    await activities.stops.ask("run-1", "run-1/S/0")

    assert await call == [True, True], "what it returns is its result"


async def test_a_call_is_not_told_that_nobody_stops(blobs):
    @activity("asks")
    def asks(_):
        return [current_call.get().stop.is_set(), current_call.get().stop.wait(0)]

    assert await Activities([asks], blobs=blobs).run(payload("asks")) == [False, False]


@pytest.mark.parametrize(
    ("run", "scope"),
    [("run-2", ""), ("run-1", "run-1/Other"), ("run-1", "run-1/S/1"), ("run-1", "run-1/S/0/1")],
)
async def test_other_work_goes_on(waiting, blobs, run, scope):
    activities = Activities([waiting.function], blobs=blobs)
    call = await begun(waiting, activities)

    await activities.stops.ask(run, scope)

    assert not call.done()
    assert not call.cancelling()
    await activities.stops.ask("run-1")
    with pytest.raises(CancelledError):
        await call


async def test_a_call_in_another_process_hears_of_it(waiting, blobs, often):
    here, there = Activities([waiting.function], blobs=blobs), Activities([], blobs=blobs)
    call = await begun(waiting, here)

    await there.stops.ask("run-1", "run-1/S")

    async with asyncio.timeout(10):
        with pytest.raises(CancelledError):
            await call


async def test_what_is_scheduled_after_the_asking_is_not_meant_in_any_process(waiting, blobs, often):
    here, there = Activities([waiting.function], blobs=blobs), Activities([waiting.function], blobs=blobs)
    for activities in (here, there):
        await here.stops.ask("run-1")
        later = await begun(waiting, activities, at=time.time(), key="run-1/S/again", value="later")
        await asyncio.sleep(0.05)
        assert not later.done()
        later.cancel()
    assert waiting.ended == ["later"]


async def test_what_was_scheduled_before_and_begins_later_is_refused_at_once(waiting, blobs):
    activities = Activities([waiting.function], blobs=blobs)
    await activities.stops.ask("run-1", "run-1/S")

    with pytest.raises(CancelledError, match="before it began"):
        await activities.run(payload("wait"))

    assert not waiting.begun.is_set()


class Counting(MemoryBlobStore):
    def __init__(self):
        super().__init__()
        self.looked, self.is_up = [], True

    async def get(self, name):
        if name.startswith("stopped/"):
            self.looked.append(name)
            if not self.is_up:
                raise UnavailableError("down")
        return await super().get(name)


async def test_a_process_looks_once_for_all_calls_of_a_run(waiting, often):
    blobs = Counting()
    activities = Activities([waiting.function], blobs=blobs)
    calls = [asyncio.create_task(activities.run(payload("wait", key=f"run-1/S/{n}"))) for n in range(5)]
    async with asyncio.timeout(10):
        while len(blobs.looked) < 3:
            await asyncio.sleep(0.001)

    await activities.stops.ask("run-1")
    ended = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(error, CancelledError) for error in ended)
    assert len(blobs.looked) <= 5, "one for each period, and one to write"


async def test_short_calls_never_look():
    blobs = Counting()
    activities = Activities(load_folder(SHIPPED), blobs=blobs)

    for _ in range(100):
        await activities.run(payload("noop", value=1))

    assert blobs.looked == []


async def test_a_store_that_is_down_stops_nothing_and_is_asked_again(waiting, often, caplog):
    blobs = Counting()
    here, there = Activities([waiting.function], blobs=blobs), Activities([], blobs=blobs)
    call = await begun(waiting, here)
    await there.stops.ask("run-1")
    blobs.looked.clear()
    blobs.is_up = False
    async with asyncio.timeout(10):
        while len(blobs.looked) < 2:
            await asyncio.sleep(0.001)
    assert not call.done()

    blobs.is_up = True

    async with asyncio.timeout(10):
        with pytest.raises(CancelledError):
            await call
    assert "whether run-1 was asked to stop is not known: down" in caplog.text


async def test_a_batch_stops_between_its_items(blobs):
    served = []

    @activity("serve")
    async def serve(value):
        served.append(value)
        if value == 1:
            await activities.stops.ask("run-1", "run-1/S")
        return value

    activities = Activities([serve], blobs=blobs)
    keys = ["run-1/S/0", "run-1/S/1", "run-1/S/2", "run-1/T/3"]
    batch = {"activity": "serve", "inputs": [0, 1, 2, 3], "keys": keys, "run": "run-1", "at": EARLIER}

    outcomes = await activities.run(batch)

    assert served == [0, 1, 3]
    assert outcomes[0] == {"ok": 0}
    assert outcomes[3] == {"ok": 3}
    assert outcomes[2]["error"] == {
        "type": "CancelledError",
        "message": "it was asked to stop before it began",
        "retryable": False,
    }


async def test_a_module_that_computes_is_stopped():
    data, blobs = guests.build(guests.SPIN), MemoryBlobStore()
    definition = guests.define(data, limits={"maxExecutionMs": 300_000, "maxMemoryMB": 1024})
    await blobs.put(f"modules/{definition.digest}.wasm", data)
    activities = Activities([], [definition], blobs=blobs)
    first = asyncio.create_task(activities.run(payload("guest")))
    async with asyncio.timeout(30):
        while not activities.stops._running:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(activities.run(payload("guest")))
        await asyncio.sleep(0.1)  # the first one computes, the second waits for its memory

        await activities.stops.ask("run-1")

        for call in (first, second):
            with pytest.raises(CancelledError):
                await call


async def test_many_who_ask_at_once_are_all_in_the_mark(blobs):
    one, other = Activities([], blobs=blobs), Activities([], blobs=blobs)

    await asyncio.gather(
        *(which.stops.ask("run-1", f"run-1/S/{n}") for n in range(40) for which in (one, other))
    )

    assert set(await marks(blobs)) == {f"run-1/S/{n}" for n in range(40)}


async def test_a_scope_drops_those_it_covers_and_repeats_change_nothing(blobs):
    asking = Activities([], blobs=blobs).stops

    for scope, at in [
        ("r/S/1", 1.0),
        ("r/T", 2.0),
        ("r/S", 3.0),
        ("r/S", 3.0),
        ("r/S/2", 3.0),
        ("r/S/3", 4.0),
    ]:
        await asking.ask("run-1", scope, at)
    assert await marks(blobs) == {"r/T": 2.0, "r/S": 3.0, "r/S/3": 4.0}

    await asking.ask("run-1", "", 5.0)
    assert await marks(blobs) == {"": 5.0}
    await asking.forget("run-1")
    await asking.forget("run-1")
    assert await blobs.head("stopped/run-1") is None


async def test_of_very_many_scopes_the_last_ones_are_kept(blobs):
    asking = Activities([], blobs=blobs).stops

    for n in range(MAX_SCOPES + 3):
        await asking.ask("run-1", f"run-1/S/{n}", float(n))

    assert list(await marks(blobs)) == [f"run-1/S/{n}" for n in range(3, MAX_SCOPES + 3)]


async def test_a_run_that_was_asked_as_a_whole_is_not_asked_once_more(blobs):
    asking = Activities([], blobs=blobs).stops

    await asking.ask("run-1", "run-1/S", 1.0)
    await asking.ask_once("run-1", "", 2.0)
    await asking.ask_once("run-1", "", 3.0)
    await asking.ask_once("run-1", "run-1/T", 3.0)
    for n in range(MAX_SCOPES):
        await asking.ask("run-1", f"run-1/S/{n}", 4.0 + n)
    await asking.ask_once("run-1", "", 1_000.0)

    assert (await marks(blobs))[""] == 2.0


async def test_marks_of_runs_that_were_asked_long_ago_are_deleted(blobs):
    asking, now = Activities([], blobs=blobs).stops, time.time()
    old, young = [f"run-{n}" for n in range(20)], [f"run-{n}" for n in range(20, 40)]

    for run in old:
        await asking.ask(run, at=now - 2 * stops.KEPT)
    for run in young:
        await asking.ask(run)

    kept = {name.removeprefix("stopped/") for name in await blobs.list("stopped/")}
    assert kept == set(young)


async def test_an_activitys_own_timeout_is_its_own(blobs):
    @activity("late")
    async def late(_):
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await Activities([late], blobs=blobs).run(payload("late"))


async def test_what_undoes_things_is_never_asked_to_stop_whatever_the_clocks_say(waiting, blobs):
    activities = Activities([waiting.function], blobs=blobs)
    await activities.stops.ask("run-1", at=time.time() + 60)

    undoing = await begun(waiting, activities, at=time.time(), key="run-1/S/!undo", value="undoing")
    await activities.stops.ask("run-1", at=time.time() + 90)
    await asyncio.sleep(0.05)

    assert not undoing.done()
    undoing.cancel()
