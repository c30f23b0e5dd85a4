"""A pipeline that can run: small, frozen, already checked."""

from dataclasses import dataclass
from typing import Literal

from loom_core.errors import Problem
from loom_core.resilience.retry import RetryPolicy
from loom_core.wire.expressions import Expression
from loom_core.wire.json import Json

type OnError = Literal["fail", "skip", "collect"]
type Strategy = Literal["concat", "object"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Which items a stage works through; `concurrency` counts items in flight, exactly."""

    items: Expression
    item: str
    condition: Expression | None
    concurrency: int
    batch_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    stage: str
    strategy: Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `path` is where it stands in the definition; `after` names the stages it waits for."""

    name: str
    path: str
    activity: str | None
    input: Expression | None
    scatter: Scatter | None
    gather: Gather | None
    after: frozenset[str]
    timeout: float | None
    retry: RetryPolicy | None
    on_error: OnError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline that can run; `version` is the digest of its definition."""

    name: str
    version: str
    description: str
    input_schema: Json
    stages: tuple[Stage, ...]
    output: Expression | None
    warnings: tuple[Problem, ...]

    @property
    def activities(self) -> frozenset[str]:
        """The names of all activities that a run can call."""
        return frozenset(stage.activity for stage in self.stages if stage.activity is not None)
