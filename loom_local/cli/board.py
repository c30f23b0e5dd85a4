"""Show the progress of a run's stages on the standard error: bars on a terminal, lines elsewhere."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

import click

type Stage = Mapping[str, Any]  # {"status", "done", "total", "skipped", "failed"}


class Board(AbstractContextManager["Board"], Protocol):
    """Is told the state of a stage whenever it changes."""

    def show(self, name: str, stage: Stage) -> None: ...


def board() -> Board:
    """Bars when the standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """One line when a stage starts and one when it ends: fit for logs."""

    def __init__(self) -> None:
        self._shown = dict[str, str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, name: str, stage: Stage) -> None:
        status = str(stage.get("status", ""))
        if status in {"", "pending", self._shown.get(name)}:
            return
        self._shown[name] = status
        click.echo(f"{printable(name)}: {printable(status)} {counts(stage)}".rstrip(), err=True)


class Bars:
    """One bar per stage."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - rich costs 50 ms, and is needed only to draw
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=Console(stderr=True),
        )
        self._tasks = dict[str, Any]()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, name: str, stage: Stage) -> None:
        done, total = _done(stage), _number(stage, "total")
        status = str(stage.get("status", ""))
        if status == "completed":
            done = total = total or 1
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(printable(name), total=total or None, status="")
        note = f"{printable(status)} {_notes(stage)}".rstrip()
        self._bars.update(self._tasks[name], completed=done, total=total or None, status=note)


def counts(stage: Stage) -> str:
    """Say how far a stage is: `12 of 45 (3 skipped, 1 failed)`; nothing when it has no items."""
    total = _number(stage, "total")
    return f"{_done(stage)} of {total} {_notes(stage)}".rstrip() if total else ""


def printable(text: str) -> str:
    """Drop the control characters, with which untrusted text could command the terminal."""
    return "".join(character for character in text if character in "\n\t" or character.isprintable())


def _done(stage: Stage) -> int:
    return min(_number(stage, "done"), _number(stage, "total"))


def _notes(stage: Stage) -> str:
    notes = [f"{_number(stage, name)} {name}" for name in ("skipped", "failed") if _number(stage, name)]
    return f"({', '.join(notes)})" if notes else ""


def _number(stage: Stage, name: str) -> int:
    value = stage.get(name)
    return value if isinstance(value, int) else 0
