"""Entity messages inside the engine: from the call to the commit of its effect, without HTTP."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from durabletask.entities import DurableEntity, EntityInstanceId

from benchmarks.floors import group_commit, message_rows
from benchmarks.host import applied, is_waiting, last_change
from benchmarks.hub import SdkWorker, hub, in_flight
from benchmarks.measure import Figure, Row, Scale, Table
from loom_local.engine.protocol import pb, text
from loom_local.sidecar.service import Sidecar

WIDTH = 500
"""Calls under way at a time; a commit of the floor takes as many."""


class Counter(DurableEntity):
    def add(self, amount: int) -> None:
        self.set_state((self.get_state(int) or 0) + amount)


class Spreader(DurableEntity):
    """Passes each message on to one counter of its own."""

    def spread(self, amount: int) -> None:
        key = self.entity_context.entity_id.key
        self.signal_entity(EntityInstanceId("counter", key), "add", amount)


def measure(scale: Scale, folder: Path) -> Table:
    return asyncio.run(_measure(scale, folder))


async def _measure(scale: Scale, folder: Path) -> Table:
    worker = SdkWorker(entities={"counter": Counter, "spreader": Spreader})
    hot, many = scale.of(20_000), scale.of(5_000)
    async with hub(folder / "hub.db", worker) as sidecar:
        hot_rate = [await _burst(sidecar, "counter", "add", hot, 100) for _ in scale.rounds]
        many_rate = [await _burst(sidecar, "counter", "add", many, many) for _ in scale.rounds]
        passed_on = [await _burst(sidecar, "spreader", "spread", hot, 100) for _ in scale.rounds]
        total = applied(sidecar.database.reader())
    sent = len(scale.rounds) * (hot + many + hot)
    if total != sent:
        raise RuntimeError(f"{sent} messages were sent and {total} had an effect")

    def floor(count: int, keys: int) -> dict[str, Figure]:
        seconds = [group_commit(folder / "floor.db", message_rows(count, WIDTH, keys)) for _ in scale.rounds]
        return {"group commit": Figure.of(count / each for each in seconds)}

    return Table(
        "Entity messages inside the engine",
        f"No HTTP and no client: {WIDTH} calls of SignalEntity at a time. Messages count when their "
        "effect is on disk. Floor: SQLite committing the same rows in one thread, with nothing else to do.",
        (
            Row(f"{hot:,} messages to 100 entities", "/s", Figure.of(hot_rate), 8_000, floor(hot, 100)),
            Row(f"{many:,} entities, one message each", "/s", Figure.of(many_rate), 3_000, floor(many, many)),
            Row(
                f"{hot:,} messages, each passed on by its entity to another",
                "/s",
                Figure.of(2 * each for each in passed_on),
                8_000,
                note="both messages count",
            ),
        ),
    )


async def _burst(sidecar: Sidecar, entity: str, operation: str, count: int, keys: int) -> float:
    """Messages a second, until the last has had its effect."""
    began = time.time()

    async def send(n: int) -> None:
        request = pb.SignalEntityRequest(
            instanceId=f"@{entity}@{n % keys}", name=operation, input=text("1"), requestId=str(uuid.uuid4())
        )
        await sidecar.servicer.call("SignalEntity", request)

    def work() -> Iterator[Any]:
        return (send(n) for n in range(count))

    async def drive() -> None:
        await in_flight(WIDTH, work())

    await sidecar.on_engine(drive)()
    while is_waiting(sidecar.database.reader()):  # noqa: ASYNC110 - SQLite has no event for it
        await asyncio.sleep(0.005)
    return count / (last_change(sidecar.database.reader()) - began)
