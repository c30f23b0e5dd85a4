"""Runs as JSON documents."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from loom_core.clients.run import Run, Status
from loom_core.wire.json import Json, JsonObject


class RunError(BaseModel):
    type: str
    message: str


class ProblemDocument(BaseModel):
    path: str
    message: str


class StageProgress(BaseModel):
    status: str
    done: int
    total: int
    skipped: int
    failed: int
    error: RunError | None = None


class CompensationDocument(BaseModel):
    """What became of undoing a stage."""

    stage: str
    status: str
    error: RunError | None = None


class RunDocument(BaseModel):
    """A run; a list leaves out `input` and `output`. `compensations` and `warnings` are there if any are."""

    runId: str  # noqa: N815 - the wire's spelling
    pipeline: str
    version: str
    status: Status
    input: Any = None
    output: Any = None
    error: RunError | None
    progress: dict[str, StageProgress]
    compensations: list[CompensationDocument] = []
    warnings: list[ProblemDocument] = []
    createdAt: str  # noqa: N815 - the wire's spelling
    updatedAt: str  # noqa: N815 - the wire's spelling


class RunList(BaseModel):
    runs: list[RunDocument]
    next: str | None


type Rewrite = Callable[[Json], Awaitable[Json]]

_COUNTS = ("done", "total", "skipped", "failed")


def document(run: Run, *, brief: bool = False) -> dict[str, Json]:
    """The run as JSON; a brief one leaves out the input and the output, which may be large."""
    return {
        "runId": run.id,
        "pipeline": run.pipeline,
        "version": run.version,
        "status": run.status,
        **({} if brief else {"input": run.input, "output": run.output}),
        "error": run.error,
        "progress": {name: _progress(stage) for name, stage in run.stages.items()},
        **run.notes,
        "createdAt": _iso(run.created),
        "updatedAt": _iso(run.updated),
    }


async def whole(run: Run, request: Request) -> dict[str, Json]:
    """The run as JSON with its input and its output, the long strings in their places."""
    resolve: Rewrite = request.app.state.resolve
    return document(replace(run, input=await resolve(run.input), output=await resolve(run.output)))


async def referred(value: Json, request: Request) -> Json:
    """The document as a run is given it: of a large one, the long strings lie in the blob store."""
    refer: Rewrite = request.app.state.refer
    return await refer(value)


def _progress(stage: JsonObject) -> JsonObject:
    error = stage.get("error")
    counts = {key: stage.get(key, 0) for key in _COUNTS}
    return {"status": stage.get("status", "pending"), **counts, **({} if error is None else {"error": error})}


def _iso(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
