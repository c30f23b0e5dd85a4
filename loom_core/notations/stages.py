"""The stages format as it is written: names, types and limits. `compile` checks what refers to what."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from loom_core.pipelines.plan import OnError

MAX_STAGES = 50
MAX_CONCURRENCY = 10_000

type Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=48)]
type Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=48)]
type Text = Annotated[str, StringConstraints(max_length=4_000)]
type Reach = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
type Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]
type Mode = Literal["single", "scatter", "gather"]


class Part(BaseModel):
    """What every part of a definition has in common: camel case in JSON, no unknown keys, no coercion."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)


class Retry(Part):
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    backoff_ms: Milliseconds | Annotated[list[Milliseconds], Field(min_length=1, max_length=100)] = 1_000
    backoff_multiplier: Annotated[float, Field(ge=1, le=10)] | None = None
    max_backoff_ms: Milliseconds | None = None
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class Config(Part):
    concurrency: Reach | None = None
    timeout: Annotated[float, Field(gt=0, le=30 * 86_400)] | None = None
    retry_policy: Retry | None = None


class ExecutorConfig(Part):
    max_parallel: Reach | None = None
    batch_size: Annotated[int, Field(ge=1, le=250)] = 1


class Scatter(Part):
    input: str | list[Any]
    item: Identifier = Field(default="item", alias="as")
    condition: str | None = None


class Gather(Part):
    stage: Name
    strategy: Literal["concat", "object"] = "concat"


class Stage(Part):
    name: Name
    description: Text = ""
    mode: Mode = "single"
    activity: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    actor: Any = None
    input: Any = None
    scatter: Scatter | None = None
    gather: Gather | None = None
    after: list[Name] = []
    config: Config = Config()
    executor_config: ExecutorConfig = ExecutorConfig()
    on_error: OnError = "fail"


class Pipeline(Part):
    """The document; its stages are checked one by one, so that a fault in one does not hide another's."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
    description: Text = ""
    input: dict[str, Any] | bool | None = None
    stages: Annotated[list[Any], Field(min_length=1, max_length=MAX_STAGES)]
    output: Any = None
