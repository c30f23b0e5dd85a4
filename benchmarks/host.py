"""`loom dev` over an app, in a process of its own, with the load generator beside it."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
READY = re.compile(r"Loom is ready at (\S+)")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the load generator saw; times in seconds since the epoch, latencies in milliseconds."""

    began: float
    ended: float
    busy: float
    latencies: list[float]
    last: Any

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Host:
    """A host that has just become ready."""

    def __init__(self, process: subprocess.Popen[str], url: str, data: Path) -> None:
        self.url = url
        self.data = data
        self._process = process

    def memory(self) -> float:
        """Resident memory in MB."""
        return psutil.Process(self._process.pid).memory_info().rss / 1e6

    def load(
        self,
        requests: list[tuple[str, str, Any]],
        count: int = 1,
        in_flight: int = 1,
        headers: dict[str, str] | None = None,
    ) -> Seen:
        """Send `count` requests (method, path, JSON body), taking them in turn, from another process."""
        orders = {
            "url": self.url,
            "requests": requests,
            "count": count,
            "in_flight": min(in_flight, count),
            "headers": headers or {},
        }
        command = [sys.executable, "-m", "benchmarks.load"]
        done = subprocess.run(
            command, input=json.dumps(orders), stdout=subprocess.PIPE, cwd=ROOT, check=True, text=True
        )
        seen = json.loads(done.stdout)
        milliseconds = [1000 * latency for latency in seen["latencies"]]
        return Seen(seen["began"], seen["ended"], seen["busy"], milliseconds, json.loads(seen["last"]))

    def database(self) -> sqlite3.Connection:
        """Read what the host has committed."""
        return sqlite3.connect(f"file:{self.data / 'loom.db'}?mode=ro", uri=True, isolation_level=None)

    def settle(self) -> float:
        """Wait until no message is waiting; when the last entity changed, in seconds since the epoch."""
        with closing(self.database()) as database:
            while is_waiting(database):
                time.sleep(0.005)
            return last_change(database)


@contextmanager
def host(app: Path, data: Path, settings: Mapping[str, str] | None = None) -> Iterator[Host]:
    """Serve `app`, durably, with further settings, and stop the host at the end."""
    options = ["--no-reload", "--port", "0", "--app", str(app), "--data", str(data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "loom_local.cli.main", "dev", *options],
        cwd=ROOT,
        env={**os.environ, **(settings or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Host(process, _ready(process), data)
    finally:
        process.terminate()
        process.communicate()


def _ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := READY.search(line):
            return found[1]
    raise RuntimeError("the host did not become ready")


def loom_app(folder: Path) -> Path:
    """Lay out Loom's own app, unmodified, with pipelines and actors of the benchmarks in place of its own."""
    folder.mkdir()
    for name in ("function_app.py", "host.json", "activities", "wasm"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "pipelines").symlink_to(ROOT / "benchmarks" / "pipelines")
    (folder / "actors").symlink_to(ROOT / "benchmarks" / "counters")
    return folder


def is_waiting(database: sqlite3.Connection) -> bool:
    """Whether an entity or an orchestration has a message that it has not yet taken."""
    return bool(database.execute("SELECT EXISTS (SELECT 1 FROM inbox)").fetchone()[0])


def last_change(database: sqlite3.Connection) -> float:
    return database.execute("SELECT coalesce(max(modified_at), 0.0) FROM entities").fetchone()[0]


def applied(database: sqlite3.Connection) -> int:
    """The sum of all counters."""
    return database.execute("SELECT coalesce(sum(state), 0) FROM entities").fetchone()[0]
