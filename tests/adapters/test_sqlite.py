import sqlite3

import pytest

from loom_core.adapters.sqlite import SqliteStateStore
from loom_core.errors import InvalidError, UnavailableError
from loom_core.ports.state import Put


async def test_documents_are_there_for_the_next_process(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")
    await store.write("p", [Put("x", {"n": 1})])
    await store.aclose()

    again = SqliteStateStore(tmp_path / "state.db")
    assert (await again.read("p", "x")).body == {"n": 1}
    await again.aclose()


async def test_writes_are_synced_before_they_return(tmp_path):
    store = SqliteStateStore(tmp_path / "state.db")

    settings = await store._on_thread(
        lambda: [
            store._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        ]
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
    await store._on_thread(lambda: store._connection.execute("PRAGMA busy_timeout = 1"))
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(UnavailableError, match="locked"):
        await store.write("p", [Put("x", {})])
    other.execute("ROLLBACK")
    other.close()

    await store.write("p", [Put("x", {})])
    await store.aclose()
