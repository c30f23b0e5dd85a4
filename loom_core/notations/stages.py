"""The stages format as it is written: names, types and limits. The compiler checks what refers to what."""

from typing import Annotated, Any, Literal

from pydantic import Field, SkipValidation

from loom_core.notations.document import (
    MAX_STAGES,
    Document,
    Identifier,
    Name,
    Part,
    Retry,
    Seconds,
    Text,
    Undo,
    Unit,
    Worker,
)
from loom_core.pipelines.plan import Strategy

MAX_CONCURRENCY = 10_000
MAX_RATE = 10_000

type Reach = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]


class Rate(Part):
    """How many calls may start.

    calls: How many calls.
    per: In which time.
    """

    calls: Annotated[float, Field(gt=0, le=60 * MAX_RATE)]
    per: Literal["second", "minute"] = "second"


class Config(Part):
    """Limits of a stage.

    concurrency: How many items are in flight at a time, over the whole stage, exactly.
    rateLimit: How many calls may start: a number a second, or `calls` per `second` or `minute`.
    timeout: Seconds, all attempts and waits included.
    retryPolicy: How often and when a failed call is tried again.
    """

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
    """How items become calls.

    maxParallel: As `concurrency`; where both are set, the smaller counts.
    batchSize: How many items go into one call.
    """

    max_parallel: Reach | None = None
    batch_size: Annotated[int, Field(ge=1, le=250)] = 1


class Scatter(Part):
    """A call for each item.

    input: An expression that gives the list of items, or the list.
    as: The name of the item in expressions.
    condition: An expression; items for which it does not hold are skipped.
    """

    input: str | list[Any]
    item: Identifier = Field(default="item", alias="as")
    condition: str | None = None


class Gather(Part):
    """What other stages gave.

    stage: The stage that is gathered.
    stages: The stages that are gathered, in this order.
    from: The stages that are gathered, by names of their own.
    strategy: `concat`: one list; `object`: by name; `merge`: deeply, the last wins; `custom`.
    combine: How outputs become one before an activity or actor gets them.
    reducer: The registered function that combines them.
    """

    stage: Name | None = None
    stages: Annotated[list[Name], Field(min_length=1, max_length=MAX_STAGES)] | None = None
    sources: Annotated[dict[Identifier, Name], Field(min_length=1, max_length=MAX_STAGES)] | None = Field(
        default=None, alias="from"
    )
    strategy: Strategy | None = None
    combine: Strategy | None = None
    reducer: Name | None = None


class Stage(Unit):
    """One stage.

    name: Unique; one with a dash is written `$.stages['list-files']` in expressions.
    description: For people.
    mode: `single`: one call; `scatter`: a call for each item; `gather`: what other stages gave.
    agent: The agent that does the work, or a choice among several.
    strategy: A label, or an expression that gives one: which strategy the target is to take.
    scatter: The items, and which of them are called for.
    gather: Which stages, and how their outputs become one.
    after: Stages to wait for, beyond those that are referred to.
    config: Limits, and what happens when a call fails.
    executorConfig: How items become calls.
    onTimeout: What happens when time runs out.
    compensation: What undoes the work when the run fails or is cancelled later.
    """

    name: Name
    description: Text = ""
    mode: Literal["single", "scatter", "gather"] = "single"
    agent: Worker | None = None
    strategy: Annotated[str, Field(min_length=1)] | None = None
    scatter: Scatter | None = None
    gather: Gather | None = None
    after: list[Name] | None = None
    config: Config = Config()
    executor_config: ExecutorConfig = ExecutorConfig()
    on_timeout: Literal["fail", "skip"] = "fail"
    compensation: SkipValidation[Undo | None] = None


class Pipeline(Document):
    """A pipeline of stages, which start when those that they refer to are done.

    stages: 1 to 100 stages; each starts when those that it refers to are done.
    """

    stages: Annotated[list[SkipValidation[Stage]], Field(min_length=1, max_length=MAX_STAGES)]
