"""The broker under kill -9: whatever it acknowledged holds."""

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from loom_local.broker import Broker, QueueProperties
from loom_local.database import Database

ROOT = Path(__file__).parents[2]
CHILD = """
import asyncio, sys
from pathlib import Path
from loom_local.broker import Broker, Message, QueueProperties
from loom_local.database import Database

def say(*words):
    print(*words, flush=True)

async def send(broker, round_, session):
    for n in range(1_000_000):
        name = f"{round_}-{n}"
        message = Message(body=name.encode(), session_id=session, message_id=session + name)
        await broker.send("mail", [message])
        say("sent", session, name)

async def receive(broker):
    while True:
        for lock in await broker.accept_sessions("mail", 3, 60):
            for delivery in await broker.receive_session(lock, 2):
                name = delivery.stored.message.body.decode()
                say("began", lock.session, name, delivery.stored.delivery_count)
                await broker.complete(delivery)
                say("completed", lock.session, name)
            await broker.release_session(lock)

async def main(path, round_):
    broker = Broker(Database.open(Path(path)))
    await broker.declare("mail", QueueProperties(requires_session=True, max_delivery_count=1_000))
    await asyncio.gather(*(send(broker, round_, s) for s in "abc"), receive(broker))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.crash
def test_nothing_acknowledged_is_lost_or_done_twice_when_the_process_is_killed(tmp_path: Path):
    path = tmp_path / "loom.db"
    sent: dict[str, list[str]] = defaultdict(list)
    completed: dict[str, list[str]] = defaultdict(list)
    begun: dict[tuple[str, str], int] = {}
    for round_ in range(5):
        lines = run_and_kill(path, round_, after=0.3 + 0.05 * round_)
        for what, session, name, *count in (line.split() for line in lines):
            if what == "sent":
                sent[session].append(name)
            elif what == "began":
                assert name not in completed[session]
                assert int(count[0]) > begun.get((session, name), 0)
                begun[session, name] = int(count[0])
            else:
                completed[session].append(name)
    assert any(sent.values())
    assert any(completed.values())
    left = asyncio.run(rest(path))
    for session, names in sent.items():
        # Unacknowledged ones may be there as well: sent or completed, but killed before it could say so.
        known = completed[session] + left[session]
        assert set(names) - {*known} <= {n for s, n in begun if s == session} - {*completed[session]}
        assert completed[session] == sorted(completed[session], key=order)
        assert left[session] == sorted(left[session], key=order)
        assert not {*completed[session]} & {*left[session]}


def order(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("-")))


def run_and_kill(path: Path, round_: int, after: float) -> list[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(round_)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    lines = [child.stdout.readline()]
    time.sleep(after)
    child.kill()
    lines += child.stdout.readlines()
    child.stdout.close()
    child.wait()
    return [line.decode() for line in lines if line.endswith(b"\n")]


async def rest(path: Path) -> dict[str, list[str]]:
    database = Database.open(path)
    broker = Broker(database)
    await broker.declare("mail", QueueProperties(requires_session=True, max_delivery_count=1_000))
    left: dict[str, list[str]] = defaultdict(list)
    for lock in await broker.accept_sessions("mail", 3):
        while found := await broker.receive_session(lock, 256):
            left[lock.session] += [d.stored.message.body.decode() for d in found]
    await broker.drain()
    database.close()
    return left
