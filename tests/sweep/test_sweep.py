"""What ended more than a day ago is forgotten, by one host at a time."""

from datetime import UTC, datetime
from types import SimpleNamespace

from loom_core.actors.actor import Actor
from loom_core.actors.entity import Entity, World
from loom_core.adapters.memory import MemoryLockManager
from loom_core.errors import UnavailableError
from loom_core.journals.turns import TurnStates
from loom_core.sweep import KEPT, PAGE, PREFIXES, mend, sweep
from loom_core.testing import Stage

NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def state_at(actor, seq, upto):
    if seq == 0:
        raise UnavailableError("the store is out")
    return {"actor": actor, "at": [seq, upto]}


STATES = TurnStates(state_at)


class Hub:
    def __init__(self, *ids):
        self.ids, self.asked = list(ids), set()
        self.broken, self.signals = [], []

    async def page(self, prefix, statuses, limit, after):
        assert (prefix, statuses) == ("turn-", ["failed", "cancelled"])
        return self.broken, None

    async def signal(self, entity, operation, given):
        self.signals.append((entity, operation, given))

    async def ended(self, prefix, before, limit):
        self.asked.add(before)
        return [id_ for id_ in self.ids if id_.startswith(prefix)][:limit]

    async def purge(self, instance):
        self.ids.remove(instance)


async def test_all_that_ended_is_forgotten_but_runs_are_not():
    hub = Hub(*(f"{prefix}{n}" for prefix in PREFIXES for n in range(PAGE + 1)), "run-1")

    assert await sweep(hub, MemoryLockManager(), STATES, NOW) == 3 * (PAGE + 1)

    assert hub.ids == ["run-1"]
    assert hub.asked == {NOW - KEPT}


async def test_one_host_sweeps_at_a_time_and_the_next_one_after_it():
    hub, locks = Hub("ask-1"), MemoryLockManager()
    held = await locks.acquire("sweep", 60)
    assert await sweep(hub, locks, STATES, NOW) == 0
    await locks.release(held)

    assert await sweep(hub, locks, STATES, NOW) == 1


async def test_a_turn_whose_orchestration_broke_is_told_to_its_actor_whose_message_is_tried_again():
    stage = Stage(Clerk, activities={"moody": lambda given: given})
    stage.send("Clerk/a", "go")
    stage.run()
    given = next(e for e in stage.journal("Clerk/a") if e["type"] == "turn_started")
    hub = Hub("turn-x")
    payload = {"actor": "Clerk/a", "turn": given["turnId"], "state": {}}
    hub.broken = [
        SimpleNamespace(
            id="turn-x", input={"payload": payload}, error={"type": "E", "message": "code changed"}
        )
    ]

    assert await mend(hub, STATES) == 1

    [(actor, operation, told)] = hub.signals
    assert (actor, operation, hub.ids) == ("Clerk/a", "turn", [])
    entity = Entity(World({"clerk": Clerk}, None, None, None), "Clerk/a", a_turn(given["turnId"]), {}, 1.0)
    await entity.operate(operation, told)
    assert (entity.document["current"]["turn"], entity.document["current"]["attempts"]) == (None, 1)
    assert "code changed" in entity.document["current"]["error"]["message"]


async def test_a_broken_turn_over_a_large_state_is_undone_to_what_the_journal_says_it_began_with():
    hub = Hub("turn-1", "turn-2")
    for turn, at in (("turn-1", 0), ("turn-2", 7)):
        payload = {"actor": "Clerk/a", "turn": turn, "at": at, "size": 40_000}
        hub.broken.append(SimpleNamespace(id=turn, input={"payload": payload}, error=None))

    assert await mend(hub, TurnStates(state_at)) == 2

    [(actor, operation, told)] = hub.signals
    assert (actor, operation, told["turn"]) == ("Clerk/a", "turn", "turn-2")
    assert told["before"] == {"actor": "Clerk/a", "at": [7, 7]}
    assert hub.ids == ["turn-1"]  # the other one waits for the store


def a_turn(turn):
    one = {"messageId": "m", "actorId": "Clerk/a", "correlationId": "m", "payload": 1, "metadata": {}}
    current = {"message": one, "attempts": 0, "due": 0.0, "sent": [], "done": {}, "turn": turn, "told": []}
    return {"seq": 5, "base": 1, "created": 0.0, "current": current | {"waits": [], "handed": {}}}


class Clerk(Actor):
    def execute(self, message):
        yield self.wait_for_event("approval")
