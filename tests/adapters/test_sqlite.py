import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from loom_core.adapters.sqlite import SqliteLockManager, SqliteStateStore
from loom_core.errors import InvalidError, UnavailableError
from loom_core.ports.state import Document, Put


async def test_documents_are_there_for_the_next_process(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    await store.write("p", [Put("x", {"n": 1})])
    await store.aclose()

    again = SqliteStateStore(tmp_path / "state.db")
    assert (await again.read("p", "x")).body == {"n": 1}
    await again.aclose()


async def test_writes_are_synced_before_they_return(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")

    names = ("journal_mode", "synchronous")
    settings = await store._file.write(
        lambda file: [file.execute(f"PRAGMA {name}").fetchone()[0] for name in names], undo=False
    )

    assert settings == ["wal", 2]
    await store.aclose()


async def test_a_file_of_a_newer_loom_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    store = SqliteStateStore(tmp_path / "state.db")
    with pytest.raises(InvalidError, match="newer Loom"):
        await store.read("p", "x")
    await store.aclose()


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "state.db").write_bytes(b"this is not a database" * 100)

    store = SqliteStateStore(tmp_path / "state.db")
    with pytest.raises(UnavailableError, match=r"state\.db cannot be opened"):
        await store.read("p", "x")
    await store.aclose()


async def test_a_place_that_cannot_be_written_is_unavailable_when_it_is_needed(tmp_path):
    (tmp_path / "file").write_text("in the way")

    store = SqliteStateStore(tmp_path / "file" / "state.db")
    with pytest.raises(UnavailableError, match=r"state\.db cannot be opened"):
        await store.write("p", [Put("x", {})])
    await store.aclose()


async def test_a_locked_file_is_unavailable_and_then_usable_again(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    await store._file.write(lambda file: file.execute("PRAGMA busy_timeout = 1"), undo=False)
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(UnavailableError, match="locked"):
        await store.write("p", [Put("x", {})])
    other.execute("ROLLBACK")
    other.close()

    await store.write("p", [Put("x", {})])
    await store.aclose()


async def test_writes_that_wait_for_a_commit_share_the_next(tmp_path):
    commits = []
    store = SqliteStateStore(tmp_path / "state.db")
    store._file._housekeeping = lambda connection, writes: commits.append(writes)

    await asyncio.gather(*(store.write(f"p{n}", [Put("x", {"n": n})]) for n in range(500)))
    await store.aclose()

    assert sum(commits) == 500
    assert max(commits) > 50


async def test_of_a_commit_that_fails_nothing_holds_and_everybody_is_told(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    await store.write("p", [Put("before", {})])
    failing = [True]

    def disk_full(connection, writes):
        if failing:
            raise sqlite3.OperationalError("database or disk is full")

    store._file._housekeeping = disk_full
    told = await asyncio.gather(
        *(store.write("p", [Put(f"{n}", {})]) for n in range(20)), return_exceptions=True
    )

    assert {type(error) for error in told} == {UnavailableError}
    assert [d.id for d in await store.query("p")] == ["before"]
    failing.clear()
    await store.write("p", [Put("after", {})])
    assert [d.id for d in await store.query("p")] == ["after", "before"]
    await store.aclose()


async def test_a_read_does_not_wait_for_a_commit(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    await store.write("p", [Put("x", {"n": 1})])
    syncing, done = threading.Event(), threading.Event()

    def sync(connection, writes):
        syncing.set()
        assert done.wait(30)

    store._file._housekeeping = sync
    writing = asyncio.create_task(store.write("p", [Put("x", {"n": 2})]))
    assert await asyncio.to_thread(syncing.wait, 30)

    assert (await store.read("p", "x")).body == {"n": 1}
    assert not writing.done()
    done.set()
    await writing
    assert (await store.read("p", "x")).body == {"n": 2}
    await store.aclose()


async def test_a_caller_that_stops_waiting_leaves_the_others_and_the_write_alone(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    tasks = [asyncio.create_task(store.write(f"p{n}", [Put("x", {})])) for n in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert all([await store.read(f"p{n}", "x") for n in range(10)])
    await store.aclose()


async def test_a_store_can_be_used_from_several_loops(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    await store.write("p", [Put("here", {})])

    await asyncio.to_thread(lambda: asyncio.run(store.write("p", [Put("there", {})])))

    assert [d.id for d in await store.query("p")] == ["here", "there"]
    await store.aclose()


async def test_a_closed_store_is_unavailable(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    waiting = asyncio.create_task(store.write("p", [Put("x", {})]))
    await asyncio.sleep(0)
    await store.aclose()

    await waiting
    with pytest.raises(UnavailableError, match="closed"):
        await store.write("p", [Put("x", {})])


async def test_a_file_of_the_first_format_is_brought_up_to_date(tmp_path):
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute(
        "CREATE TABLE documents (partition TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, "
        "etag TEXT NOT NULL, PRIMARY KEY (partition, id)) STRICT"
    )
    connection.execute("""INSERT INTO documents VALUES ('p', 'x', '{"n": 1}', 'e')""")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()

    store = SqliteStateStore(tmp_path / "state.db")
    assert await store.read("p", "x") == Document("x", {"n": 1}, "e")
    await store.write("p", [Put("x", {"n": 2}, if_match="e", ttl=60)])
    await store.aclose()


async def test_expired_documents_leave_the_file_a_few_with_each_write(tmp_path):
    now = [1_800_000_000.0]
    store = SqliteStateStore(tmp_path / "state.db", clock=lambda: now[0])
    for batch in range(3):
        await store.write("p", [Put(f"{batch}-{n}", {}, ttl=10) for n in range(100)])
    now[0] += 11

    def count(file):
        return file.execute("SELECT count(*) FROM documents").fetchone()[0]

    left = []
    for n in range(4):
        await store.write("q", [Put(f"{n}", {})])
        left.append(await store._file.read(count))

    assert left[0] > 100, "one write does not pay for all"
    assert left[-1] == 4
    await store.aclose()


async def test_locks_and_their_tokens_outlive_the_process(tmp_path):
    now = [1_800_000_000.0]
    before = SqliteLockManager(tmp_path / "locks.db", clock=lambda: now[0])
    held = await before.acquire("x", 60)
    await before.release(await before.acquire("y", 60))
    await before.aclose()

    after = SqliteLockManager(tmp_path / "locks.db", clock=lambda: now[0])
    assert await after.acquire("x", 60) is None
    now[0] += 61
    tokens = [(await after.acquire(name, 60)).token for name in "xy"]

    assert min(tokens) > held.token
    await after.aclose()


WRITER = """
import asyncio, sys
from pathlib import Path
from loom_core.adapters.sqlite import SqliteStateStore
from loom_core.ports.state import Put

async def main():
    store = SqliteStateStore(Path(sys.argv[1]) / "state.db")
    async def write(worker):
        n = 0
        while True:
            n += 1
            journal = Put(f"j:{n:020}", {"n": n}, if_absent=True)
            await store.write(f"p{worker}", [Put("head", {"n": n}), journal])
            print(worker, n, flush=True)
    await asyncio.gather(*map(write, range(8)))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9_and_no_batch_is_halved(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = dict.fromkeys(range(8), 0)
    for _ in range(2_000):
        worker, n = map(int, process.stdout.readline().split())
        acknowledged[worker] = n
    process.kill()
    for line in process.stdout.read().splitlines()[:-1]:  # the last one may be torn
        worker, n = map(int, line.split())
        acknowledged[worker] = n
    process.wait()
    process.stdout.close()

    with closing(sqlite3.connect(tmp_path / "state.db")) as file:
        for worker, n in acknowledged.items():
            rows = file.execute("SELECT body FROM documents WHERE partition = ? ORDER BY id", (f"p{worker}",))
            head, *journal = [json.loads(body)["n"] for (body,) in rows]
            assert head >= n
            assert journal == [*range(1, head + 1)]
