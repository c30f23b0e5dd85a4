"""What lanes cost where nothing is coalesced and nothing kept, and how well they use the concurrency."""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.host import Host, host, loom_app
from benchmarks.measure import Figure, Row, Scale, Table
from loom_core.pipelines.calls import Calls
from loom_core.pipelines.lanes import scatter
from loom_core.pipelines.plan import Target
from loom_core.testing import Bench
from loom_core.wire.commands import Command

SIZES = (100, 1_000, 10_000, 100_000)
QUICK, SLOW = 0.001, 1.0
"""Mean seconds of a call; each takes between half of it and one and a half."""
FLAT = 1.2
"""How many more events may be replayed for an item in one scatter than in another, from 1,000 items on."""
IDLE = 5.0


class Counted(Bench):
    """Counts what an engine does that dispatches every completion alone and replays the whole history for it.

    `dispatches` and `replayed` events, over all executions; `longest` is the most events of a history.
    """

    def __init__(self, items: int, concurrency: int, mean: float) -> None:
        super().__init__({"call": lambda n: n}, duration=self._flight)
        self.concurrency, self._mean = concurrency, mean
        self._events: Counter[Any] = Counter()
        self.dispatches = self.replayed = 0
        self._flights: list[tuple[float, float]] = []

        def program(_: Any) -> Any:
            calls = Calls(stage="S", seed="run-1/S", chains={"": [Target(kind="activity", name="call")]})
            return (yield from scatter(calls, [(n, n) for n in range(items)], concurrency, None))

        self.run(program, {}, replay=False)
        # Every execution is dispatched once to begin: its start, and what brackets a dispatch.
        self.dispatches += len(self.executions)
        self.longest = max(self._length(execution) for execution in self.executions)

    def perform(self, command: Command, done: Any) -> None:
        execution = done.func.__self__

        def told(outcome: Any) -> None:
            self.dispatches += 1
            self.replayed += self._length(execution)
            self._events[execution] += 3  # the completion, and what brackets its dispatch
            done(outcome)

        super().perform(command, told)

    def _length(self, execution: Any) -> int:
        return 3 + self._events[execution] + len(execution.issued)

    def _flight(self, _name: str, item: int) -> float:
        seconds = self._mean * half_to_one_and_a_half(item)
        self._flights.append((self.clock, self.clock + seconds))
        return seconds

    @property
    def idle(self) -> float:
        """Percent of the concurrency that is not used while items are left to begin."""
        last = max(began for began, _ in self._flights)
        busy = sum(min(ended, last) - began for began, ended in self._flights)
        return 100 - 100 * busy / (self.concurrency * last)


def half_to_one_and_a_half(item: int) -> float:
    return 0.5 + Random(item).random()


def measure(scale: Scale, folder: Path) -> Table:
    rows: list[Row] = []
    for mean, concurrency in ((QUICK, 256), (SLOW, 20)):
        counted = {size: Counted(size, concurrency, mean) for size in SIZES if size <= scale.largest_scatter}
        calls = f"calls of {mean:g} s, {concurrency} at a time"
        for size, each in counted.items():
            note = f"{each.dispatches / size:.2f} dispatches an item; longest history {each.longest:,} events"
            rows.append(
                Row(f"{size:,} {calls}: replayed", "events an item", _one(each.replayed / size), note=note)
            )
        large = [each.replayed / size for size, each in counted.items() if size >= 1_000]
        if large:
            rows.append(Row(f"{calls}: most replayed by least", "x", _one(max(large) / min(large)), FLAT))
    items = scale.of(1_000)
    floor = {"in memory": _one(Counted(items, 20, SLOW).idle)} if items > 250 else {"in memory": _one(0.0)}
    with host(loom_app(folder / "app"), folder / "data") as loom:
        idle = _one(_idle(loom, items))
    rows.append(Row(f"{items:,} calls of 0.5 to 1.5 s, 20 at a time: idle", "%", idle, IDLE, floor))
    return Table(
        "Lanes",
        "The programs of scatters in memory, as an engine would run them that dispatches each completion "
        "alone and keeps nothing: the events that are replayed for an item must not depend on how many there "
        "are. Then the share of the concurrency that is not used, on Loom's own app, from the request to the "
        "answer; in memory, while items are left to begin.",
        tuple(rows),
    )


def _one(value: float) -> Figure:
    return Figure(value, value, value)


def _idle(loom: Host, items: int) -> float:
    """Percent of the allowed concurrency."""
    seconds = [half_to_one_and_a_half(item) for item in range(items)]
    body = {"input": {"items": seconds}}
    seen = loom.load([("POST", "/api/pipelines/waits/runs", body)], headers={"prefer": "wait=220"})
    if seen.last["status"] != "completed":
        raise RuntimeError(f"the scatter of {items} items ended {seen.last['status']}: {seen.last['error']}")
    return 100 - 100 * sum(seconds) / (20 * seen.seconds)
