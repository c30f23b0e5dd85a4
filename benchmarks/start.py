"""Cold start: from the start of the process to the first finished run."""

import time
from pathlib import Path

from benchmarks.floors import interpreter
from benchmarks.host import host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table
from benchmarks.runs import START, WAIT


def measure(scale: Scale, folder: Path) -> Table:
    app = loom_app(folder / "app")
    starts = [_start(app, folder / f"data-{n}") for n in scale.rounds]
    ready, finished, memory = zip(*starts, strict=True)
    imported, bare = zip(*(interpreter() for _ in scale.rounds), strict=True)
    imports = {"same imports": Figure.of(imported)}
    return Table(
        "Cold start",
        "`loom dev --no-reload` over Loom's own app and an empty data folder, bytecode caches warm. Floor: "
        "an interpreter that imports the same packages and does nothing.",
        (
            Row(
                "process start to the first finished run (three steps, HTTP)",
                "s",
                Figure.of(finished),
                0.5,
                imports,
            ),
            Row("process start to ready", "s", Figure.of(ready)),
            Row(
                "memory of the host after that run",
                "MB",
                Figure.of(memory),
                120,
                {"same imports": Figure.of(bare)},
            ),
        ),
    )


def _start(app: Path, data: Path) -> tuple[float, float, float]:
    """Seconds until ready, seconds until the first run has finished, and the host's MB then."""
    began = time.perf_counter()
    with host(app, data) as loom:
        ready = time.perf_counter() - began
        seen = loom.load([START], headers=WAIT)
        if seen.last["status"] != "completed":
            raise RuntimeError(f"the first run did not complete: {seen.last}")
        # The load generator's own start is no part of the host's.
        return ready, ready + seen.ended - seen.began, loom.memory()
