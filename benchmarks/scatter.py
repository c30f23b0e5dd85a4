"""Scatters of no-op items over HTTP, on Loom's own app, and the memory that the largest of them takes."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.floors import group_commit, run_rows
from benchmarks.host import ROOT, Host, host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table
from loom_core.notations import pipeline_program
from loom_core.testing import Bench

SIZES = {100: None, 1_000: 0.25, 10_000: 1.5, 100_000: 15.0}
"""Items, and the aim in seconds."""
FLAT = 1.2
"""How much more an item may cost in one scatter than in another, from 1,000 items on."""


def measure(scale: Scale, folder: Path) -> Table:
    sizes = [size for size in SIZES if size <= scale.largest_scatter]
    definition = json.loads((ROOT / "benchmarks" / "pipelines" / "scatter.json").read_bytes())
    rows: list[Row] = []
    each: list[float] = []
    with host(loom_app(folder / "app"), folder / "data") as loom:
        _scatter(loom, 1)
        idle = loom.memory()
        for size in sizes:
            rounds = scale.rounds[: 4 if size > 10_000 else None]  # the largest takes its time
            times, steps = zip(*(_scatter(loom, size) for _ in rounds), strict=True)
            taken = Figure.of(times)
            if size >= 1_000:
                each.append(taken.median / size)
            note = f"{1e6 * taken.median / size:.0f} us an item, {steps[-1]:,} orchestrator steps"
            program = Figure.of(_drive(definition, size) for _ in rounds)
            commits = Figure.of(group_commit(folder / "floor.db", run_rows(size, 256, 1)) for _ in rounds)
            floors = {"program in memory": program, "group commit": commits}
            rows.append(Row(f"{size:,} items", "s", taken, SIZES[size], floors, note))
        loaded = loom.memory()
    if each:
        worst = max(each) / min(each)
        flat = Figure(worst, worst, worst)
        rows.append(Row("cost of an item from 1,000 on: dearest by cheapest", "x", flat, FLAT))
    for name, memory, aim in (("idle", idle, 120), (f"after {sizes[-1]:,} items", loaded, 400)):
        rows.append(Row(f"memory of the host, {name}", "MB", Figure(memory, memory, memory), aim))
    return Table(
        "Scatters",
        "One pipeline stage of no-op activities, 256 at a time, on Loom's own app; from the request to the "
        "answer with all results (`Prefer: wait`). Floors: the same program driven in memory without replay, "
        "and SQLite committing rows for as many calls, 256 at a time.",
        tuple(rows),
    )


def _scatter(loom: Host, items: int) -> tuple[float, int]:
    """Seconds from request to answer, and the orchestrator steps that were committed for it."""
    with closing(loom.database()) as database:
        before = database.execute("SELECT count(*) FROM history").fetchone()[0]
        body = {"input": {"items": list(range(items))}}
        seen = loom.load([("POST", "/api/pipelines/scatter/runs", body)], headers={"prefer": "wait=220"})
        if seen.last["status"] != "completed" or seen.last["output"] != list(range(items)):
            raise RuntimeError(
                f"the scatter of {items} items ended {seen.last['status']}: {seen.last['error']}"
            )
        return seen.seconds, database.execute("SELECT count(*) FROM history").fetchone()[0] - before


def _drive(definition: Any, items: int) -> float:
    """Seconds to drive the same program in memory, without replay."""
    bench = Bench({"noop": lambda value: value})
    payload = {"run": "run-1", "definition": definition, "input": {"items": list(range(items))}}
    began = time.perf_counter()
    bench.run(pipeline_program, payload, replay=False)
    return time.perf_counter() - began
