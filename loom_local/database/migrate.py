"""The schema's history: numbered SQL files, applied in order and recorded in `user_version`."""

import sqlite3
from importlib import resources
from importlib.resources.abc import Traversable


class DatabaseTooNewError(Exception):
    """The file was written by a newer Loom than this one."""


def migrations() -> list[tuple[int, str]]:
    """Every migration of this Loom as `(number, SQL)`, in order."""
    folder: Traversable = resources.files(__package__) / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.split("_")[0]), f.read_text("utf-8")) for f in files]


def migrate(connection: sqlite3.Connection, path: object) -> None:
    """Bring the file to this Loom's schema, each step in a transaction of its own.

    Raises DatabaseTooNewError, and leaves the file as it is, when a newer Loom has written it.
    """
    known = migrations()
    newest = known[-1][0]
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > newest:
        raise DatabaseTooNewError(
            f"{path} has schema {found}; this Loom knows schemas up to {newest}. "
            "Update Loom, or choose another data folder."
        )
    for number, sql in known:
        if number > found:
            connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
