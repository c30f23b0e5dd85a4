"""What the notations write alike: names, texts, retries."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from loom_core.resilience.retry import RetryPolicy

MAX_STAGES = 100
"""Over all blocks of a pipeline."""
MAX_SECONDS = 30 * 86_400

type Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=48)]
type Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=48)]
type PipelineName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
type Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
type Text = Annotated[str, StringConstraints(max_length=4_000)]
type Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]
type Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]


class Part(BaseModel):
    """What every part of a definition has in common: camel case in JSON, no unknown keys, no coercion."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)


class Retry(Part):
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    backoff_ms: Milliseconds | Annotated[list[Milliseconds], Field(min_length=1, max_length=100)] = 1_000
    backoff_multiplier: Annotated[float, Field(ge=1, le=10)] | None = None
    max_backoff_ms: Milliseconds | None = None
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2

    @property
    def policy(self) -> RetryPolicy:
        """Waits in a list are meant as they are; a single wait doubles, up to a minute."""
        listed = isinstance(self.backoff_ms, list)
        waits = tuple(self.backoff_ms) if isinstance(self.backoff_ms, list) else (self.backoff_ms,)
        growth, longest = (1.0, max(waits)) if listed else (2.0, 60_000.0)
        return RetryPolicy(
            max_attempts=self.max_attempts,
            backoff_ms=waits,
            multiplier=self.backoff_multiplier or growth,
            max_backoff_ms=longest if self.max_backoff_ms is None else self.max_backoff_ms,
            jitter=self.jitter,
        )
