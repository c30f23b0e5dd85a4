"""Actors in memory: real entities, kept as JSON text between batches, as the durable backend keeps them."""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, Protocol

from loom_core.actors.actor import Actor
from loom_core.actors.entity import UNKNOWN, Entity, World
from loom_core.actors.turn import turn
from loom_core.errors import InvalidError, LoomError, UnavailableError
from loom_core.outbox import ACTIVITY, flush
from loom_core.patches import apply
from loom_core.testing.executions import Done, Factory, Failed, failure
from loom_core.wire.commands import CallEntity
from loom_core.wire.json import Json, canonical, dump
from loom_core.wire.messages import QUEUE, split

CHANCE: Final = 0.25
"""How likely what may go wrong does."""
PAUSE: Final = 1.0

type Entry = dict[str, Any]


@dataclass(slots=True)
class Kept:
    """What there is of one actor between two batches: `document` and `state` are JSON."""

    document: str = "null"
    state: str = "null"
    """As the journal leaves it."""
    late: dict[str, list[Any]] = field(default_factory=lambda: {"entries": [], "outbox": [], "published": []})
    """What could not be written to the journal."""
    journal: list[Entry] = field(default_factory=list[Entry])
    outbox: dict[int, Any] = field(default_factory=dict[int, Any])
    chunks: dict[int, str] = field(default_factory=dict[int, str])
    calls: deque[tuple[CallEntity, Done]] = field(default_factory=deque[tuple[CallEntity, Done]])

    @property
    def entries(self) -> list[Entry]:
        return [*self.journal, *self.late["entries"]]

    def load(self) -> Json:
        return replayed(json.loads(self.state), self.late["entries"])


class Theatre(Protocol):
    """What a cast needs of its bench."""

    @property
    def now(self) -> float: ...
    def after(self, seconds: float, happen: Callable[[], Any]) -> None: ...
    def begin(self, program: Factory, payload: Any, ended: Done, *, instance: str) -> None: ...


