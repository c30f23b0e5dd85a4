"""The shipped examples, with their real activities, driven in memory."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from loom_core.activities import Activities
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_folder
from loom_core.notations import pipeline_program
from loom_core.testing import Bench

ROOT = Path(__file__).parents[2]


def definition(name: str) -> Any:
    return json.loads((ROOT / "pipelines" / f"{name}.json").read_text("utf-8"))


class World:
    """The activities of the app over a data folder of their own; every run on it is another one."""

    def __init__(self, runner: asyncio.Runner, data: Path) -> None:
        self.runner, self.data = runner, data
        self.activities = Activities(load_folder(ROOT / "activities"), blobs=MemoryBlobStore())
        self.keys = map(str, itertools.count())
        self.bench = Bench({})

    def call(self, name: str, value: Any, key: str | None = None) -> Any:
        key = next(self.keys) if key is None else key
        return self.runner.run(
            self.activities.run({"activity": name, "input": value, "run": "run-1", "key": key})
        )

    def run(self, name: str, value: Any, *events: tuple[float, str, Any]) -> Any:
        known = {name: lambda taken, name=name: self.call(name, taken) for name in self.activities.names}
        self.bench = Bench({**known, "loom.watch": lambda _watch: None}, events=events)
        payload = {"run": "run-1", "definition": definition(name), "input": value}
        return self.bench.run(pipeline_program, payload)

    @property
    def called(self) -> list[str]:
        return [name for name, _ in self.bench.calls]

    @property
    def told(self) -> dict[str, Any]:
        return self.bench.published[-1]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("LOOM_DATA", str(tmp_path))
    with asyncio.Runner() as runner:
        yield World(runner, tmp_path)


def ledger(data: Path, sql: str) -> list[Any]:
    """Rows of the ledger; a single column comes bare."""
    with closing(sqlite3.connect(data / "onboarding" / "ledger.db")) as connection:
        rows = connection.execute(sql).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


def accounts(data: Path) -> list[str]:
    """The status of every account there ever was."""
    return ledger(data, "SELECT status FROM accounts")


def mails(data: Path) -> list[str]:
    """The subjects of the mails in the outbox."""
    files = (data / "onboarding" / "outbox").glob("*.eml")
    return sorted(message_from_bytes(file.read_bytes(), policy=policy.default)["Subject"] for file in files)
