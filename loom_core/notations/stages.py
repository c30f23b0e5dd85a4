"""The stages format as it is written: names, types and limits. `compile` checks what refers to what."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from loom_core.notations.parts import MAX_STAGES, Identifier, Name, Part, Retry, Text
from loom_core.pipelines.plan import OnError, Strategy

MAX_CONCURRENCY = 10_000

type Reach = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
type Mode = Literal["single", "scatter", "gather"]


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
    strategy: Strategy = "concat"


class Stage(Part):
    name: Name
    description: Text = ""
    mode: Mode = "single"
    activity: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    actor: Any = None
    input: Any = None
    scatter: Scatter | None = None
    gather: Gather | None = None
    after: list[Name] | None = None
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
