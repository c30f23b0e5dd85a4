"""The ports on SQLite: documents written and read, messages sent."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.measure import Figure, Row, Scale, Table, percentile
from loom_core.adapters.sqlite import SqliteStateStore
from loom_core.ports.queue import QueueMessage
from loom_core.ports.state import Operation, Put
from loom_local.broker import Broker
from loom_local.host.lent_queue import LentQueue
from loom_local.sidecar.service import Sidecar

WRITERS = 500
HEAD = {"seq": 1, "status": "idle", "updatedAt": "2026-01-01T00:00:00Z"}
ENTRY = {"first": 1, "last": 1, "entries": [{"seq": 1, "type": "event", "at": "2026-01-01T00:00:00Z"}]}


def measure(scale: Scale, folder: Path) -> Table:
    count = scale.of(20_000)
    ours = [asyncio.run(_documents(folder / f"{n}.db", count)) for n in scale.rounds]
    bare = [_bare(folder / f"bare-{n}.db", count) for n in scale.rounds]
    reads = [asyncio.run(_reads(folder / f"reads-{n}.db", scale.of(500))) for n in scale.rounds]
    single = [asyncio.run(_messages(folder / f"one-{n}.db", scale.of(10_000), 1)) for n in scale.rounds]
    many = [asyncio.run(_messages(folder / f"many-{n}.db", scale.of(20_000), 100)) for n in scale.rounds]
    floor = {"the same rows in bare sqlite3": Figure.of(bare)}
    return Table(
        "Stores and queues",
        f"A batch writes two small documents, one of them if there is none yet; {WRITERS} writers, each with "
        f"a partition of its own. Floor: {WRITERS} such batches a synced transaction, by two `executemany`.",
        (
            Row("batches of two documents", "/s", Figure.of(ours), 5_000, floor),
            Row("a read behind 16 writers, median", "ms", Figure.of(percentile(r, 50) for r in reads)),
            Row("a read behind 16 writers, 99 %", "ms", Figure.of(percentile(r, 99) for r in reads)),
            Row("messages sent one at a time by 100 senders", "/s", Figure.of(single)),
            Row("messages sent 100 at a time by 100 senders", "/s", Figure.of(many)),
        ),
    )


def _batch(n: int) -> list[Operation]:
    return [Put("head", HEAD), Put(f"j:{n:020}", ENTRY, if_absent=True)]


async def _side_by_side(workers: int, count: int, work: Callable[[int, int], Awaitable[Any]]) -> float:
    """Have `workers` do `count` in all; give how many a second."""
    each = -(-count // workers)

    async def worker(number: int) -> None:
        for n in range(each):
            await work(number, n)

    began = time.perf_counter()
    await asyncio.gather(*map(worker, range(workers)))
    return workers * each / (time.perf_counter() - began)


async def _documents(path: Path, count: int) -> float:
    store = SqliteStateStore(path)
    await store.read("p", "x")  # opens the file
    speed = await _side_by_side(
        min(WRITERS, count), count, lambda worker, n: store.write(f"actors/A/{worker}", _batch(n))
    )
    await store.aclose()
    return speed


def _bare(path: Path, count: int) -> float:
    head, entry = json.dumps(HEAD), json.dumps(ENTRY)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        columns = "partition TEXT, id TEXT, body TEXT, etag TEXT, PRIMARY KEY (partition, id)"
        file.execute(f"CREATE TABLE documents ({columns})")
        began = time.perf_counter()
        for start in range(0, count, WRITERS):
            writers = range(min(WRITERS, count - start))
            heads = [(f"actors/A/{writer}", "head", head, "0" * 32) for writer in writers]
            entries = [(f"actors/A/{writer}", f"j:{start:020}", entry, "0" * 32) for writer in writers]
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", heads)
            file.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?)", entries)
            file.execute("COMMIT")
        return count / (time.perf_counter() - began)


async def _reads(path: Path, count: int) -> list[float]:
    """Milliseconds of each read, one after the other, while 16 write without a pause."""
    store = SqliteStateStore(path)
    await store.write("p", _batch(0))
    stopped = asyncio.Event()

    async def write(worker: int) -> None:
        n = 0
        while not stopped.is_set():
            await store.write(f"q{worker}", _batch(n := n + 1))

    writers = [asyncio.create_task(write(worker)) for worker in range(16)]
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await store.read("p", "head")
        times.append((time.perf_counter() - began) * 1e3)
    stopped.set()
    await asyncio.gather(*writers)
    await store.aclose()
    return times


async def _messages(path: Path, count: int, at_once: int) -> float:
    """From the app's loop to the broker on the engine's, as in the host; one session a sender."""
    worker: Any = SimpleNamespace(run_orchestrator=None, run_activity=None, run_entity=None)  # no work
    sidecar = Sidecar(path, worker)
    await sidecar.start()
    queue = LentQueue(Broker(sidecar.database), sidecar.from_any_loop)

    async def send(sender: int, n: int) -> None:
        ids = (f"{sender}:{n}:{i}" for i in range(at_once))
        session = f"{sender}"
        await queue.send("work", [QueueMessage(body=HEAD, message_id=i, session_id=session) for i in ids])

    speed = at_once * await _side_by_side(100, max(1, count // at_once), send)
    await sidecar.stop(0)
    return speed
