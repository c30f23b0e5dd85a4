"""Runs: what clients see of the orchestrations that pipelines run as."""

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from loom_core.wire.json import Json, JsonObject, digest

type Status = Literal["pending", "running", "suspended", "completed", "failed", "cancelled"]
type Control = Literal["cancel", "suspend", "resume", "stop", "rewind"]

FINISHED: frozenset[Status] = frozenset(("completed", "failed", "cancelled"))
PREFIX = "run-"
RUN_ID = re.compile(r"run-[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Start:
    """What a run is to do. `definition` is the pipeline's document, which the run carries with it.

    `library` holds the definitions of the pipelines that it calls, by how they are written; `asked` is the
    version that was asked for, if one was.
    """

    pipeline: str
    version: str
    definition: JsonObject
    input: Json
    library: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    asked: str | None = None

    @property
    def request(self) -> str:
        """Equal for equal requests, whatever version of the pipeline they met, unless they asked for one."""
        return digest([self.pipeline, self.input, *([self.asked] if self.asked else [])])


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it was at one moment. `stages` is the last progress document's, `seq` its number."""

    id: str
    pipeline: str
    version: str
    status: Status
    created: datetime
    updated: datetime
    input: Json = None
    output: Json = None
    error: JsonObject | None = None
    stages: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    seq: int = 0
    notes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What was published beside the stages: `compensations` and `warnings`, each a list, if there are any."""
    is_graph: bool = False
    """Whether its definition has nodes."""

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, in the backend's order; `next` continues the listing and is None at its end."""

    runs: tuple[Run, ...]
    next: str | None


class Runs(Protocol):
    """Starts and follows runs. Every method raises UnavailableError when the backend cannot be reached."""

    async def start(self, start: Start, key: str | None = None) -> tuple[str, bool]:
        """Start a run; answers its id and whether it is new.

        The same key and request give the same run, finished or not. Raises ConflictError if the key was used
        for another request.
        """
        ...

    async def get(self, run_id: str) -> Run:
        """Raises NotFoundError."""
        ...

    async def list(self, *, status: Status | None = None, limit: int = 50, after: str | None = None) -> Page:
        """At most `limit` runs from where `after`, an earlier page's `next`, left off."""
        ...

    async def wait(self, run_id: str, seconds: float) -> Run:
        """The run, which exists, as it is once finished or after `seconds`."""
        ...

    async def control(self, run_id: str, action: Control, *, force: bool = False) -> Run:
        """Steer a run; doing it again changes nothing.

        `cancel` has it undo what it can; with `force` it ends at once and undoes nothing. `stop` has it come
        to an end of its own: loops and waits are cut short. `rewind` has a failed or cancelled run go on from
        what failed. Raises NotFoundError, and ConflictError where the run's state does not allow it.
        """
        ...

    async def raise_event(self, run_id: str, name: str, payload: Json) -> None:
        """Deliver an event to the run. Raises NotFoundError, and ConflictError if the run is finished."""
        ...


def new_run_id(now: Callable[[], float] = time.time, entropy: Callable[[int], bytes] = os.urandom) -> str:
    """A new id: 48 bits of milliseconds and 80 random ones, so that ids sort by time."""
    return _run_id(int(now() * 1000).to_bytes(6) + entropy(10))


def keyed_run_id(pipeline: str, key: str) -> str:
    """The id that an idempotency key stands for, within its pipeline."""
    return _run_id(hashlib.sha256(f"{pipeline}\0{key}".encode()).digest()[:16])


def _run_id(bits: bytes) -> str:
    return PREFIX + base64.b32hexencode(bits).decode().lower().rstrip("=")
