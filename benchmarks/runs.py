"""Pipeline runs over HTTP, on Loom's own app: how long three steps take, how many runs a second."""

from pathlib import Path

from benchmarks.floors import group_commit, run_rows
from benchmarks.host import host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table, percentile

START = ("POST", "/api/pipelines/three/runs", {"input": {"n": 1}})
WAIT = {"prefer": "wait=60"}
WIDTH = 50


def measure(scale: Scale, folder: Path) -> Table:
    few, many = scale.of(300), scale.of(1_000)
    with host(loom_app(folder / "app"), folder / "data") as loom:
        nulls = [loom.load([("GET", "/api/pipelines", None)], few).latencies for _ in scale.rounds]
        sequential = [loom.load([START], few, headers=WAIT) for _ in scale.rounds]
        parallel = [loom.load([START], many, WIDTH, WAIT) for _ in scale.rounds]
    for seen in (*sequential, *parallel):
        if seen.last["status"] != "completed":
            raise RuntimeError(f"a run did not complete: {seen.last}")
    commits = Figure.of(
        1000 * group_commit(folder / "floor.db", run_rows(few, 1, 3)) / few for _ in scale.rounds
    )
    floors = {"null route": Figure.of(percentile(each, 50) for each in nulls), "its 5 commits": commits}
    rows = Figure.of(many / group_commit(folder / "floor.db", run_rows(many, WIDTH, 3)) for _ in scale.rounds)
    return Table(
        "Pipeline runs over HTTP",
        "A pipeline of three activities on Loom's own app, with `Prefer: wait`: the answer holds the result. "
        "Floors: a route that answers at once through the same layers, and SQLite committing the same rows.",
        (
            Row(
                "three steps, one run after the other, median",
                "ms",
                Figure.of(percentile(seen.latencies, 50) for seen in sequential),
                4,
                floors,
            ),
            Row(
                "three steps, one run after the other, 99 %",
                "ms",
                Figure.of(percentile(seen.latencies, 99) for seen in sequential),
                10,
            ),
            Row(
                f"three steps, {WIDTH} runs at a time",
                "/s",
                Figure.of(many / seen.seconds for seen in parallel),
                floors={"group commit": rows},
            ),
        ),
    )
