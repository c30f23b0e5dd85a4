"""The work of a step: a call, a wait, a loop."""

import json
from collections.abc import Callable

from loom_core.errors import InvalidError
from loom_core.expressions.parse import Expression, parse
from loom_core.notations import steps as definition
from loom_core.notations.checks import at, text_at, unwrapped
from loom_core.notations.routes import read_call
from loom_core.notations.steps_check import Scope, StepChecks
from loom_core.pipelines.plan import Block, Call, Kind, Loop, Wait
from loom_core.wire.json import Json

DEFAULT_ROUNDS = 1_000
KINDS: dict[str, Kind] = {"activity": "activity", "agent": "agent", "actor": "actor", "pipeline": "pipeline"}


def read_call_of(checks: StepChecks, kind: str, draft: Json, path: str) -> Call | None:
    """The call of a step, if this is a type of step that calls."""
    if kind not in KINDS:
        return None
    key = "name" if kind == "activity" and at(draft, "activity") is None else definition.CALLS[kind]
    if at(draft, key) is not None:
        return read_call(checks, draft, path, set(), kind=KINDS[kind], key=key)
    checks.read(at(draft, "input"), f"{path}.input", set())
    return None


def read_wait(checks: StepChecks, draft: Json, path: str) -> Wait | None:
    """A wait for an event, or for a duration in milliseconds."""
    event = checks.read(at(draft, "event"), f"{path}.event", set())
    duration = at(draft, "duration")
    seconds = checks.read(duration, f"{path}.duration", set(), bare=True)
    if seconds is not None:
        seconds = _derived(checks, f"{path}.duration", duration, "({}) / 1000")
    return Wait(event=event, seconds=seconds) if event or seconds else None


def read_loop(
    checks: StepChecks, draft: Json, path: str, scope: Scope, inside: Scope
) -> Callable[[Block], Loop | None]:
    """All of a loop but its body: `over` and `times` are read in the scope around it, `while` inside."""
    checks.enter(scope)
    items = checks.read(at(draft, "over"), f"{path}.over", set(), bare=True)
    times = at(draft, "times")
    count = checks.read(times, f"{path}.times", set(), bare=True)
    checks.enter(inside)
    condition = checks.read(at(draft, "while"), f"{path}.while", set(), bare=True)
    limit = at(draft, "maxIterations")
    if not isinstance(limit, int):
        limit = DEFAULT_ROUNDS if condition else None
    if count is not None:
        condition = _derived(checks, f"{path}.times", times, "$.loop.index < ({})")
        limit = limit if limit is not None else definition.MAX_ROUNDS

    def loop(body: Block) -> Loop | None:
        if not body:
            return None
        return Loop(
            body=body,
            items=items,
            item=text_at(draft, "as") or "item",
            condition=condition,
            limit=None if limit == -1 else limit,
            collect=at(draft, "while") is None,
        )

    return loop


def _derived(checks: StepChecks, path: str, value: Json, how: str) -> Expression | None:
    """What was read already, as part of another expression; a number can stand there too."""
    try:
        return parse(how.format(unwrapped(value) if isinstance(value, str) else json.dumps(value)))
    except InvalidError as error:
        checks.refuse(path, error.problems[0].message)
        return None
