"""Batches of operations over a store that fails, and over callers that err: nothing that came is lost."""

import base64
import json
import time
from types import SimpleNamespace

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest

from loom_core import Actor
from loom_core.actors.entity import World
from loom_core.adapters.memory import MemoryBlobStore, MemoryStateStore
from loom_core.durable.entities import Entities
from loom_core.errors import UnavailableError
from loom_core.journals.store import Journals
from loom_core.journals.turns import TurnStates
from loom_core.wire.messages import message
from tests.faults import Faults


class Counter(Actor):
    def default_state(self):
        return {"total": 0}

    def execute(self, message):
        self.update_state(lambda state: state.update(total=state["total"] + message))
        return self.state["total"]


@pytest.fixture
def world():
    faults, given = Faults.none(), SimpleNamespace(refer=None)

    async def refer(value):
        if given.refer:
            raise given.refer
        return value

    async def resolve(value):
        return value

    given.state, given.faults = "", faults
    given.journals = Journals(faults.wrap(MemoryStateStore()), MemoryBlobStore(), resolve, resolve)
    world = World({"counter": Counter}, resolve, given.journals.chunk, given.journals.state_at)
    given.entities = Entities(world, given.journals, TurnStates(given.journals.state_at), refer)
    return given


async def serve(world, *operations):
    request = pb.EntityBatchRequest(instanceId="@counter@a")
    if world.state:
        request.entityState.value = world.state
    for name, given in operations:
        text = given if isinstance(given, str) else json.dumps(given)
        request.operations.add(operation=name).input.value = text
    answer = await world.entities.serve(base64.b64encode(request.SerializeToString()).decode())
    result = pb.EntityBatchResult.FromString(base64.b64decode(answer))
    world.state = result.entityState.value
    return result


def told(id_, payload=1):
    return "deliver", {"messages": [message("Counter/a", payload, id_, "2027-01-01T00:00:00Z")]}


async def total(world):
    held = json.loads(world.state)
    late = held.get("late", {}).get("entries", [])
    return await world.journals.load("Counter/a", held["state"], held["document"]["seq"], late)


@pytest.mark.parametrize("kind", ["before", "lost", "conflict"])
async def test_a_write_that_fails_in_any_way_loses_no_message(world, kind):
    await serve(world, told("first"))
    world.faults.next(kind, "write")
    if kind == "conflict":
        world.faults.next(kind, "write")  # the first is known to happen when another process was at work

    result = await serve(world, told("second"))

    assert not result.results[0].HasField("failure")
    assert "late" in json.loads(world.state)
    await serve(world, told("third"))
    assert "late" not in json.loads(world.state)
    assert await total(world) == {"total": 3}


async def test_what_nobody_can_run_fails_alone(world):
    result = await serve(
        world, told("first"), ("deliver", "{"), ("deliver", '"what?"'), ("turn", None), told("second")
    )

    assert [one.HasField("failure") for one in result.results] == [False, True, True, True, False]
    assert await total(world) == {"total": 2}


async def test_an_answer_that_cannot_be_stored_elsewhere_is_answered_whole(world):
    world.refer = UnavailableError("no blobs")

    result = await serve(world, told("first"))

    assert json.loads(result.results[0].success.result.value)[0]["result"] == 1


async def test_an_outage_has_an_actor_wake_once_however_much_comes(world):
    wakes = 0
    for number in range(20):
        world.faults.next("before", "write")
        result = await serve(world, told(f"m{number}"))
        wakes += sum(action.sendSignal.name == "wake" for action in result.actions)

    assert wakes == 1


async def test_an_actor_that_wakes_during_an_outage_wakes_again(world):
    world.faults.next("before", "write")
    await serve(world, told("first"))
    world.faults.next("before", "write")

    result = await serve(world, ("wake", {}))

    [wake] = [action.sendSignal for action in result.actions]
    assert wake.name == "wake"
    assert wake.scheduledTime.seconds > time.time()
