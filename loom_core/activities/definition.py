"""Definitions: what an activity is called, what it takes and gives, and which bytes it is."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loom_core.activities.schema import json_path
from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import JsonObject

NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,63}$"
MAX_MODULE_BYTES = 32 * 1024 * 1024

_STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", serialize_by_alias=True)


class Limits(BaseModel):
    """What one call of a WASM activity may use."""

    model_config = _STRICT

    max_memory_mb: Annotated[int, Field(alias="maxMemoryMB", ge=1, le=1024)] = 64
    max_execution_ms: Annotated[int, Field(alias="maxExecutionMs", ge=1, le=300_000)] = 5_000
    max_output_bytes: Annotated[int, Field(alias="maxOutputBytes", ge=1, le=32 * 1024 * 1024)] = 1024 * 1024


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Definition:
    """`digest` is the sha256 of a WASM activity's module, `source` the file it comes from."""

    name: str
    kind: Literal["native", "wasm"]
    input_schema: JsonObject | bool
    output_schema: JsonObject | bool
    source: str
    version: str = ""
    digest: str = ""
    limits: Limits = DEFAULT_LIMITS


class _Manifest(BaseModel):
    model_config = _STRICT

    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    description: str = ""
    module: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.wasm$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    input_schema: Annotated[JsonObject | bool, Field(alias="inputSchema")] = True
    output_schema: Annotated[JsonObject | bool, Field(alias="outputSchema")] = True
    limits: Limits = DEFAULT_LIMITS


def load_modules(folder: Path) -> list[Definition]:
    """Read every `<folder>/<activity>/manifest.json` and check that its module is the one it pins.

    Raises InvalidError naming every manifest or module that is not as it should be.
    """
    problems: list[Problem] = []
    definitions: list[Definition] = []
    for manifest in sorted(folder.glob("*/manifest.json")):
        try:
            definitions.append(_load(manifest))
        except InvalidError as error:
            problems += [Problem(str(manifest), str(problem)) for problem in error.problems]
    if problems:
        raise InvalidError(problems)
    return definitions


def _load(path: Path) -> Definition:
    try:
        manifest = _Manifest.model_validate_json(path.read_bytes())
        module = path.parent / manifest.module
        found = hashlib.sha256(module.read_bytes()).hexdigest()
    except ValidationError as error:
        raise InvalidError(list(pydantic_problems(error))) from None
    except OSError as error:
        raise InvalidError(f"{error.filename}: {error.strerror}") from None
    if found != manifest.sha256:
        raise InvalidError([Problem("$.sha256", f"{manifest.module} has sha256 {found}")])
    return Definition(
        name=manifest.name,
        kind="wasm",
        input_schema=manifest.input_schema,
        output_schema=manifest.output_schema,
        source=str(module),
        version=manifest.version,
        digest=manifest.sha256,
        limits=manifest.limits,
    )


def pydantic_problems(error: ValidationError) -> Iterator[Problem]:
    """Pydantic's findings, without the values it found them in."""
    for found in error.errors(include_url=False, include_input=False, include_context=False):
        yield Problem(json_path(found["loc"]), found["msg"])
