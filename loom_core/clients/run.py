"""A run: what clients see of the orchestration that a pipeline runs as."""

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from loom_core.durable.hub import Status
from loom_core.wire.json import Json, JsonObject, digest

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


def new_run_id(now: Callable[[], float] = time.time, entropy: Callable[[int], bytes] = os.urandom) -> str:
    """A new id: 48 bits of milliseconds and 80 random ones, so that ids sort by time."""
    return new_id(PREFIX, now, entropy)


def new_id(
    prefix: str, now: Callable[[], float] = time.time, entropy: Callable[[int], bytes] = os.urandom
) -> str:
    """A new id of any kind, made in the same way."""
    return prefix + _encoded(int(now() * 1000).to_bytes(6) + entropy(10))


def keyed_run_id(pipeline: str, key: str) -> str:
    """The id that an idempotency key stands for, within its pipeline."""
    return PREFIX + _encoded(hashlib.sha256(f"{pipeline}\0{key}".encode()).digest()[:16])


def _encoded(bits: bytes) -> str:
    return base64.b32hexencode(bits).decode().lower().rstrip("=")
