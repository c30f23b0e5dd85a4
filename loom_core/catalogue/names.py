"""What a definition calls, held against what there is."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from loom_core.errors import InvalidError, Problem
from loom_core.expressions.parse import member
from loom_core.notations import parse
from loom_core.pipelines.gather import REDUCERS
from loom_core.pipelines.plan import Call, Gather, Kind, Plan, Route, Scatter, Stage, Target
from loom_core.wire.json import Json

# How definitions spell who is called, whatever their notation. `function` is a graph's word for an activity.
_KINDS: Final[dict[str, Kind]] = {
    "activity": "activity",
    "function": "activity",
    "condition_func": "activity",
    "actor": "actor",
    "agent": "agent",
    "agentType": "agent",
    "pipeline": "pipeline",
}
# Keys that hold an author's data, where `activity` may be a word like any other.
_DATA: Final = frozenset({"input", "inputs", "output", "outputs", "payload", "parameters", "value", "items"})
_GUESSES: Final = 20
_LONGEST: Final = 1_000

type Known = Mapping[Kind, Collection[str]]
"""The names that there are, by kind."""

type Called = tuple[str, Kind, str]
"""Something that is called: the path where that is written, its kind, its name."""


def check(document: Json, there: Known) -> tuple[Plan | None, list[Problem]]:
    """The plan, or None, and everything that is wrong with the definition, calls of what is not there too.

    Pipelines are not among the calls that are looked at: see `closure`.
    """
    long = _too_long(document)
    if long:
        return None, long
    try:
        plan = parse(document)
    except InvalidError as error:
        # There is no plan that could tell what is called: the text of the definition tells nearly as well.
        return None, [*error.problems, *_missing(_written(document), there)]
    return plan, [*_missing(calls(plan, document), there), *_unregistered(plan)]


def calls(plan: Plan, document: Json) -> Iterator[Called]:
    """What the plan calls, each at the place in its definition, or at the stage if that is not found."""
    written: defaultdict[str, list[str]] = defaultdict(list)
    for path, _, name in _written(document):
        written[name].append(path)
    for target, stage in targets(plan).items():
        places = (path for path in written[target.name] if path.startswith(stage))
        yield next(places, stage), target.kind, target.name


def targets(plan: Plan) -> Mapping[Target, str]:
    """Everything that a run can call, each with the path of a stage that calls it."""
    found: dict[Target, str] = {}
    for stage in plan.every_stage():
        for route in routes(stage):
            for target in route.names:
                found.setdefault(target, stage.path)
    return found


def routes(stage: Stage) -> Iterator[Route]:
    """The routes of a stage's own calls, that of its compensation too."""
    match stage.work:
        case Call(route=route) | Scatter(call=Call(route=route)) | Gather(call=Call(route=route)):
            yield route
        case _:
            pass
    if stage.compensation is not None:
        yield stage.compensation.route


def unknown(kind: Kind, name: str, known: Collection[str]) -> str:
    """The sentence that says so, with the name that was perhaps meant."""
    import difflib  # noqa: PLC0415 - only for those who err

    close = difflib.get_close_matches(name, known, 1, 0.7)
    word = "actor type" if kind == "actor" else kind
    return f"there is no {word} {name!r}{f'; did you mean {close[0]!r}?' if close else ''}"


def _missing(called: Iterator[Called], there: Known) -> list[Problem]:
    found: list[Problem] = []
    for path, kind, name in called:
        known = there.get(kind, ())
        if kind != "pipeline" and name not in known:
            guesses = known if len(found) < _GUESSES else ()  # guessing takes its time
            found.append(Problem(path, unknown(kind, name[:200], guesses)))
    return found


def _unregistered(plan: Plan) -> Iterator[Problem]:
    for stage in plan.every_stage():
        reducer = stage.work.reducer if isinstance(stage.work, Gather) else None
        if reducer is not None and reducer not in REDUCERS:
            message = f"there is no reducer {reducer!r}; a file in activities/ registers one with @reducer"
            yield Problem(f"{stage.path}.gather.reducer", message)


def _too_long(document: Json) -> list[Problem]:
    """The lists that no notation takes: going through all that is wrong with them would take minutes."""
    parts = document.items() if isinstance(document, dict) else ()
    return [
        Problem(member("$", key), f"has at most {_LONGEST} items, this one has {len(part)}")
        for key, part in parts
        if key not in _DATA and isinstance(part, list) and len(part) > _LONGEST
    ]


def _written(document: Json) -> Iterator[Called]:
    """Every call that a definition spells out, in its order."""
    pending = [(document, "$")]
    while pending:
        value, path = pending.pop()
        inner: list[tuple[Json, str]] = []
        if isinstance(value, list):
            inner = [(one, f"{path}[{index}]") for index, one in enumerate(value)]
        elif isinstance(value, dict):
            if value.get("type") == "activity" and isinstance(called := value.get("name"), str):
                yield f"{path}.name", "activity", called
            for key, one in value.items():
                place = member(path, key)
                choice = one.get("type") if isinstance(one, dict) else one
                if key in _KINDS and isinstance(choice, str):
                    yield place if choice is one else f"{place}.type", _KINDS[key], choice
                strategies = one.get("strategies") if key in _KINDS and isinstance(one, dict) else None
                for label, name in strategies.items() if isinstance(strategies, dict) else ():
                    if isinstance(name, str):
                        yield member(f"{place}.strategies", label), _KINDS[key], name
                if key not in _DATA:
                    inner.append((one, place))
        pending += reversed(inner)
