"""What a parsed expression does: closures over JSON that call nothing and count their steps."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import Json, dump

MAX_STEPS = 2_000_000
MAX_INTEGER = 2**63


class State:
    """One evaluation: the data that `$` stands for, and the steps that are left to it."""

    __slots__ = ("root", "steps")

    def __init__(self, root: Json) -> None:
        self.root = root
        self.steps = MAX_STEPS

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise InvalidError(f"the expression takes more than {MAX_STEPS:,} steps over this data")


type Evaluate = Callable[[State, Json], Json]
"""Takes the state and the current node (what `@` stands for inside a filter)."""


class Every(Enum):
    """The two segments that take no argument: `*`, and the `..` that stands before another segment."""

    CHILD = "*"
    DESCENDANT = ".."


@dataclass(frozen=True, slots=True)
class Filter:
    """`[?test]`; `cost` is what one test of a node spends."""

    test: Evaluate
    cost: int


type Segment = str | int | slice | Every | Filter


_NOTHING: Json = ()
"""What a segment finds where there is nothing; JSON data hold no tuple."""


def constant(value: Json) -> Evaluate:
    return lambda _state, _node: value


def path(segments: tuple[Segment, ...], *, current: bool) -> Evaluate:
    """Follow the segments from the root or the current node; a path that can match many gives a list."""
    if all(isinstance(segment, str | int) for segment in segments):
        keys = tuple(segment for segment in segments if isinstance(segment, str | int))
        if current:
            return lambda _state, node: _follow(node, keys)
        return lambda state, _node: _follow(state.root, keys)
    return lambda state, node: _select(state, node if current else state.root, segments)


def _follow(value: Json, keys: Iterable[str | int], missing: Json = None) -> Json:
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key, missing)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        elif key == "length" and isinstance(value, list | str):
            value = len(value)
        else:
            return missing
    return value


def _select(state: State, start: Json, segments: tuple[Segment, ...]) -> list[Json]:
    nodes = [start]
    for segment in segments:
        state.spend(len(nodes))
        if segment is Every.DESCENDANT:
            nodes = _descendants(state, nodes)
        else:
            nodes = [found for node in nodes for found in _step(state, node, segment)]
    return nodes


def _step(state: State, node: Json, segment: Segment) -> Iterable[Json]:
    if isinstance(segment, str | int):
        found = _follow(node, (segment,), _NOTHING)
        return () if found is _NOTHING else (found,)
    if isinstance(segment, slice):
        found = node[segment] if isinstance(node, list) else []
        state.spend(len(found))
        return found
    children = _children(node)
    if isinstance(segment, Filter):
        state.spend(segment.cost * len(children))
        return [child for child in children if segment.test(state, child)]
    state.spend(len(children))
    return children


def _children(node: Json) -> list[Json]:
    if isinstance(node, list):
        return node
    return list(node.values()) if isinstance(node, dict) else []


def _descendants(state: State, nodes: list[Json]) -> list[Json]:
    found: list[Json] = []
    waiting = nodes[::-1]
    while waiting:
        node = waiting.pop()
        found.append(node)
        children = _children(node)
        state.spend(1 + len(children))
        waiting.extend(reversed(children))
    return found


_KINDS: dict[Any, str] = {type(None): "null", bool: "boolean", str: "string", dict: "object", list: "list"}


def kind(value: Json) -> str:
    """Name the JSON type."""
    return _KINDS.get(type(value), "number")


def equal(state: State, left: Json, right: Json) -> bool:
    """Compare deeply and without coercion: `true` is not `1`, `1` is `1.0`."""
    if isinstance(left, str):
        return left == right
    pairs = [(left, right)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            state.spend(4 * len(a))
            pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, dict) and isinstance(b, dict):
            state.spend(4 * len(a))
            if a.keys() != b.keys():
                return False
            pairs.extend((a[key], b[key]) for key in a)
        elif kind(a) != kind(b) or a != b:
            return False
    return True


def contains(state: State, item: Json, holder: Json) -> bool:
    """Tell whether a list has the item, an object the key, or a string the substring."""
    if isinstance(holder, list):
        state.spend(4 * len(holder))
        return any(equal(state, item, other) for other in holder)
    return isinstance(item, str) and isinstance(holder, dict | str) and item in holder


def _compare(compare: Callable[..., bool]) -> Callable[[State, Json, Json], Json]:
    def apply(_state: State, left: Json, right: Json) -> bool:
        return kind(left) == kind(right) and kind(left) in {"number", "string"} and compare(left, right)

    return apply


def _calculate(symbol: str, calculate: Callable[..., float]) -> Callable[[State, Json, Json], Json]:
    def apply(_state: State, left: Json, right: Json) -> float:
        if kind(left) != "number" or kind(right) != "number":
            raise InvalidError(f"'{symbol}' needs two numbers, not {kind(left)} and {kind(right)}")
        try:
            return in_range(calculate(left, right))
        except ZeroDivisionError:
            raise InvalidError("division by zero") from None
        except OverflowError:
            raise InvalidError("a number is out of range") from None

    return apply


def in_range(number: float) -> float:
    """Return the number. Raises InvalidError for what JSON cannot hold or others could not read."""
    if not -MAX_INTEGER < number < MAX_INTEGER and (isinstance(number, int) or number - number != 0):
        raise InvalidError("a number is out of range")
    return number


def _divide(left: float, right: float) -> float:
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _remainder(left: float, right: float) -> float:
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


_plus = _calculate("+", operator.add)


def _add(state: State, left: Json, right: Json) -> Json:
    if isinstance(left, str) and isinstance(right, str):
        state.spend((len(left) + len(right)) // 16)
        return left + right
    return _plus(state, left, right)


_OPERATORS: dict[str, Callable[[State, Json, Json], Json]] = {
    "==": equal,
    "!=": lambda state, left, right: not equal(state, left, right),
    "<": _compare(operator.lt),
    "<=": _compare(operator.le),
    ">": _compare(operator.gt),
    ">=": _compare(operator.ge),
    "in": contains,
    "+": _add,
    "-": _calculate("-", operator.sub),
    "*": _calculate("*", operator.mul),
    "/": _calculate("/", _divide),
    "%": _calculate("%", _remainder),
}
_OPERATORS["==="] = _OPERATORS["=="]
_OPERATORS["!=="] = _OPERATORS["!="]


def binary(symbol: str, left: Evaluate, right: Evaluate) -> Evaluate:
    """Join two closures; `&&`, `||` and `??` evaluate the right one only if they give its value."""
    match symbol:
        case "&&":
            return lambda state, node: right(state, node) if (value := left(state, node)) else value
        case "||":
            return lambda state, node: value if (value := left(state, node)) else right(state, node)
        case "??":
            return lambda state, node: right(state, node) if (value := left(state, node)) is None else value
        case _:
            apply = _OPERATORS[symbol]
            return lambda state, node: apply(state, left(state, node), right(state, node))


def choose(test: Evaluate, yes: Evaluate, no: Evaluate) -> Evaluate:
    return lambda state, node: yes(state, node) if test(state, node) else no(state, node)


def negate(value: Evaluate) -> Evaluate:
    return lambda state, node: not value(state, node)


def minus(value: Evaluate) -> Evaluate:
    return binary("-", constant(0), value)


def collect(parts: list[Evaluate]) -> Evaluate:
    return lambda state, node: [part(state, node) for part in parts]


def arrange(parts: dict[str, Evaluate]) -> Evaluate:
    return lambda state, node: {key: part(state, node) for key, part in parts.items()}


def write(parts: list[Evaluate]) -> Evaluate:
    """Join the parts as text: a string as it is, null as nothing, anything else as compact JSON."""

    def apply(state: State, node: Json) -> str:
        written: list[str] = []
        for part in parts:
            value = part(state, node)
            try:
                text = value if isinstance(value, str) else "" if value is None else dump(value)
            except (TypeError, ValueError) as error:
                raise InvalidError(str(error)) from None
            state.spend(1 + len(text) // 16)
            written.append(text)
        return "".join(written)

    return apply


def located(path: str, value: Evaluate) -> Evaluate:
    """Name the place of the expression in the problems of its evaluation."""

    def apply(state: State, node: Json) -> Json:
        try:
            return value(state, node)
        except InvalidError as error:
            raise InvalidError([Problem(path, problem.message) for problem in error.problems]) from None

    return apply
