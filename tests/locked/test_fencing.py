"""Two who believe that they hold one lock never write both."""

import asyncio
import random
import signal
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from loom_core.adapters.memory import MemoryLockManager, MemoryStateStore
from loom_core.adapters.sqlite import SqliteStateStore
from loom_core.errors import ConflictError
from loom_core.ports.state import Fence, Put
from tests.emulators.azurite import serve
from tests.ports.clock import Clock
from tests.ports.cosmos import cosmos_db

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def memory(folder):
    yield MemoryStateStore()


@asynccontextmanager
async def sqlite(folder):
    async with aclosing(SqliteStateStore(folder / "state.db")) as store:
        yield store


@asynccontextmanager
async def cosmos(folder):
    async with cosmos_db() as database, aclosing(database.store()) as store:
        yield store


STORES = {"memory": memory, "sqlite": sqlite, "cosmos": cosmos}


@pytest.fixture(params=STORES)
async def store(request, tmp_path):
    async with STORES[request.param](tmp_path) as store:
        yield store


async def test_who_was_away_past_the_end_of_a_lock_writes_nothing_any_more(store):
    clock = Clock()
    locks = MemoryLockManager(clock)
    away = await locks.acquire("x", 15)
    await store.write("p", [Fence("x", away.token), Put("last", {"by": "away"})])
    await clock.advance(16)
    here = await locks.acquire("x", 15)
    await store.write("p", [Fence("x", here.token), Put("last", {"by": "here"})])

    with pytest.raises(ConflictError):
        await store.write("p", [Fence("x", away.token), Put("last", {"by": "away"})])
    await store.write("p", [Fence("x", here.token), Put("more", {})])

    assert (await store.read("p", "last")).body == {"by": "here"}


@pytest.mark.parametrize("seed", range(5))
async def test_hosts_that_fall_asleep_at_any_moment_lose_no_count(store, seed):
    chance, clock, counted, refused = random.Random(seed), Clock(), 0, 0
    locks = MemoryLockManager(clock)

    async def nap():
        for _ in range(chance.choice([0, 0, 1, 3, 9])):
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            await clock.advance(16)

    async def host():
        nonlocal counted, refused
        while counted < 30 or not refused:
            lock = await locks.acquire("x", 15)
            await nap()
            if lock is None:
                continue
            try:
                await store.write("p", [Fence("x", lock.token)])  # before it reads what it goes by
                await nap()
                held = await store.read("p", "count")
                await nap()
                count = {"n": (held.body["n"] if held else 0) + 1}
                await store.write("p", [Fence("x", lock.token), Put("count", count)])
                counted += 1
            except ConflictError:
                refused += 1
            await locks.release(lock)

    await asyncio.gather(*(host() for _ in range(4)))

    assert (await store.read("p", "count")).body == {"n": counted}


@pytest.fixture
def host(tmp_path):
    """Start tests/locked/paused_host.py on an Azurite of its own; what is started is ended."""
    started = []
    with serve() as azurite:

        def start():
            given = [azurite.connection.connection_string, "hosts", str(tmp_path / "state.db")]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            command = [sys.executable, "-m", "tests.locked.paused_host", *given]
            started.append(subprocess.Popen(command, cwd=ROOT, **pipes))
            return started[-1]

        start.azurite = azurite
        yield start
        for process in started:
            process.kill()
            process.communicate()


def said(process):
    return process.stdout.readline().strip()


def tell(process, name):
    process.stdin.write(f"{name}\n")
    process.stdin.flush()


async def test_a_host_that_is_stopped_past_its_lease_wakes_up_and_is_refused(host, tmp_path):
    first = host()
    assert said(first) == "1"
    first.send_signal(signal.SIGSTOP)
    host.azurite.advance(61)
    second = host()
    assert said(second) == "2"
    tell(second, "second")
    assert said(second) == "written"

    first.send_signal(signal.SIGCONT)
    tell(first, "first")

    assert said(first) == "refused"
    store = SqliteStateStore(tmp_path / "state.db")
    assert (await store.read("p", "last")).body == {"by": "second"}
    await store.aclose()
    assert [first.wait(10), second.wait(10)] == [0, 0]
