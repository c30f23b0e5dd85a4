"""What a module may use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_MODULE_BYTES = 32 * 1024 * 1024
STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)


class Limits(BaseModel):
    """What one call of a module may use."""

    model_config = STRICT

    max_memory_mb: Annotated[int, Field(alias="maxMemoryMB", ge=1, le=1024)] = 64
    max_execution_ms: Annotated[int, Field(alias="maxExecutionMs", ge=1, le=300_000)] = 5_000
    max_output_bytes: Annotated[int, Field(alias="maxOutputBytes", ge=1, le=32 * 1024 * 1024)] = 1024 * 1024
