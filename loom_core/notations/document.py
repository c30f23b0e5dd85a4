"""What documents of every notation have in common, with types, names and limits.

A line `key: words` in the docstring of a model says what the key means; editors show it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StringConstraints
from pydantic.alias_generators import to_camel

from loom_core.errors import Problem
from loom_core.expressions.parse import Expression
from loom_core.pipelines.plan import Block, OnError, Plan
from loom_core.resilience.retry import RetryPolicy
from loom_core.wire.json import JsonObject, digest

MAX_STAGES = 100
"""Over all blocks of a pipeline."""
MAX_NESTING = 16
"""How deep loops and branches may stand in each other."""
MAX_SECONDS = 30 * 86_400

type Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=48)]
type Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=48)]
type PipelineName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
type Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
type TargetName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9_.+-]+)?$", max_length=128)
]
type Label = Annotated[str, StringConstraints(min_length=1, max_length=128)]
type Text = Annotated[str, StringConstraints(max_length=4_000)]
type Milliseconds = Annotated[float, Field(ge=0, le=86_400_000)]
type Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]


class Part(BaseModel):
    """What every part of a definition has in common: camel case in JSON, no unknown keys, no coercion."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)


class Document(Part):
    """A pipeline; its stages are checked one by one, so that a fault in one does not hide another's.

    name: What the pipeline is called: letters, digits, `_`, `.`, `-`.
    version: The author's label for this version; a run keeps the definition it started with.
    description: For people.
    input: A JSON Schema of the run's input.
    timeout: Seconds, all attempts and waits included.
    output: What a run gives: a value of any shape with expressions in it.
    """

    name: PipelineName
    version: Version = ""
    description: Text = ""
    input: dict[str, Any] | bool | None = None
    timeout: Seconds | None = None
    output: Any = None

    def plan(
        self,
        document: JsonObject,
        stages: Block,
        output: Expression | None,
        *,
        warnings: Sequence[Problem],
        notation: Literal["stages", "steps", "graph"],
    ) -> Plan:
        """The plan of the document that was read as this."""
        return Plan(
            name=self.name,
            version=digest(document),
            description=self.description,
            input_schema=self.input,
            stages=stages,
            output=output,
            warnings=tuple(warnings),
            label=self.version,
            timeout=self.timeout,
            notation=notation,
        )


class Retry(Part):
    """When a failed call is tried again.

    maxAttempts: The first attempt included.
    backoffMs: Milliseconds to the second attempt, or the waits in turn.
    backoffMultiplier: From one wait to the next: 2 by default, 1 after a list.
    maxBackoffMs: No wait is longer, in milliseconds.
    jitter: The share of each wait that is left to chance, 0 to 1.
    """

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


class Named(Part):
    """The name of a target, of one kind.

    activity: An activity, native or WASM.
    actor: A type of actor.
    agent: An agent.
    pipeline: A pipeline, `name` or `name@version`.
    """

    activity: TargetName | None = None
    actor: TargetName | None = None
    agent: TargetName | None = None
    pipeline: TargetName | None = None


class Choice(Part):
    """A target that is chosen for each call.

    type: The target that does the work unless another is chosen.
    key: The id of the actor that is called, as `actorId` has it.
    strategies: Targets by the labels that are chosen from.
    strategy: The label that is always chosen, or what is told to the target.
    strategyExpression: An expression that gives the label, evaluated for each call.
    weights: How likely each label is chosen, stable for each item of a run.
    fallback: Labels that are tried one after the other.
    fallbackOn: The types of errors after which the next label is tried; by default all but InvalidError.
    """

    type: TargetName | None = None
    key: Any = None
    strategies: Annotated[dict[Label, TargetName | Named], Field(min_length=1, max_length=32)] | None = None
    strategy: Label | None = None
    strategy_expression: str | None = None
    weights: Annotated[dict[Label, Annotated[float, Field(ge=0)]], Field(max_length=32)] | None = None
    fallback: Annotated[list[Label], Field(min_length=1, max_length=32)] | None = None
    fallback_on: Annotated[list[Label], Field(max_length=32, default_factory=list)]


type Worker = SkipValidation[TargetName | Choice]
"""What a key that names a target holds; `read_route` checks it, and the schema for editors knows it."""


class Caller(Part):
    """What calls something.

    activity: The activity that does the work, native or WASM, or a choice among several.
    actor: The type of actor that does the work, or a choice among several.
    actorId: The id of the actor that is called; without one every call has an actor of its own.
    input: What the work gets: a value of any shape with expressions in it.
    """

    activity: Worker | None = None
    actor: Worker | None = None
    actor_id: Any = None
    input: Any = None


class Undo(Caller):
    """A compensation.

    input: What undoes the work gets; by default the output of the work.
    retry: How often and when a failed call is tried again.
    """

    retry: Retry | None = None


class Unit(Caller):
    """What a stage, a step and a node have in common.

    pipeline: The pipeline that does the work, `name` or `name@version`, or a choice among several.
    onError: What a failure means: `fail`, `skip` it, or `collect` it as part of the output.
    """

    pipeline: Worker | None = None
    on_error: OnError = "fail"
