"""What a message and a step ask of Azure's services: requests, request units, operations."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.host import ROOT, Host, host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table
from loom_core.adapters.cosmos import CosmosStateStore
from loom_core.ports.queue import QueueMessage
from loom_core.ports.state import Put
from loom_core.relay import OUTBOX, PAGE
from loom_core.settings import connection
from tests.emulators.services import Azure, azure

QUEUES = ROOT / "benchmarks" / "queues.json"
WIDTH = 20
"""Requests under way at a time."""
BATCH = 100
WAIT = {"prefer": "wait=60"}
READS = {"read", "query", "change_feed"}
"""Of an account with Bounded staleness they cost twice what the server says."""
OPERATIONS = ("send", "receive", "settle", "renew", "schedule")
"""What Service Bus bills."""
QUIET = 1.0
"""Seconds without any request after which all is done."""

type Post = tuple[str, Any]
"""A path, and what is posted there."""
type Work = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Used:
    """What was asked of the services."""

    requests: dict[str, int]
    units: float
    blobs: int
    operations: dict[str, int]


class _Meter:
    def __init__(self, services: Azure, log: Path) -> None:
        self._services, self._log = services, log

    async def of(self, work: Work) -> Used:
        """What is used from the beginning of the work until nobody uses anything any more."""
        await self._quiet(0)
        await self._ask("DELETE")
        blobs = self._blobs()
        await work()
        return await self._quiet(blobs)

    async def _quiet(self, blobs: int) -> Used:
        used = await self._used(blobs)
        while (later := await self._later(blobs)) != used:
            used = later
        return used

    async def _later(self, blobs: int) -> Used:
        await asyncio.sleep(QUIET)
        return await self._used(blobs)

    async def _used(self, blobs: int) -> Used:
        cosmos, queues = await self._ask("GET")
        kinds = {kind: told["requests"] for kind, told in cosmos["kinds"].items()}
        reads = sum(told["charge"] for kind, told in cosmos["kinds"].items() if kind in READS)
        return Used(kinds, cosmos["charge"] + reads, self._blobs() - blobs, queues["operations"])

    async def _ask(self, method: str) -> list[Any]:
        async with aiohttp.ClientSession() as session:
            answers: list[Any] = []
            for service in (self._services.cosmos, self._services.servicebus):
                async with session.request(method, f"{service.door}/_stats") as response:
                    answers.append(await response.json())
        return answers

    def _blobs(self) -> int:
        return self._log.read_text(encoding="utf-8").count("RequestMethod=")


def measure(scale: Scale, folder: Path) -> Table:
    return asyncio.run(_measure(scale, folder))


async def _measure(scale: Scale, folder: Path) -> Table:
    services_at = folder / "services"
    services_at.mkdir()
    log = folder / "azurite.log"
    rows: list[Row] = []
    async with azure(services_at, QUEUES, "--debug", str(log)) as services:
        with host(loom_app(folder / "app"), folder / "data", services.settings) as app:
            meter = _Meter(services, log)
            for text, count, aim, work in _works(app, services, scale):
                await work()  # what is made once, and then kept, counts for nobody
                rows.append(_row(text, await meter.of(work), count, aim))
            rows.append(await _looked_at(services, app, scale.of(1_000)))
    free = ", ".join(row.work for row in rows if not row.figure.median)
    return Table(
        "What Azure's services are asked for",
        "By the host over the test servers, of which that of Cosmos DB estimates request units; reads are "
        "counted twice, as Bounded staleness has it. The durable backend's own requests are not in it. "
        "Floor: one small item created and one replaced, in one batch. "
        f"Not asked for anything: {free or 'none of these'}.",
        tuple(row for row in rows if row.figure.median),
    )


async def _looked_at(services: Azure, app: Host, count: int) -> Row:
    """What the sweep pays for its look at the outboxes, once for each message since the last look."""
    where = connection(services.settings, ["Cosmos"], "accountEndpoint")
    store = CosmosStateStore(where, database="loom", container="state", tenant="main")
    _, cursor = await store.changes(OUTBOX, None, PAGE)
    requests = [("POST", f"/api/actors/Counter/{key}/messages", {"payload": 1}) for key in range(WIDTH)]
    await asyncio.to_thread(app.load, requests, count, WIDTH)
    before = store.charges["changes"][1]
    following = ""
    while following != cursor:
        cursor = following or cursor
        _, following = await store.changes(OUTBOX, cursor, PAGE)
    units = 2 * (store.charges["changes"][1] - before) / count
    floor = await _floor(store)
    await store.aclose()
    work = "the sweep's look at the outbox, a message"
    return Row(work, "RU", Figure(units, units, units), 0.5, {"create and replace": floor})


async def _floor(store: CosmosStateStore) -> Figure:
    (etag,) = await store.write("floor", [Put("head", {"n": 0})])
    before = store.charges["write"][1]
    await store.write("floor", [Put("new", {"n": 1}), Put("head", {"n": 1}, if_match=etag)])
    units = store.charges["write"][1] - before
    return Figure(units, units, units)


def _works(app: Host, services: Azure, scale: Scale) -> list[tuple[str, int, float, Work]]:
    count, items = scale.of(200), max(10, scale.of(1_000))

    def load(bodies: list[Post], number: int, headers: dict[str, str] | None = None) -> Work:
        async def work() -> None:
            requests = [("POST", *body) for body in bodies]
            await asyncio.to_thread(app.load, requests, number, WIDTH, headers)
            await asyncio.to_thread(app.settle)

        return work

    def to(kind: str) -> list[Post]:
        return [(f"/api/actors/{kind}/{key}/messages", {"payload": 1}) for key in range(WIDTH)]

    async def mail() -> None:
        for number in range(count):
            key = f"Counter/{number % WIDTH}"  # fewer than the sessions that are served at a time
            letter = {"actorId": key, "payload": 1}
            name = f"{time.time_ns()}-{number}"
            await services.broker.send("actors", [QueueMessage(body=letter, message_id=name, session_id=key)])

    scattered: Post = ("/api/pipelines/scatter/runs", {"input": {"items": list(range(items))}})
    steps: Post = ("/api/pipelines/three/runs", {"input": {}})
    many: Post = ("/api/actors/Counter/0/messages", [{"payload": 1}] * BATCH)
    return [
        ("a message, one a request", count, 17, load(to("Counter"), count)),
        ("a message with an id of its sender's", count, 25, _with_ids(load, count)),
        ("a message, and its answer (`Prefer: wait`)", count, 17, load(to("Counter"), count, WAIT)),
        (f"a message, {BATCH} a request to one actor", 10 * BATCH, 1, load([many], 10)),
        ("a message that an actor passes on to another", count, 34, load(to("Spreader"), count)),
        ("a message that an actor passes on to a queue", count, 34, load(to("Clerk"), count)),
        ("a message from the queue `actors`", count, 26, mail),
        ("a turn with one activity", count, 34, load(to("Planner"), count)),
        ("a run of three steps", count, 0.5, load([steps], count, WAIT)),
        (f"an item of a scatter of {items:,}", items, 0.1, load([scattered], 1, WAIT)),
    ]


def _with_ids(load: Callable[..., Work], count: int) -> Work:
    async def work() -> None:
        began = time.time_ns()
        bodies = [
            (f"/api/actors/Counter/{n % WIDTH}/messages", {"messageId": f"{began}-{n}", "payload": 1})
            for n in range(count)
        ]
        await load(bodies, count)()

    return work


def _row(text: str, used: Used, count: int, aim: float) -> Row:
    each = {kind: number / count for kind, number in used.requests.items() if kind != "account"}
    parts = [f"{_short(number)} {kind}" for kind, number in sorted(each.items()) if number >= 0.005]
    queue = {kind: number / count for kind, number in used.operations.items()}
    parts += [f"Service Bus: {_short(n)} {kind}" for kind, n in sorted(queue.items()) if kind in OPERATIONS]
    if used.blobs:
        parts.append(f"Blob Storage: {_short(used.blobs / count)}")
    units = used.units / count
    return Row(text, "RU", Figure(units, units, units), aim, note=", ".join(parts))


def _short(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
