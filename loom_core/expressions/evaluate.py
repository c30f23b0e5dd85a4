"""What a parsed expression does: closures over JSON that call nothing and count their steps."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from itertools import chain, takewhile
from typing import Any

from loom_core.errors import InvalidError, Problem
from loom_core.wire.json import Json, dump, referred

MAX_STEPS = 2_000_000
MAX_INTEGER = 2**63
_MIN_INTEGER = -MAX_INTEGER


class State:
    """One evaluation: the data that `$` stands for, and the steps that are left, of about 20 ns each."""

    __slots__ = ("root", "steps")

    def __init__(self, root: Json, spent: int) -> None:
        self.root = root
        self.steps = MAX_STEPS - spent

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

SPECIAL = {"length", "$ref", "bytes"}
"""Keys that ask for more than a field of an object: how long something is, or the inside of a reference."""


@dataclass(frozen=True, slots=True)
class Constant:
    value: Json

    def __call__(self, _state: State, _node: Json) -> Json:
        return self.value


def path(segments: tuple[Segment, ...], *, current: bool) -> Evaluate:
    """Follow the segments from the root or the current node; a path that can match many gives a list."""
    keys = [*takewhile(lambda segment: isinstance(segment, str | int), segments)]
    start, rest = _point(keys, current=current), segments[len(keys) :]
    return (lambda state, node: _select(state, start(state, node), rest)) if rest else start


def _point(keys: Sequence[Any], *, current: bool) -> Evaluate:
    follow = _follow if any(isinstance(key, int) or key in SPECIAL for key in keys) else _descend
    if not current:
        return lambda state, _node: follow(state.root, keys)
    if len(keys) == 1 and follow is _descend:
        key = keys[0]
        return lambda _state, node: node.get(key) if isinstance(node, dict) else None
    return (lambda _state, node: follow(node, keys)) if keys else lambda _state, node: node


def _descend(value: Json, keys: Iterable[Any]) -> Json:
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _follow(value: Json, keys: Iterable[str | int], missing: Json = None) -> Json:
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            if key in SPECIAL and referred(value):
                if key == "length":
                    whole(value)
                return missing
            value = value.get(key, missing)
        elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
            value = value[key]
        elif key == "length" and isinstance(value, list | str):
            value = len(value)
        else:
            return missing
    return value


def whole(value: Json) -> None:
    """Refuse text that is kept by reference, where what is in it matters."""
    if not isinstance(value, dict) or not referred(value):
        return
    size = value["bytes"]
    known = f" ({size:,} bytes)" if isinstance(size, int) and 0 < size < MAX_INTEGER else ""
    raise InvalidError(
        f"the text is kept by reference{known}, and an expression cannot look into it: pass it whole to "
        "an activity, or let the activity that made it return what is needed as a field of its own"
    )


def _select(state: State, start: Json, segments: tuple[Segment, ...]) -> Json:
    nodes: Sequence[Json] = [start]
    for segment in segments:
        state.spend(48)
        if isinstance(segment, Filter):
            nodes = _children(state, nodes)
            state.spend(segment.cost * len(nodes))
            nodes = [node for node in nodes if segment.test(state, node)]
        elif isinstance(segment, slice):
            nodes = _slices(state, nodes, segment)
        elif isinstance(segment, Every):
            nodes = (_children if segment is Every.CHILD else _descendants)(state, nodes)
        elif isinstance(segment, int) or segment in SPECIAL:
            state.spend(40 * len(nodes))
            found = (_follow(node, (segment,), _NOTHING) for node in nodes)
            nodes = [value for value in found if value is not _NOTHING]
        else:
            state.spend(3 * len(nodes))
            nodes = [node[segment] for node in nodes if isinstance(node, dict) and segment in node]
    return nodes


def _slices(state: State, nodes: Sequence[Json], part: slice) -> list[Json]:
    found: list[Json] = []
    for node in nodes:
        size = len(range(len(node))[part]) if isinstance(node, list) else 0
        state.spend(24 + size)
        found.extend(node[part] if isinstance(node, list) else ())
    return found


def _below(state: State, node: Json) -> Any:
    """The children of a node; text has none, not even if it is kept by reference."""
    if not isinstance(node, dict):
        return node if isinstance(node, list) else ()
    state.spend(36)
    return () if referred(node) else node.values()


def _children(state: State, nodes: Sequence[Json]) -> Sequence[Json]:
    """The children of all nodes; those of a single list are the list itself, however long it is."""
    if len(nodes) == 1 and isinstance(nodes[0], list):
        return nodes[0]
    state.spend(8 * len(nodes))
    below = [node if isinstance(node, list) else _below(state, node) for node in nodes]
    state.spend(sum(map(len, below)))
    return list(chain.from_iterable(below))


def _descendants(state: State, nodes: Sequence[Json]) -> list[Json]:
    found: list[Json] = []
    state.spend(6 * len(nodes))
    waiting = [*reversed(nodes)]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, (list, dict)):
            below = node if isinstance(node, list) else _below(state, node)
            state.spend(4 + 6 * len(below))
            waiting.extend(reversed(below))
    return found


_KINDS: dict[type, str] = {type(None): "null", bool: "boolean", str: "string", dict: "object", list: "list"}
_NUMBERS = {int, float}
_LONG = 512


def kind(value: Json) -> str:
    """Name the JSON type; text that is kept by reference is a string."""
    return "string" if referred(value) else _KINDS.get(type(value), "number")


def equal(state: State, left: Json, right: Json) -> bool:
    """Compare deeply and without coercion: `true` is not `1`, `1` is `1.0`."""
    lefts, rights = [left], [right]
    while lefts:
        a, b = lefts.pop(), rights.pop()
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            state.spend(10 + 9 * len(a))
            lefts.extend(a)
            rights.extend(b)
        elif isinstance(a, dict) and isinstance(b, dict):
            state.spend(40 + 16 * len(a))
            if a.keys() != b.keys():
                return False
            lefts.extend(a.values())
            rights.extend(map(b.__getitem__, a))
        elif a != b if type(a) is type(b) is not str else not _same(state, a, b):
            return False
    return True


def _same(state: State, a: Json, b: Json) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        state.spend(min(len(a), len(b)) // 64)
        return a == b
    if isinstance(b, str):
        a, b = b, a
    if isinstance(a, str):
        state.spend(len(a) // 8)
        name = referred(b)
        return name is not None and name.endswith(sha256(a.encode(errors="surrogatepass")).hexdigest())
    return type(a) in _NUMBERS and type(b) in _NUMBERS and a == b


def contains(state: State, item: Json, holder: Json) -> bool:
    """Tell whether a list has the item, an object the key, or a string the substring."""
    if isinstance(holder, list):
        state.spend(24 * len(holder))
        return any(equal(state, item, other) for other in holder)
    whole(holder)
    if not isinstance(holder, dict | str):
        return False
    whole(item)
    if isinstance(item, str) and isinstance(holder, str):
        searched = len(item) if len(holder) < 4096 else min(len(item), 128)  # a long text is searched smartly
        state.spend(len(holder) * (8 + searched) // 100)
    return isinstance(item, str) and item in holder


def _compare(compare: Callable[..., bool]) -> Callable[[State, Json, Json], Json]:
    def apply(state: State, left: Json, right: Json) -> bool:
        if type(left) in _NUMBERS and type(right) in _NUMBERS:
            return compare(left, right)
        if isinstance(left, str) and isinstance(right, str):
            state.spend(min(len(left), len(right)) // 16)
            return compare(left, right)
        if kind(left) == kind(right) == "string":
            whole(left)
            whole(right)
        return False

    return apply


def _calculate(symbol: str, calculate: Callable[..., float]) -> Callable[[State, Any, Any], Json]:
    def apply(_state: State, left: Any, right: Any) -> float:
        if type(left) not in _NUMBERS or type(right) not in _NUMBERS:
            raise InvalidError(f"'{symbol}' needs two numbers, not {kind(left)} and {kind(right)}")
        try:
            if not (_MIN_INTEGER < left < MAX_INTEGER and _MIN_INTEGER < right < MAX_INTEGER):
                left, right = in_range(left), in_range(right)
            result = calculate(left, right)
            return result if _MIN_INTEGER < result < MAX_INTEGER else in_range(result)
        except ZeroDivisionError:
            raise InvalidError("division by zero") from None
        except OverflowError:
            raise InvalidError("a number is out of range") from None

    return apply


def in_range(number: float) -> float:
    """Return the number. Raises InvalidError for what JSON cannot hold or others could not read."""
    if not _MIN_INTEGER < number < MAX_INTEGER and (isinstance(number, int) or number - number != 0):
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
        state.spend((len(left) + len(right)) // 8)
        return left + right
    if kind(left) == kind(right) == "string":
        whole(left)
        whole(right)
    return _plus(state, left, right)


_ORDERS: dict[str, Callable[..., bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARISONS = {"==": operator.eq, "===": operator.eq, **_ORDERS}
_OPERATORS: dict[str, Callable[[State, Json, Json], Json]] = {
    **{symbol: _compare(order) for symbol, order in _ORDERS.items()},
    "==": equal,
    "===": equal,
    "!=": lambda state, left, right: not equal(state, left, right),
    "in": contains,
    "+": _add,
    "-": _calculate("-", operator.sub),
    "*": _calculate("*", operator.mul),
    "/": _calculate("/", _divide),
    "%": _calculate("%", _remainder),
}
_OPERATORS["!=="] = _OPERATORS["!="]


def cost(symbol: str, right: Evaluate) -> int:
    """The steps that an operator takes by itself; comparing with a number or a short text is cheap."""
    return 2 if symbol in {"&&", "||", "??"} or _fixed(symbol, right) is not None else 44


def _fixed(symbol: str, right: Evaluate) -> str | float | None:
    value = right.value if isinstance(right, Constant) and symbol in _COMPARISONS else None
    if isinstance(value, str):
        return value if len(value) < _LONG else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _compare_with(compare: Callable[..., bool], left: Evaluate, right: str | float) -> Evaluate:
    if isinstance(right, str):
        return lambda state, node: (
            compare(value, right)
            if isinstance(value := left(state, node), str)
            else _no_text(compare, state, value, right)
        )
    return lambda state, node: type(value := left(state, node)) in _NUMBERS and compare(value, right)


def _no_text(compare: Callable[..., bool], state: State, value: Json, text: str) -> bool:
    if compare is operator.eq:
        return _same(state, value, text)
    whole(value)
    return False


def binary(symbol: str, left: Evaluate, right: Evaluate) -> Evaluate:
    """Join two closures; `&&`, `||` and `??` evaluate the right one only if they give its value."""
    match symbol:
        case "&&":
            return lambda state, node: right(state, node) if (value := left(state, node)) else value
        case "||":
            return lambda state, node: value if (value := left(state, node)) else right(state, node)
        case "??":
            return lambda state, node: right(state, node) if (value := left(state, node)) is None else value
        case _ if (fixed := _fixed(symbol, right)) is not None:
            return _compare_with(_COMPARISONS[symbol], left, fixed)
        case _:
            apply = _OPERATORS[symbol]
            return lambda state, node: apply(state, left(state, node), right(state, node))


def choose(test: Evaluate, yes: Evaluate, no: Evaluate) -> Evaluate:
    return lambda state, node: yes(state, node) if test(state, node) else no(state, node)


def negate(value: Evaluate) -> Evaluate:
    return lambda state, node: not value(state, node)


def minus(value: Evaluate) -> Evaluate:
    return binary("-", Constant(0), value)


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
            text = value if isinstance(value, str) else "" if value is None else _encoded(state, value)
            state.spend(1 + len(text) // 8)
            written.append(text)
        return "".join(written)

    return apply


def _encoded(state: State, value: Json) -> str:
    for part in _descendants(state, [value]):
        state.spend(30)
        if isinstance(part, dict):
            whole(part)
            state.spend(sum(map(len, part)) // 8)
        elif isinstance(part, str):
            state.spend(len(part) // 8)
        elif isinstance(part, float):
            state.spend(100)
        elif isinstance(part, int):
            in_range(part)
    try:
        return dump(value)
    except (TypeError, ValueError) as error:
        raise InvalidError(str(error)) from None


def located(path: str, value: Evaluate) -> Evaluate:
    """Name the place of the expression in the problems of its evaluation."""

    def apply(state: State, node: Json) -> Json:
        try:
            return value(state, node)
        except InvalidError as error:
            raise InvalidError([Problem(path, problem.message) for problem in error.problems]) from None

    return apply
