"""The steps format (WDL) as it is written: one after the other, with types, names and limits."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, SkipValidation

from loom_core.notations.checks import list_at
from loom_core.notations.document import (
    MAX_NESTING,
    MAX_SECONDS,
    MAX_STAGES,
    Document,
    Identifier,
    Name,
    Retry,
    Undo,
    Unit,
    Worker,
)
from loom_core.wire.json import Json

MAX_ROUNDS = 1_000_000

type Duration = Annotated[float, Field(gt=0, le=1_000 * MAX_SECONDS), AfterValidator(lambda ms: ms / 1_000)]
"""In milliseconds as it is written, in seconds as it is read."""
type Steps = Annotated[list[SkipValidation["Step"]], Field(max_length=MAX_STAGES)]
type Type = Literal["activity", "agent", "actor", "pipeline", "parallel", "condition", "wait", "loop"]

COMMON = frozenset({"type", "id", "output"})
TIMED = frozenset({"timeout", "onTimeout", "onError"})
CALLED = TIMED | {"input", "retry", "compensation"}
KEYS: dict[str, frozenset[str]] = {
    "activity": CALLED | {"activity", "name"},
    "agent": CALLED | {"agentType"},
    "actor": CALLED | {"actor", "actorId"},
    "pipeline": CALLED | {"pipeline"},
    "parallel": TIMED | {"branches"},
    "condition": frozenset({"if", "then", "else"}),
    "wait": TIMED | {"event", "duration"},
    "loop": TIMED | {"over", "while", "times", "as", "maxIterations", "steps"},
}
"""What a step of a type can have, beside the common keys."""
REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "activity": (("activity", "name"),),
    "agent": (("agentType",),),
    "actor": (("actor",),),
    "pipeline": (("pipeline",),),
    "parallel": (("branches",),),
    "condition": (("if",), ("then",)),
    "wait": (("event", "duration"),),
    "loop": (("over", "while", "times"), ("steps",)),
}
"""What a step of a type must have: one key of each group, and one only."""


def _by_type(schema: dict[str, Any]) -> None:
    """Tell editors what belongs to which type."""
    schema["allOf"] = [
        {
            "if": {"properties": {"type": {"const": kind}}},
            "then": {
                "propertyNames": {"enum": sorted(COMMON | keys)},
                "allOf": [{"oneOf": [{"required": [key]} for key in group]} for group in REQUIRED[kind]],
            },
        }
        for kind, keys in KEYS.items()
    ]


class Step(Unit):
    """A step of any type; `KEYS` and `REQUIRED` say what belongs to which.

    type: What kind of step it is.
    id: What the step is called in progress and errors; unique.
    output: The name of the step's output in later expressions.
    name: The activity that does the work.
    agentType: The agent that does the work, or a choice among several.
    branches: Lists of steps that run side by side.
    if: An expression that decides between `then` and `else`.
    then: The steps if it holds.
    else: The steps if it does not.
    event: The name of the event that is waited for; its payload is the output.
    duration: Milliseconds to wait.
    over: A list, or an expression that gives one: a round for each item.
    while: An expression: a round as long as it holds before it.
    times: How many rounds.
    as: The name of the item in expressions.
    maxIterations: How many rounds at most; -1 is without a limit.
    steps: The steps of a round.
    timeout: Milliseconds, all attempts and waits included.
    onTimeout: What happens when time runs out.
    retry: How often and when a failed call is tried again.
    compensation: What undoes the work when the run fails or is cancelled later.
    """

    model_config = ConfigDict(json_schema_extra=_by_type)

    type: Type
    id: Name | None = None
    output: Identifier | None = None
    name: Worker | None = None
    agent_type: Worker | None = None
    branches: Annotated[list[Steps], Field(min_length=1, max_length=MAX_STAGES)] | None = None
    test: str | bool | None = Field(default=None, alias="if")
    then: Steps | None = None
    otherwise: Steps | None = Field(default=None, alias="else")
    event: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    duration: Duration | str | None = None
    over: str | list[Any] | None = None
    condition: str | bool | None = Field(default=None, alias="while")
    times: Annotated[int, Field(ge=0, le=MAX_ROUNDS)] | str | None = None
    item: Identifier = Field(default="item", alias="as")
    max_iterations: Annotated[int, Field(ge=-1, le=MAX_ROUNDS)] | None = None
    steps: Annotated[Steps, Field(min_length=1)] | None = None
    timeout: Duration | None = None
    on_timeout: Literal["fail", "continue"] | Steps = "fail"
    retry: Retry | None = None
    compensation: SkipValidation[Undo | None] = None


class Workflow(Document):
    """A pipeline of steps.

    timeout: Milliseconds for the whole run.
    steps: The steps, one after the other.
    """

    timeout: Duration | None = None
    steps: Annotated[Steps, Field(min_length=1)]


def every_step(steps: Sequence[Json], path: str, depth: int = 1) -> Iterator[tuple[str, Json]]:
    """Every step with its path, those within others after them, down to the depth that is allowed."""
    for index, draft in enumerate(steps):
        here = f"{path}[{index}]"
        yield here, draft
        for place, inner in lists_in(draft) if depth < MAX_NESTING else ():
            yield from every_step(inner, f"{here}.{place}", depth + 1)


def lists_in(draft: Json) -> Iterator[tuple[str, Sequence[Json]]]:
    """The lists of steps within a step, each with its place."""
    for place in ("then", "else", "steps", "onTimeout"):
        yield place, list_at(draft, place)
    for index, branch in enumerate(list_at(draft, "branches")):
        yield f"branches[{index}]", branch if isinstance(branch, list) else []
