"""The settings: one frozen object, read once from the environment."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self, cast, get_args

from loom_core.errors import InvalidError, Problem

type Blobs = Literal["files", "memory"]
type Queue = Literal["sqlite", "memory"]
type Store = Literal["sqlite", "memory"]

_OURS: Final = ("LOOM_BLOBS", "LOOM_DATA", "LOOM_QUEUE", "LOOM_STORE")
# Read by the `loom` command and by the tests; an app finds them in its environment and has no use for them.
_OF_TOOLS: Final = ("LOOM_URL", "LOOM_API_KEY")
_OF_TESTS: Final = ("LOOM_TEST_", "LOOM_CRASH_")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where an app keeps what it keeps. `data` is a directory for what lives in files."""

    data: Path
    blobs: Blobs
    store: Store
    queue: Queue

    @classmethod
    def read(cls, environment: Mapping[str, str], root: Path) -> Self:
        """Read `LOOM_DATA` (default: `.loom` in the app's root), `LOOM_BLOBS` (`files` or `memory`),
        `LOOM_STORE` and `LOOM_QUEUE` (`sqlite` or `memory`).

        An empty value counts as unset. Raises InvalidError for every `LOOM_` name that is not known and every
        value that is not allowed.
        """
        given = {name: value for name, value in environment.items() if name.startswith("LOOM_") and value}
        problems = [Problem(name, _unknown(name)) for name in sorted(given) if not _is_known(name)]
        blobs = given.get("LOOM_BLOBS", "files")
        store = given.get("LOOM_STORE", "sqlite")
        queue = given.get("LOOM_QUEUE", "sqlite")
        chosen_of = {"LOOM_BLOBS": (blobs, Blobs), "LOOM_STORE": (store, Store), "LOOM_QUEUE": (queue, Queue)}
        for name, (chosen, kind) in chosen_of.items():
            allowed = get_args(kind.__value__)
            if chosen not in allowed:
                problems.append(Problem(name, f"{chosen!r} is not one of {', '.join(allowed)}"))
        if problems:
            raise InvalidError(problems)
        data = Path(given.get("LOOM_DATA", ".loom")).expanduser()
        return cls(root / data, cast("Blobs", blobs), cast("Store", store), cast("Queue", queue))


def _is_known(name: str) -> bool:
    return name in _OURS or name in _OF_TOOLS or name.startswith(_OF_TESTS)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _OURS, 1, 0.7)
    return (
        f"no such setting; did you mean {close[0]}?"
        if close
        else f"no such setting; there are {', '.join(_OURS)}"
    )
