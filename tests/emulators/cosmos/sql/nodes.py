"""The tree a query is read into."""

from dataclasses import dataclass, field
from typing import Any

AGGREGATES = ("COUNT", "SUM", "MIN", "MAX", "AVG")


@dataclass(frozen=True)
class Literal:
    value: Any


@dataclass(frozen=True)
class Parameter:
    name: str


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Member:
    """`of.key` and `of[key]`."""

    of: Any
    key: Any


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple


@dataclass(frozen=True)
class Unary:
    operator: str
    operand: Any


@dataclass(frozen=True)
class Binary:
    operator: str
    left: Any
    right: Any


@dataclass(frozen=True)
class In:
    value: Any
    options: tuple


@dataclass(frozen=True)
class Between:
    value: Any
    low: Any
    high: Any


@dataclass(frozen=True)
class Like:
    value: Any
    pattern: Any
    escape: str | None


@dataclass(frozen=True)
class Conditional:
    condition: Any
    then: Any
    otherwise: Any


@dataclass(frozen=True)
class ArrayOf:
    items: tuple


@dataclass(frozen=True)
class ObjectOf:
    pairs: tuple


@dataclass(frozen=True)
class Subquery:
    """`kind` is EXISTS, ARRAY or VALUE (in parentheses alone)."""

    kind: str
    query: "Query"


@dataclass(frozen=True)
class Item:
    """Something selected: its name in the result, the expression and how it was written."""

    name: str
    expression: Any
    text: str


@dataclass(frozen=True)
class OrderItem:
    expression: Any
    text: str
    descending: bool


@dataclass(frozen=True)
class Source:
    """`FROM collection alias`; or `alias IN collection`, which makes a row of every element."""

    alias: str
    collection: Any
    each: bool = False


@dataclass(frozen=True)
class Query:
    """`selected` is None for `*`. The texts are slices of the query, for the plan that rewrites it."""

    distinct: bool = False
    top: Any = None
    value: bool = False
    selected: tuple[Item, ...] | None = ()
    source: Source | None = None
    joins: tuple[Source, ...] = ()
    where: Any = None
    group: tuple = ()
    order: tuple[OrderItem, ...] = ()
    offset: Any = None
    limit: Any = None
    from_text: str = ""
    where_text: str = ""
    group_text: str = ""
    aggregates: tuple[Call, ...] = field(default=(), compare=False)
