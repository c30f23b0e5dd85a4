"""Orchestrations inside the engine: how many a second, and how long three steps take."""

import asyncio
import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from durabletask.task import OrchestrationContext

from benchmarks.floors import group_commit, run_rows
from benchmarks.hub import SdkWorker, hub, in_flight
from benchmarks.measure import Figure, Row, Scale, Table, percentile
from loom_local.engine.protocol import COMPLETED, pb, text
from loom_local.sidecar.service import Sidecar

WIDTH = 100


def one(context: OrchestrationContext, value: int) -> Any:
    return (yield context.call_activity("noop", input=value))


def three(context: OrchestrationContext, value: int) -> Any:
    for _ in range(3):
        value = yield context.call_activity("noop", input=value)
    return value


def measure(scale: Scale, folder: Path) -> Table:
    return asyncio.run(_measure(scale, folder))


async def _measure(scale: Scale, folder: Path) -> Table:
    worker = SdkWorker(orchestrators={"one": one, "three": three}, activities={"noop": lambda value: value})
    many, few = scale.of(2_000), scale.of(300)
    async with hub(folder / "hub.db", worker) as sidecar:
        rates = [await _rate(sidecar, many) for _ in scale.rounds]
        latencies = [await _latencies(sidecar, few) for _ in scale.rounds]

    def commits(count: int, group: int, steps: int) -> list[float]:
        path = folder / "floor.db"
        return [group_commit(path, run_rows(count, group, steps)) for _ in scale.rounds]

    rows = Figure.of(many / seconds for seconds in commits(many, WIDTH, 1))
    three_commits = {"its 5 commits": Figure.of(1000 * s / few for s in commits(few, 1, 3))}
    return Table(
        "Orchestrations inside the engine",
        f"No HTTP and no client; {WIDTH} runs under way at a time, or one after the other. Floors: SQLite "
        "committing the same rows in one thread, and the same generators driven by hand.",
        (
            Row(
                f"{many:,} runs with one activity",
                "/s",
                Figure.of(rates),
                floors={"group commit": rows, "bare generator": Figure.of(_drive(one, many, scale))},
            ),
            Row("three steps, median", "ms", _percentile(latencies, 50), 4, three_commits),
            Row("three steps, 99 %", "ms", _percentile(latencies, 99), 10),
        ),
    )


def _percentile(rounds: Iterable[list[float]], percent: int) -> Figure:
    return Figure.of(percentile(latencies, percent) for latencies in rounds)


async def _run(sidecar: Sidecar, name: str) -> None:
    create = pb.CreateInstanceRequest(name=name, input=text("1"))
    started: Any = await sidecar.servicer.call("StartInstance", create)
    wanted = pb.GetInstanceRequest(instanceId=started.instanceId, getInputsAndOutputs=True)
    ended: Any = await sidecar.servicer.call("WaitForInstanceCompletion", wanted)
    if ended.orchestrationState.orchestrationStatus != COMPLETED:
        raise RuntimeError(f"{name} failed: {ended.orchestrationState.failureDetails.errorMessage}")


async def _rate(sidecar: Sidecar, count: int) -> float:
    async def drive() -> float:
        began = time.perf_counter()
        await in_flight(WIDTH, (_run(sidecar, "one") for _ in range(count)))
        return count / (time.perf_counter() - began)

    return await sidecar.on_engine(drive)()


async def _latencies(sidecar: Sidecar, count: int) -> list[float]:
    """Milliseconds of each of `count` runs, one after the other."""

    async def drive() -> list[float]:
        times = [time.perf_counter()]
        for _ in range(count):
            await _run(sidecar, "three")
            times.append(time.perf_counter())
        return [1000 * (end - begin) for begin, end in itertools.pairwise(times)]

    return await sidecar.on_engine(drive)()


def _drive(orchestrator: Any, count: int, scale: Scale) -> list[float]:
    """Runs a second of a generator whose every yield is answered at once."""

    class Context:
        def call_activity(self, _name: str, *, input: int) -> int:  # noqa: A002 - the SDK's name
            return input

    rates: list[float] = []
    for _ in scale.rounds:
        began = time.perf_counter()
        for n in range(count):
            running = orchestrator(Context(), n)
            try:
                answer = next(running)
                while True:
                    answer = running.send(answer)
            except StopIteration:
                pass
        rates.append(count / (time.perf_counter() - began))
    return rates
