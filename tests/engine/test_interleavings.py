"""Random work on a disk of random speed, copied at a random moment as a crash would leave it."""

import asyncio
import contextlib
import json
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest
from durabletask import entities, task

from loom_local.engine.engine import Engine
from loom_local.engine.operations import Operations, WrongStateError
from loom_local.engine.worker import EngineLimits
from tests.engine.bare import bare, left_by_a_crash
from tests.engine.sdk import App, until

SMALL = EngineLimits(
    loaded_instances=2, loaded_entities=1, entity_batch=3, orchestrations=3, entities=2, activities=3
)
KEYS = "abc"


class Ledger(entities.DurableEntity):
    def note(self, entry):
        self.set_state([*(self.get_state(list) or []), entry])
        return entry

    def size(self):
        return len(self.get_state(list) or [])


def ledger(key: str) -> entities.EntityInstanceId:
    return entities.EntityInstanceId("ledger", key)


def application() -> App:
    app = App()
    app.entities["ledger"] = Ledger

    @app.activity
    async def echo(value):
        await asyncio.sleep(0)
        return value

    @app.orchestrator
    def leaf(context, value):
        yield context.create_timer(timedelta(milliseconds=1))
        return value

    @app.orchestrator
    def tree(context, run):
        numbers = yield task.when_all([context.call_activity("echo", input=n) for n in range(3)])
        numbers += yield task.when_all([context.call_sub_orchestrator("leaf", input=n) for n in range(2)])
        return sum(numbers)

    @app.orchestrator
    def locked(context, run):
        with (yield context.lock_entities([ledger(key) for key in KEYS])):
            sizes = []
            for key in KEYS:
                before = yield context.call_entity(ledger(key), "size")
                yield context.call_entity(ledger(key), "note", f"{run}-{key}")
                sizes.append((yield context.call_entity(ledger(key), "size")) - before)
        return sum(sizes)

    @app.orchestrator
    def rounds(context, round_):
        yield task.when_any([context.call_activity("echo"), context.create_timer(timedelta(days=1))])
        if (round_ or 0) < 3:
            context.continue_as_new((round_ or 0) + 1)
            return None
        return round_

    @app.orchestrator
    def event(context, run):
        race = [context.wait_for_external_event("go"), context.create_timer(timedelta(days=1))]
        return (yield task.when_any(race)).get_result()

    return app


OUTPUTS = {"tree": "4", "locked": "3", "rounds": "3", "event": '"went"'}


class Client:
    """Does things at random, and keeps what was acknowledged."""

    def __init__(self, operations: Operations, chance: random.Random) -> None:
        self.operations = operations
        self.chance = chance
        self.noted: list[tuple[str, str]] = []
        self.runs: dict[str, str] = {}
        self.raised: set[str] = set()

    async def sender(self, name: str) -> None:
        for n in range(8):
            key, entry = self.chance.choice(KEYS), f"{name}{n}"
            at = time.time() + 0.002 if self.chance.random() < 0.1 else None
            if at is not None:
                entry = f"late {entry}"
            await self.operations.signal(f"@ledger@{key}", "note", f'"{entry}"', "", at)
            self.noted.append((key, entry))
            await asyncio.sleep(self.chance.random() / 500)

    async def starter(self, name: str) -> None:
        for n in range(5):
            run, kind = f"{name}{n}", self.chance.choice(list(OUTPUTS))
            encoded = None if kind == "rounds" else f'"{run}"'
            at = time.time() + 0.003 if self.chance.random() < 0.3 else None
            await self.operations.start(run, kind, encoded, None, tags={}, at=at)
            self.runs[run] = kind
            if kind == "event":
                await self.operations.raise_event(run, "go", '"went"')
                self.raised.add(run)
            await asyncio.sleep(self.chance.random() / 500)

    async def gives_up(self, engine: Engine) -> None:
        for _ in range(20):
            run = self.chance.choice([*self.runs, "r0", "s0"])
            waiting = asyncio.create_task(engine.queries.instance(run, with_input=False))
            await asyncio.sleep(self.chance.random() / 1000)
            waiting.cancel()

    def acknowledged(self) -> "Client":
        copy = Client(self.operations, self.chance)
        copy.noted, copy.runs, copy.raised = list(self.noted), dict(self.runs), set(self.raised)
        return copy

    async def check(self, engine: Engine, operations: Operations) -> None:
        """Whatever was acknowledged happens, once, in its order; and nothing is left over."""
        for run, kind in self.runs.items():
            if kind == "event" and run not in self.raised:
                with contextlib.suppress(WrongStateError):  # it was raised, but that not acknowledged
                    await operations.raise_event(run, "go", '"went"')
            async with asyncio.timeout(10):
                seen = await engine.queries.wait(run, lambda i: i.terminal, with_input=False)
            assert (run, kind, seen.instance.output) == (run, kind, OUTPUTS[kind])
        await until(lambda: self._still(engine))
        entries = {key: self._entries(engine, key) for key in KEYS}
        for noted in entries.values():
            assert len(noted) == len(set(noted))
            for name in "xyz":
                sent = [entry for entry in noted if entry.startswith(name)]
                assert sent == sorted(sent)
        for key, entry in self.noted:
            assert entry in entries[key]
        for run, kind in self.runs.items():
            assert kind != "locked" or all(f"{run}-{key}" in entries[key] for key in KEYS)
        live = engine.database.reader().execute("SELECT COUNT(*) FROM instances WHERE status = 0").fetchone()
        assert len(engine.timers) <= live[0]  # events that nobody was told he could raise
        assert engine.locks.parents() == []
        assert dict(engine.outstanding) == {}

    @staticmethod
    def _entries(engine: Engine, key: str) -> list[str]:
        row = engine.queries.entity(f"@ledger@{key}")
        return json.loads(row.state) if row else []

    def _still(self, engine: Engine) -> bool:
        """Whether only events are awaited that nobody has raised."""
        reader = engine.database.reader()
        waiting = reader.execute(
            "SELECT COUNT(*) FROM instances WHERE status NOT IN (1, 3, 5) AND name != 'event'"
        ).fetchone()
        left = reader.execute("SELECT COUNT(*) FROM inbox WHERE visible_at IS NULL").fetchone()
        return waiting == left == (0,)


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_acknowledged_happens_once_and_in_order_whenever_the_process_ends(
    path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    async with bare(application(), path, limits=SMALL) as (engine, operations):
        commit = engine.database._commit

        def at_some_speed(submissions):
            time.sleep(chance.choice([0, 0, 0.001, 0.004]))
            return commit(submissions)

        engine.database._commit = at_some_speed
        client = Client(operations, chance)
        work = asyncio.gather(
            *(client.sender(name) for name in "xyz"),
            *(client.starter(name) for name in "rs"),
            client.gives_up(engine),
        )
        await asyncio.sleep(chance.random() / 20)
        acknowledged, crashed = client.acknowledged(), left_by_a_crash(path)
        await work
        await client.check(engine, operations)

    async with bare(application(), crashed, limits=SMALL) as (engine, operations):
        await acknowledged.check(engine, operations)
