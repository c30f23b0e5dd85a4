"""Definitions: what an activity is called, what it takes and gives, and which bytes it is."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from loom_core.sandbox.limits import STRICT, Limits

NAME = r"^[A-Za-z][A-Za-z0-9._-]{0,63}$"

type JsonSchema = dict[str, JsonValue] | bool


class Definition(BaseModel):
    """One activity. The manifest of a WASM activity is its JSON; `source` is the file of its module."""

    model_config = STRICT

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
