"""A pipeline that can run: small, frozen, already checked, whatever notation it was written in.

A plan is a block: stages that start when those they wait for are done. Loops and parallel branches hold
blocks of their own. Every stage has a name of its own in the whole plan, whatever block it stands in.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from loom_core.errors import Problem
from loom_core.expressions.parse import Expression
from loom_core.resilience.retry import RetryPolicy
from loom_core.wire.json import Json

type Kind = Literal["activity", "actor", "agent", "pipeline"]
type OnError = Literal["fail", "skip", "collect"]
type Strategy = Literal["concat", "object", "merge", "custom"]


@dataclass(frozen=True, slots=True)
class Target:
    """What does the work of a call: an activity, an actor type, an agent, or a pipeline's `name@version`."""

    kind: Kind
    name: str
    strategy: str = ""
    """Told to the target: which of its ways to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How the target of a call is chosen: always `default`, or by one of the others.

    `expression` and `weights` give a label, and `fallback` lists labels to try one after the other. A label
    stands for the target in `targets`; one that is not there is told to `default` as its strategy.
    """

    default: Target | None = None
    targets: Mapping[str, Target] = field(default_factory=dict[str, Target])
    expression: Expression | None = None
    weights: tuple[tuple[str, float], ...] = ()
    fallback: tuple[str, ...] = ()
    fallback_on: frozenset[str] = frozenset()
    """The types of errors after which the next label is tried; if empty, all but InvalidError."""

    @property
    def names(self) -> frozenset[Target]:
        """Every target that a call can go to, without strategies."""
        found = [*self.targets.values(), *((self.default,) if self.default else ())]
        return frozenset(Target(target.kind, target.name) for target in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. Without an `input` it takes what its stage has: the run's input, the item, what was gathered.

    `actor` gives the id of the actor that is called; without one, every call has an actor of its own.
    """

    route: Route
    input: Expression | None = None
    actor: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """A call for each item; `concurrency` counts items in flight, exactly.

    `rate` is how many calls may start in a second, over the whole stage.
    """

    call: Call
    items: Expression
    item: str
    condition: Expression | None
    concurrency: int
    batch_size: int
    rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """What other stages gave, combined; then, if there is a `call`, that call's result.

    `sources` are pairs of label and stage; the order of what is combined is theirs, then the item's index.
    With `custom`, `reducer` is a registered pure function; without one the call does it.
    """

    sources: tuple[tuple[str, str], ...]
    strategy: Strategy
    reducer: str | None = None
    call: Call | None = None
    input: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An expression's value."""

    value: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Wait for an event, whose payload is the stage's output, or for `seconds`.

    With `watch`, the event tells of files under that path, and the run asks to be told first.
    """

    event: Expression | None = None
    seconds: Expression | None = None
    watch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Blocks side by side: each runs to its end, whatever becomes of others; the failures are told together.

    The output is the list of the outputs of their last stages.
    """

    branches: tuple["Block", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A block, over and over: for each of `items`, or as long as `condition` holds before a round, or as long
    as `again` holds after it; without any of these, until the run is stopped.

    `$.loop.index` counts from 0 and `$.<item>` is the item. After `limit` rounds (None: no limit) the loop
    fails if `strict`, else it ends. The output is the list of its rounds' outputs if `collect`, or the last.
    """

    body: "Block"
    items: Expression | None = None
    item: str = "item"
    condition: Expression | None = None
    again: Expression | None = None
    limit: int | None = 1_000
    strict: bool = True
    collect: bool = False


type Work = Call | Scatter | Gather | Value | Wait | Parallel | Loop


@dataclass(frozen=True, slots=True)
class Gate:
    """A way to a stage: open once `stage` is done, if it was not skipped and took this `branch` (None: any).

    A stage with `branching` takes the branch "true" or "false", as its output is truthy; one whose time ran
    out and that goes on (`on_timeout` is "branch") takes "timeout"; any other takes "".
    """

    stage: str
    branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """What undoes a stage. `input` and `actor` are evaluated when it is done, with its output at hand."""

    route: Route
    input: Expression | None
    retry: RetryPolicy | None
    actor: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `path` is where it stands in the definition; `after` names the stages it waits for.

    With `gates`, it runs only if one of them is open, and is skipped otherwise. `output` is a name of its own
    for its output, beside `$.stages.<name>`. `timeout` is in seconds, or gives them; a stage that is `hidden`
    is not shown in the run's progress. For what time runs out on, "fail" is its error, "skip" leaves its
    output null, "branch" opens the gates of that branch.
    """

    name: str
    path: str
    work: Work
    after: frozenset[str] = frozenset()
    gates: tuple[Gate, ...] = ()
    branching: bool = False
    output: str | None = None
    timeout: float | None = None
    on_timeout: Literal["fail", "skip", "branch"] = "fail"
    retry: RetryPolicy | None = None
    on_error: OnError = "fail"
    compensation: Compensation | None = None
    hidden: bool = False


type Block = tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pipeline that can run; `version` is the digest of its definition, `label` is its author's."""

    name: str
    version: str
    description: str
    input_schema: Json
    stages: Block
    output: Expression | None
    warnings: tuple[Problem, ...]
    label: str = ""
    timeout: float | None = None
    notation: Literal["stages", "steps", "graph"] = "stages"

    def every_stage(self) -> Iterator[Stage]:
        """All stages, those in loops and branches too, in the order of the definition."""
        return every_stage(self.stages)


def every_stage(block: Block) -> Iterator[Stage]:
    """All stages of a block, those in its loops and branches too, in the order of the definition."""
    pending = list(reversed(block))
    while pending:
        stage = pending.pop()
        yield stage
        pending.extend(inner for block in reversed(blocks(stage.work)) for inner in reversed(block))


def names_of(block: Block, *, shown: bool = False) -> list[str]:
    """The names of a block's stages and of those within them; with `shown`, of those that are not hidden."""
    return [stage.name for stage in every_stage(block) if not (shown and stage.hidden)]


def blocks(work: Work) -> tuple[Block, ...]:
    """The blocks within the work of a stage."""
    match work:
        case Parallel():
            return work.branches
        case Loop():
            return (work.body,)
        case _:
            return ()
