"""An engine on the test's own loop, with a disk that waits when told to: every interleaving can be had."""

import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from loom_local.database import Database
from loom_local.engine.engine import Engine
from loom_local.engine.operations import Operations
from loom_local.engine.slots import stop_process
from loom_local.engine.worker import EngineLimits, Worker


@asynccontextmanager
async def bare(
    app: Worker,
    path: Path,
    *,
    limits: EngineLimits | None = None,
    clock: Callable[[], float] = time.time,
    grace: float = 2.0,
    on_defect: Callable[[BaseException], None] = stop_process,
) -> AsyncGenerator[tuple[Engine, Operations]]:
    database = Database.open(path, durable=False)
    engine = Engine(database, app, limits, clock, on_defect)
    await engine.start()
    try:
        yield engine, Operations(engine)
    finally:
        await engine.stop(grace)
        database.close()


@contextmanager
def slow_disk(database: Database) -> Generator[threading.Event]:
    """No commit ends before the event is set; leaving sets it."""
    ready = threading.Event()
    commit = database._commit

    def when_ready(submissions):
        assert ready.wait(10)
        return commit(submissions)

    database._commit = when_ready
    try:
        yield ready
    finally:
        ready.set()
        database._commit = commit


def left_by_a_crash(path: Path) -> Path:
    """A copy of the file as a process that ended just now would leave it."""
    copy = path.with_stem(f"{path.stem}-crashed")
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


async def start(operations: Operations, name: str, instance_id: str, *, at: float | None = None) -> str:
    return await operations.start(instance_id, name, None, None, tags={}, at=at)
