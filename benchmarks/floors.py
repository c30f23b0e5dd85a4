"""Floors: the least that the work would cost without an engine, measured on the same machine and disk."""

import itertools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import psutil

from loom_local.database.migrate import migrate

EVENT = bytes(150)
"""A message as long as a signal or a result is."""
HISTORY = bytes(300)
IMPORTS = (
    "asyncio, sqlite3, click, filelock, uvicorn, grpc.aio, durabletask.client, durabletask.worker, "
    "azure.durable_functions, azure.functions, azure_functions_runtime, "
    "azurefunctions.extensions.http.fastapi, fastapi, pydantic, httptools"
)

type Statement = tuple[str, Sequence[tuple[object, ...]]]
type Rows = list[Statement]


def group_commit(path: Path, commits: Iterable[Rows]) -> float:
    """Seconds for these rows in Loom's own schema, each item of `commits` one synced transaction."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path)
        began = time.perf_counter()
        for rows in commits:
            connection.execute("BEGIN IMMEDIATE")
            for sql, parameters in rows:
                connection.executemany(sql, parameters)
            connection.execute("COMMIT")
        return time.perf_counter() - began


def message_rows(count: int, group: int, keys: int) -> Iterable[Rows]:
    """The rows of `count` entity messages, `group` at a time: each commit takes the group before it in."""
    before: range = range(0)
    for start in range(0, count + group, group):
        taken = range(start, min(start + group, count))
        touched = [(f"@counter@{key}", "1", 0.0, None, None) for key in {seq % keys for seq in before}]
        yield [
            _inbox((seq, f"@counter@{seq % keys}") for seq in taken),
            _deleted("inbox", before),
            ("INSERT OR REPLACE INTO entities VALUES (?, ?, ?, ?, ?)", touched),
            (
                "INSERT INTO requests VALUES (?, 0.0, ?)",
                [(start + n, bytes(16 * (len(before) // len(touched)))) for n in range(len(touched))],
            ),
        ]
        before = taken


def run_rows(count: int, group: int, steps: int) -> Iterable[Rows]:
    """The rows of `count` orchestrations of `steps` activities each, `group` side by side.

    Fewer commits are impossible: a start must be on disk before it is acknowledged, a call before it is made.
    """
    seq = itertools.count(1)
    for start in range(0, count, group):
        names = [f"run-{n}" for n in range(start, min(start + group, count))]
        news = [next(seq) for _ in names]
        tasks: list[int] = []
        yield [
            (f"INSERT INTO instances VALUES ({', '.join('?' * 16)})", [_instance(name) for name in names]),
            ("INSERT INTO inputs VALUES (?, '1')", [(name,) for name in names]),
            _inbox(zip(news, names, strict=True)),
        ]
        for step in range(steps + 1):
            rows: Rows = []
            if step:
                news = [next(seq) for _ in names]
                rows = [_deleted("tasks", tasks), _inbox(zip(news, names, strict=True))]
            rows += [
                _deleted("inbox", news),
                ("INSERT INTO history VALUES (?, ?, 3, ?)", [(name, step, HISTORY) for name in names]),
                ("UPDATE instances SET status = 1, updated_at = 1.0 WHERE id = ?", [(n,) for n in names]),
            ]
            if step < steps:
                tasks = [next(seq) for _ in names]
                columns = "seq, instance_id, execution_id, task_id, name, version, input"
                values = [
                    (task, name, name, 1, "noop", None, "1") for task, name in zip(tasks, names, strict=True)
                ]
                rows.append((f"INSERT INTO tasks ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values))
            yield rows


def _inbox(messages: Iterable[tuple[int, str]]) -> Statement:
    columns = "seq, target, execution_id, visible_at, request_id, event"
    rows = [(seq, target, None, None, bytes(16), EVENT) for seq, target in messages]
    return f"INSERT INTO inbox ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows


def _deleted(table: str, seqs: Iterable[int]) -> Statement:
    return f"DELETE FROM {table} WHERE seq = ?", [(seq,) for seq in seqs]


def _instance(name: str) -> tuple[object, ...]:
    return (name, name, "noop", None, 0, 0.0, 0.0, *[None] * 9)


def interpreter() -> tuple[float, float]:
    """Start a bare interpreter that imports what the host imports: seconds until it has, and its MB then."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import {IMPORTS}; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.perf_counter() - began
    memory = psutil.Process(process.pid).memory_info().rss / 1e6
    process.communicate(b"\n")
    return seconds, memory
