"""Definitions: what an activity is called, what it takes and gives, and which bytes it is."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,63}$"
MAX_MODULE_BYTES = 32 * 1024 * 1024

_STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

type JsonSchema = dict[str, JsonValue] | bool


class Limits(BaseModel):
    """What one call of a WASM activity may use."""

    model_config = _STRICT

    max_memory_mb: Annotated[int, Field(alias="maxMemoryMB", ge=1, le=1024)] = 64
    max_execution_ms: Annotated[int, Field(alias="maxExecutionMs", ge=1, le=300_000)] = 5_000
    max_output_bytes: Annotated[int, Field(alias="maxOutputBytes", ge=1, le=32 * 1024 * 1024)] = 1024 * 1024


class Definition(BaseModel):
    """One activity. The manifest of a WASM activity is its JSON; `source` is the file of its module."""

    model_config = _STRICT

    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    description: str = ""
    kind: Literal["native", "wasm"] = "wasm"
    module: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.wasm$")] = "module.wasm"
    digest: Annotated[str, Field(alias="sha256", pattern=r"^[0-9a-f]{64}$")]
    input_schema: Annotated[JsonSchema, Field(alias="inputSchema")] = True
    output_schema: Annotated[JsonSchema, Field(alias="outputSchema")] = True
    limits: Limits = Limits()
    source: Annotated[str, Field(exclude=True)] = ""
