"""The stages format as it is written: names, types and limits. The compiler checks what refers to what."""

from typing import Annotated, Any, Literal

from pydantic import Field, SkipValidation

from loom_core.notations.parts import (
    MAX_STAGES,
    Identifier,
    Name,
    Part,
    PipelineName,
    Retry,
    Seconds,
    Text,
    Version,
)
from loom_core.notations.routes import Undo, Worker
from loom_core.pipelines.plan import OnError, Strategy

MAX_CONCURRENCY = 10_000
MAX_RATE = 10_000

type Reach = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
type Mode = Literal["single", "scatter", "gather"]


class Rate(Part):
    calls: Annotated[float, Field(gt=0, le=60 * MAX_RATE)]
    per: Literal["second", "minute"] = "second"


class Config(Part):
    concurrency: Reach | None = None
    rate_limit: Annotated[float, Field(gt=0, le=MAX_RATE)] | Rate | None = None
    timeout: Seconds | None = None
    retry_policy: Retry | None = None

    @property
    def rate(self) -> float | None:
        """Calls a second."""
        if isinstance(self.rate_limit, Rate):
            return self.rate_limit.calls / (60 if self.rate_limit.per == "minute" else 1)
        return self.rate_limit


class ExecutorConfig(Part):
    max_parallel: Reach | None = None
    batch_size: Annotated[int, Field(ge=1, le=250)] = 1


class Scatter(Part):
    input: str | list[Any]
    item: Identifier = Field(default="item", alias="as")
    condition: str | None = None


class Gather(Part):
    stage: Name | None = None
    stages: Annotated[list[Name], Field(min_length=1, max_length=MAX_STAGES)] | None = None
    sources: Annotated[dict[Identifier, Name], Field(min_length=1, max_length=MAX_STAGES)] | None = Field(
        default=None, alias="from"
    )
    strategy: Strategy | None = None
    combine: Strategy | None = None
    reducer: Name | None = None


class Stage(Part):
    name: Name
    description: Text = ""
    mode: Mode = "single"
    activity: Worker | None = None
    actor: Worker | None = None
    agent: Worker | None = None
    pipeline: Worker | None = None
    strategy: Annotated[str, Field(min_length=1)] | None = None
    actor_id: Any = None
    input: Any = None
    scatter: Scatter | None = None
    gather: Gather | None = None
    after: list[Name] | None = None
    config: Config = Config()
    executor_config: ExecutorConfig = ExecutorConfig()
    on_error: OnError = "fail"
    on_timeout: Literal["fail", "skip"] = "fail"
    compensation: SkipValidation[Undo | None] = None


class Pipeline(Part):
    """The document; its stages are checked one by one, so that a fault in one does not hide another's."""

    name: PipelineName
    version: Version = ""
    description: Text = ""
    input: dict[str, Any] | bool | None = None
    timeout: Seconds | None = None
    stages: Annotated[list[SkipValidation[Stage]], Field(min_length=1, max_length=MAX_STAGES)]
    output: Any = None
