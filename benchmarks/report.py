"""The tables as Markdown and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.measure import Figure, Row, Table

HEAD = (
    "# Benchmarks\n\nWritten by `make bench`. Every commit is synced to disk. A figure is the median of the "
    "rounds, with the least and the most in brackets; the aims are the design's."
)


def markdown(machine: Mapping[str, str], tables: Sequence[Table]) -> str:
    parts = [HEAD, "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in machine.items())])]
    for table in tables:
        rows = ["| work | measured | aim | measured by aim | floors |  |", "|---|---|---|---|---|---|"]
        rows += [_line(row) for row in table.rows]
        parts += [f"## {table.title}", table.about, "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def document(machine: Mapping[str, str], tables: Sequence[Table]) -> dict[str, Any]:
    return {"machine": dict(machine), "tables": [asdict(table) for table in tables]}


def _line(row: Row) -> str:
    aim = "" if row.aim is None else f"{_number(row.aim)} {row.unit}"
    ratio = (
        "" if row.aim is None else f"{row.figure.median / row.aim:.2f}{'' if is_met(row) else ' (missed)'}"
    )
    floors = "; ".join(f"{name} {_number(floor.median)}" for name, floor in row.floors.items())
    return f"| {row.work} | {_figure(row.figure, row.unit)} | {aim} | {ratio} | {floors} | {row.note} |"


def is_met(row: Row) -> bool:
    """Whether the median reaches the aim, for a row that has one."""
    assert row.aim is not None
    return row.figure.median >= row.aim if row.unit == "/s" else row.figure.median <= row.aim


def _figure(figure: Figure, unit: str) -> str:
    if figure.least == figure.most:
        return f"{_number(figure.median)} {unit}"
    return f"{_number(figure.median)} {unit} ({_number(figure.least)}-{_number(figure.most)})"


def _number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