class Cast:
    """All actors of a bench. `dead` are their dead letters, `queues` what queues got from them, by id."""

    def __init__(
        self, types: Iterable[type[Actor]], bench: Theatre, random: Random, *, crashes: bool, outages: bool
    ) -> None:
        self.types: Mapping[str, type[Actor]] = {kind.name.lower(): kind for kind in types}
        self.kept: defaultdict[str, Kept] = defaultdict(Kept)
        self.dead: dict[tuple[str, str], Any] = {}
        self.queues: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self.activities = {ACTIVITY: self._flush}
        turns = partial(turn, self.types, lambda id_: self.state_at(*self._begun[id_]))
        self._programs: Mapping[str, Factory] = {"actor_turn": turns, "flush": flush}
        self._begun: dict[str, tuple[str, int]] = {}
        """Where the states of turns are that are too large to go along: of which actor, and when."""
        self._bench, self._random, self._crashes, self._outages = bench, random, crashes, outages
        self._world = World(
            types=self.types, resolve=self._resolve, chunk=self._chunk, state_at=self._state_at
        )

    def known(self, target: str) -> str:
        """The address, its type as it is spelt. Raises InvalidError."""
        kind, id_ = split(target)
        if kind.lower() not in self.types:
            raise InvalidError(f"there is no actor type {kind!r} on this stage")
        return f"{self.types[kind.lower()].name}/{id_}"

    def call(self, command: CallEntity, done: Done, delay: float = 0.0) -> None:
        """Have an operation done, in a batch with others that wait then."""
        try:
            to, taken = self.known(f"{command.type}/{command.id}"), json.loads(dump(command.input))
        except (LoomError, TypeError, ValueError) as error:
            failed = Failed(InvalidError(str(error)))
            return self._bench.after(0, partial(done, failure(f"{command.type}/{command.id}", failed)))
        call = CallEntity(*split(to), command.operation, taken)
        if delay > 0:
            return self._bench.after(delay, partial(self._enqueue, to, call, done))
        return self._enqueue(to, call, done)

    def _enqueue(self, address: str, call: CallEntity, done: Done) -> None:
        self.kept[address].calls.append((call, done))
        self._bench.after(0, partial(self._serve, address))

    def _serve(self, address: str) -> None:
        """Run a batch, and commit it unless the process dies."""
        kept = self.kept[address]
        if not kept.calls:
            return
        is_closed = kept.document != "null" and self._fails()
        state = UNKNOWN if is_closed else kept.load()
        document = json.loads(kept.document)
        entity = Entity(self._world, address, document, state, self._bench.now)
        outcomes = [self._operate(entity, call) for call, _ in kept.calls]
        entity.finish()
        if not is_closed:
            _check(entity, replayed(kept.load(), entity.changes.entries))
        if self._crashes and self._random.random() < CHANCE:
            self._bench.after(self._random.choice((0, PAUSE)), partial(self._serve, address))
            return
        self._commit(kept, entity)
        calls, kept.calls = kept.calls, deque()
        for to, operation, given, due in entity.changes.signals:
            signal = CallEntity(*split(to), operation, given)
            self.call(signal, _unheard, 0.0 if due is None else due - self._bench.now)
        for name, instance, given in entity.changes.starts:
            begun: Any = given
            if "at" in begun:
                self._begun[instance] = begun["actor"], begun["at"]
            self._bench.begin(self._programs[name], given, _heard, instance=instance)
        for (call, done), outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Failed) and isinstance(outcome.error, UnavailableError):
                self._bench.after(PAUSE, partial(self._enqueue, address, call, done))
            else:
                self._bench.after(0, partial(done, failure(address, outcome)))

    def _operate(self, entity: Entity, call: CallEntity) -> Any:
        try:
            return json.loads(dump(_ended(entity.operate(call.operation, json.loads(dump(call.input))))))
        except LoomError as error:
            return Failed(error)

    def _commit(self, kept: Kept, entity: Entity) -> None:
        # Through JSON, as in the store: nobody shares an object with what is kept.
        new: Any = json.loads(dump({name: getattr(entity.changes, name) for name in kept.late}))
        kept.late = {name: [*late, *new[name]] for name, late in kept.late.items()}
        put, deleted = entity.mailbox.chunks_put, entity.mailbox.chunks_deleted
        if put or deleted or any(kept.late.values()):
            if entity.closed or self._fails():
                entity.keep()
            else:
                kept.journal += kept.late["entries"]
                kept.outbox |= dict(kept.late["outbox"])
                kept.outbox = {n: m for n, m in kept.outbox.items() if n not in kept.late["published"]}
                kept.late = {name: [] for name in kept.late}
                kept.state = dump(entity.state)
                kept.chunks |= {number: dump(chunk) for number, chunk in put.items()}
                for number in deleted:
                    del kept.chunks[number]
                entity.document["base"] += 1
        kept.document = dump(entity.document)

    def _fails(self) -> bool:
        return self._outages and self._random.random() < CHANCE

    async def _resolve(self, value: Json) -> Json:
        return value

    async def _chunk(self, actor: str, number: int) -> list[Any]:
        if self._fails():
            raise UnavailableError("the store is out")
        return json.loads(self.kept[actor].chunks[number])

    async def _state_at(self, actor: str, seq: int, upto: int) -> Json:
        if self._fails():
            raise UnavailableError("the store is out")
        if not 0 <= seq <= upto:
            raise InvalidError(f"{actor} has entries 1 to {upto}, and none {seq}")
        return self.state_at(actor, seq)

    def state_at(self, actor: str, seq: int) -> Json:
        """The state after this entry, from the beginning."""
        return replayed(None, self.kept[actor].entries[:seq])

    def _flush(self, given: Any) -> Json:
        if self._fails():
            raise UnavailableError("the store is out")
        for letter in given.get("bury", ()):
            found = {"actorId": given["actor"], "source": "actor", **letter}
            self.dead[given["actor"], letter["message"]["messageId"]] = found
        published = [seq for seq in self.kept[given["actor"]].outbox if seq <= given.get("publish", 0)]
        for seq in published:
            one = self.kept[given["actor"]].outbox[seq]
            self.queues[one["actorId"].removeprefix(QUEUE)].setdefault(one["messageId"], one)
        return published


def replayed(state: Json, entries: Iterable[Entry]) -> Json:
    for entry in entries:
        if entry["type"] == "state_patches":
            state = apply(state, entry["patches"])
    return state


def _check(entity: Entity, journaled: Json) -> None:
    if canonical(journaled) != canonical(entity.state):
        raise AssertionError(f"{entity.address} changed its state, but not with update_state")


def _ended(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing, since all is in memory."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("an entity in memory waits for nothing")


def _unheard(_outcome: Any) -> None:
    """Nobody waits for what a signal comes to."""


def _heard(outcome: Any) -> None:
    if isinstance(outcome, Failed):
        raise outcome.error
