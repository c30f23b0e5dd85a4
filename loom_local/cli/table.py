"""Rows for people: a table on a terminal, and aligned lines elsewhere."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from loom_local.cli.board import printable


def show(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows: on a terminal as a table, under the names of its columns if they have any."""
    texts = [[printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in texts:
            click.echo("  ".join(row).rstrip())
        return
    from rich.console import Console  # noqa: PLC0415 - rich costs 50 ms, and is needed only to draw
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))
    Console().print(table)
