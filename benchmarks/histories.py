"""Actors with a past: activation, a message after a long history, and replay."""

import asyncio
import base64
import json
import sqlite3
import time
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb

from benchmarks.floors import group_commit, message_rows
from benchmarks.host import host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table, percentile
from loom_core.app import App, compose
from loom_core.wire.json import dump
from loom_core.wire.messages import message

MESSAGES = 400
AT_ENDS = 20
SAID = {"small": 1, "large": 400}
"""How many times 2 KB the state has."""
REPLAYED = 100
WAIT = {"prefer": "wait=60"}
ENTRIES = "SELECT body FROM documents WHERE partition = ? AND id LIKE 'j:%' ORDER BY id"


def measure(scale: Scale, folder: Path) -> Table:
    root = loom_app(folder / "app")
    rows_of = scale.of(100)
    commit = Figure.of(
        1000 * group_commit(folder / "floor.db", message_rows(rows_of, 1, 1)) / (rows_of + 1)
        for _ in scale.rounds
    )
    length = max(2 * AT_ENDS, scale.of(MESSAGES))
    with host(root, folder / "data") as app:
        plain = [app.load([_to(f"Talk/{n}")], length, headers=WAIT).latencies for n in scale.rounds]
        turns = [app.load([_to(f"Planner/{n}")], length, headers=WAIT).latencies for n in scale.rounds]
    rows: list[Row] = []
    for words, seen in (("plain actor", plain), ("a turn with one activity", turns)):
        first = Figure.of(percentile(each[:AT_ENDS], 50) for each in seen)
        last = Figure.of(percentile(each[-AT_ENDS:], 50) for each in seen)
        rows += [
            Row(f"{words}: each of the first {AT_ENDS} messages", "ms", first),
            Row(f"{words}: each of the last {AT_ENDS} of {length}", "ms", last, floors={"the first": first}),
        ]
    return Table(
        "Actors with a past",
        "Each message adds 2 KB to the state, and is answered (`Prefer: wait`, one after the other). "
        "Activations are of one actor in the host's process, from the entity's operations to their result, "
        "journal written: cold is the first since the process began. Floor: one commit of a message's rows.",
        (
            *asyncio.run(_activations(root, folder, scale, commit)),
            *asyncio.run(_replay(root, folder, scale)),
            *rows,
        ),
    )


def _to(target: str) -> tuple[str, str, Any]:
    return "POST", f"/api/actors/{target}/messages", {"payload": 1}


async def _activations(root: Path, folder: Path, scale: Scale, commit: Figure) -> list[Row]:
    rows: list[Row] = []
    for size, said in SAID.items():
        data = folder / size
        app = _app(root, data)
        kept = [(await _serve(app, f"@talk@{n}", "", said))[1] for n in range(scale.of(50) + 1)]
        cold: list[float] = []
        warm: list[float] = []
        for _ in scale.rounds:
            app = _app(root, data)
            _, kept[-1] = await _serve(app, f"@talk@{len(kept) - 1}", kept[-1], 0)  # opens the files
            for times in (cold, warm):
                seen: list[float] = []
                for n in range(len(kept) - 1):
                    seconds, kept[n] = await _serve(app, f"@talk@{n}", kept[n], 0)
                    seen.append(1000 * seconds)
                times.append(percentile(seen, 50))
        state = f"state of {2 * said} KB"
        floors = {"one commit": commit}
        rows += [
            Row(f"activation, cold, {state}", "ms", Figure.of(cold), 20, floors),
            Row(f"activation, warm, {state}", "ms", Figure.of(warm), 2, floors),
        ]
    return rows


def _app(root: Path, data: Path) -> App:
    return compose(root, {"LOOM_DATA": str(data), "LOOM_QUEUE": "memory"})


async def _serve(app: App, entity: str, state: str, said: int) -> tuple[float, str]:
    """Serve one message; the result is how long it took, in seconds, and what the entity keeps."""
    _, kind, key = entity.split("@")
    to = f"{kind.capitalize()}/{key}"
    sent = message(to, said, f"msg-{time.monotonic_ns()}", "2027-01-01T00:00:00Z", unique=True)
    request = pb.EntityBatchRequest(instanceId=entity)
    if state:
        request.entityState.value = state
    operation = request.operations.add(operation="deliver")
    operation.input.value = dump({"messages": [sent]})
    body = base64.b64encode(request.SerializeToString()).decode()
    began = time.perf_counter()
    answer = await app.entities.serve(body)
    seconds = time.perf_counter() - began
    return seconds, pb.EntityBatchResult.FromString(base64.b64decode(answer)).entityState.value


async def _replay(root: Path, folder: Path, scale: Scale) -> list[Row]:
    data = folder / "replay"
    app, state = _app(root, data), ""
    while (seq := json.loads(state)["document"]["seq"] if state else 0) < REPLAYED:
        _, state = await _serve(app, "@counter@0", state, 1)
    replays = [
        await _timed(app.journals.state_at("Counter/0", REPLAYED - 1, seq)) for _ in range(scale.of(100))
    ]
    with closing(sqlite3.connect(data / "state.db")) as database:
        parsed = [_parsed(database) for _ in replays]
    floors = {"reading and parsing them": Figure.of([0, percentile(parsed, 50)])}
    return [
        Row(f"replay of {REPLAYED - 1} entries", "ms", Figure.of([0, percentile(replays, 50)]), 5, floors)
    ]


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return 1000 * (time.perf_counter() - began)


def _parsed(database: sqlite3.Connection) -> float:
    began = time.perf_counter()
    for (body,) in database.execute(ENTRIES, ("actors/Counter/0",)):
        json.loads(body)
    return 1000 * (time.perf_counter() - began)
