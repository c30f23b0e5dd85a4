"""Actors over a hub that notes what it is told, and plays the entities from what a test has put in."""

from pydantic import BaseModel

from loom_core.actors.actor import Actor
from loom_core.adapters.memory import MemoryStateStore
from loom_core.clients.actors import Actors
from loom_core.durable.hub import Instance
from loom_core.errors import ConflictError, InvalidError, UnavailableError
from loom_core.journals.dead_letters import DeadLetters


class Counter(Actor):
    name = "Counter"

    class Message(BaseModel):
        amount: int
        notes: list[str] = []


class Echo(Actor):
    name = "Echo"


class MemoryHub:
    def __init__(self):
        self.signals, self.scheduled, self.held, self.broken = [], {}, {}, set()
        self.refused, self.failed = 0, set()
        self.answers = None

    async def signal(self, entity, operation, given):
        if entity in self.broken:
            self.refused += 1
            raise UnavailableError("the durable backend answered UNAVAILABLE")
        self.signals.append((entity, operation, given))

    async def schedule(self, instance, call, *, replace_failed=False, name=""):
        if instance in self.scheduled and not (replace_failed and instance in self.failed):
            raise ConflictError("there is a run of this id already")
        self.scheduled[instance] = call
        self.failed.discard(instance)

    async def wait(self, instance, seconds):
        """`answers` makes the outcome of a call; without it nothing ever ends."""
        if self.answers is None:
            return None
        if instance in self.failed:
            return Instance(instance, "failed", None, None, None, None, None, {"message": "it broke"})
        output, error = self.answers(self.scheduled[instance])
        return Instance(instance, "failed" if error else "completed", None, None, None, output, None, error)

    async def entity(self, entity):
        return self.held.get(entity)

    async def entities(self, prefix, limit, after):
        if after not in {None, "1"}:
            raise InvalidError("that is no token")
        names = sorted(f"@{kind.lower()}@{id_}" for kind, id_ in (one.split("/") for one in self.held))
        found = [name for name in names if name.startswith(prefix)][int(after or 0) :]
        return found[:limit], "1" if len(found) > limit else None


class MemoryJournals:
    def __init__(self):
        self.written, self.ids = [], {}

    async def seen(self, actor, ids):
        return {id_ for id_ in ids if (actor, id_) in self.ids}

    async def load(self, actor, kept, seq, tail=()):
        return kept["inline"]

    async def entries(self, actor, after, limit, upto):
        found = [entry for entry in self.written if after < entry["seq"] <= upto]
        return found[:limit], found[limit - 1]["seq"] if len(found) > limit else None

    async def state_at(self, actor, seq, upto):
        if not 0 <= seq <= upto:
            raise InvalidError(f"the journal has entries 1 to {upto}, not {seq}")
        return {"total": seq}

    async def export(self, actor, upto):
        for entry in self.written[:upto]:
            yield b'{"seq": %d}\n' % entry["seq"]


class World:
    """What a test looks at and sets."""

    def __init__(self):
        self.hub, self.journals, self.store = MemoryHub(), MemoryJournals(), MemoryStateStore()
        self.dead = DeadLetters(self.store)
        self.actors = Actors(self.hub, {"counter": Counter, "echo": Echo}, self.journals, self.dead)

    def has(self, address, state, entries=0):
        """There is an actor with this state and so many entries in its journal."""
        document = {"seq": entries, "base": 1, "created": 0.0, "mailbox": [], "chunks": []}
        self.hub.held[address] = {"document": document, "state": {"inline": state}}
        self.journals.written = [{"seq": n + 1, "type": "event"} for n in range(entries)]

    def delivered(self):
        return [(actor, one) for actor, _, given in self.hub.signals for one in given["messages"]]

    async def bury(self, id_, actor="Echo/a", payload=None, **metadata):
        message = {
            "messageId": id_,
            "actorId": actor,
            "messageType": "activate",
            "correlationId": "c",
            "payload": payload,
            "metadata": {"timestamp": "2027-01-01T00:00:00.000Z", **metadata},
        }
        error = {"type": "ValueError", "message": "no", "retryable": True}
        letter = {"actorId": actor, "message": message, "error": error, "attempts": 3, "source": "actor"}
        return await self.dead.put({**letter, "failedAt": "2027-01-01T00:00:01.000Z"})
