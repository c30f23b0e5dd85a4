import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from loom_local.database import Database, DatabaseLockedError, DatabaseTooNewError
from loom_local.database.migrate import migrate, migrations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


async def test_a_submission_is_visible_to_readers_once_its_future_ends(path: Path) -> None:
    database = Database.open(path)
    try:
        rows = await database.submit([("INSERT INTO host VALUES (?, ?)", [("a", "1"), ("b", "2")])])

        assert rows == (2,)
        assert database.reader().execute("SELECT value FROM host ORDER BY name").fetchall() == [
            ("1",),
            ("2",),
        ]
    finally:
        database.close()


async def test_what_is_submitted_together_shares_commits(path: Path) -> None:
    database = Database.open(path)
    try:
        await asyncio.gather(
            *(database.submit([("INSERT INTO host VALUES (?, '')", (str(n),))]) for n in range(500))
        )

        assert database.commits < 250
        assert database.reader().execute("SELECT COUNT(*) FROM host").fetchone() == (500,)
    finally:
        database.close()


async def test_closing_commits_what_is_still_queued(path: Path) -> None:
    database = Database.open(path)
    queued = [database.submit([("INSERT INTO host VALUES (?, '')", (str(n),))]) for n in range(100)]

    database.close()
    await asyncio.gather(*queued)

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM host").fetchone() == (100,)
    connection.close()


async def test_nothing_can_be_submitted_to_a_closed_file(path: Path) -> None:
    database = Database.open(path)
    database.close()

    with pytest.raises(RuntimeError, match="is closed"):
        database.submit([])


def test_a_second_host_is_refused_and_told_what_to_do(path: Path) -> None:
    database = Database.open(path)
    try:
        with pytest.raises(DatabaseLockedError, match="in use by another Loom host.*--data"):
            Database.open(path)
    finally:
        database.close()


def test_the_lock_of_a_host_that_was_killed_does_not_remain(path: Path) -> None:
    code = f"""
import os, pathlib
from loom_local.database import Database
Database.open(pathlib.Path({str(path)!r}))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9

    Database.open(path).close()


def test_a_file_of_a_newer_loom_is_refused_and_left_alone(path: Path) -> None:
    Database.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(DatabaseTooNewError, match=r"schema 9999.*Update Loom"):
        Database.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("step", range(len(migrations())))
def test_a_file_of_any_older_loom_opens_in_this_one(path: Path, step: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for number, sql in migrations()[:step]:
        connection.executescript(f"BEGIN;{sql};PRAGMA user_version = {number};COMMIT;")
    migrate(connection, path)
    schema = connection.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()

    fresh = sqlite3.connect(":memory:", isolation_level=None)
    migrate(fresh, "memory")
    assert fresh.execute("SELECT sql FROM sqlite_schema ORDER BY name").fetchall() == schema
    fresh.close()


def test_a_commit_that_fails_ends_the_process_with_a_reason_and_acknowledges_nothing(path: Path) -> None:
    code = f"""
import asyncio, pathlib
from loom_local.database import Database
async def main():
    database = Database.open(pathlib.Path({str(path)!r}))
    await database.submit([("INSERT INTO host VALUES ('kept', '')", ())])
    print("kept", flush=True)
    try:
        lost = ("INSERT INTO host VALUES ('lost', '')", ())
        await database.submit([lost, ("INSERT INTO nowhere VALUES (1)", ())])
    finally:
        print("acknowledged", flush=True)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert done.returncode == 74
    assert done.stdout == "kept\n"
    assert "could not be written (no such table: nowhere)" in done.stderr
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM host").fetchall() == [("kept",)]
    connection.close()


async def test_a_patient_submission_is_synced_with_the_next_or_after_a_moment(path: Path) -> None:
    database = Database.open(path)
    try:
        first = database.submit([("INSERT INTO host VALUES ('first', '')", ())], patient=True)
        await database.submit([("INSERT INTO host VALUES ('second', '')", ())])
        assert first.done()
        assert database.commits == 1

        await database.submit([("INSERT INTO host VALUES ('alone', '')", ())], patient=True)
        assert database.reader().execute("SELECT COUNT(*) FROM host").fetchone() == (3,)
    finally:
        database.close()
