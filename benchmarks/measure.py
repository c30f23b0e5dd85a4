"""What an area measures: tables of rows, each a figure beside its aim and its floors."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work: `factor` times the full sizes, `repeats` times after a warm-up."""

    factor: float = 1.0
    repeats: int = 5
    largest_scatter: int = 100_000

    @property
    def rounds(self) -> range:
        return range(self.repeats + 1)

    def of(self, count: int) -> int:
        return max(1, round(count * self.factor))


@dataclass(frozen=True, slots=True)
class Figure:
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Take one value a round; the first round is the warm-up and does not count."""
        _, *counted = values
        return cls(statistics.median(counted), min(counted), max(counted))


@dataclass(frozen=True, slots=True)
class Row:
    work: str
    unit: str
    """`/s` is better the higher; every other unit is better the lower."""
    figure: Figure
    aim: float | None = None
    floors: dict[str, Figure] = field(default_factory=dict[str, Figure])
    """What no durable engine could beat here, in the same unit, by what it is."""
    note: str = ""


def beside(work: str, ours: Iterable[float], bare: Iterable[float]) -> Row:
    """A row for an adapter beside the bare SDK: it may cost a tenth of that at most."""
    floor = Figure.of(bare)
    return Row(work, "/s", Figure.of(ours), 0.9 * floor.median, {"the bare SDK": floor})


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    about: str
    rows: tuple[Row, ...]


def percentile(values: Iterable[float], percent: int) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
