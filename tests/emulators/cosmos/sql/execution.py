"""A query over documents: which rows there are, how they group and sort, and what of them is selected."""

from functools import lru_cache

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.sql import nodes
from tests.emulators.cosmos.sql.evaluation import AGGREGATED, PARAMETERS, compiled
from tests.emulators.cosmos.sql.parser import parse
from tests.emulators.cosmos.sql.values import UNDEFINED, canonical, is_number, order

# As many rows as anybody may ask for, or skip.
MOST = 2**31 - 1


class Program:
    """A query made ready to run, for any documents and parameters."""

    def __init__(self, query):
        self.query = query
        self._where = compiled(query.where) if query.where else None
        self._source = compiled(query.source.collection) if query.source else None
        self._joins = [(join.alias, compiled(join.collection)) for join in query.joins]
        self._group = [compiled(expression) for expression in query.group]
        self._order = [(compiled(item.expression), item.descending) for item in query.order]
        self._aggregates = [(call, compiled(call.arguments[0])) for call in query.aggregates]
        self._selected = [(item.name, compiled(item.expression)) for item in query.selected or ()]
        self.groups = bool(query.group or query.aggregates)
        if query.selected is None and (query.joins or query.group):
            raise bad_request("'SELECT *' is only valid with a single input set.")

    @property
    def root(self):
        """The name by which the query calls the document itself."""
        node = self.query.source.collection
        while isinstance(node, nodes.Member):
            node = node.of
        return node.name

    def rows(self, environment):
        """The environments of all rows of one document (or of none) for which the condition is true."""
        found = [environment]
        if self.query.source:
            found = _bound(found, self.query.source.alias, self._source, each=self.query.source.each)
        for alias, collection in self._joins:
            found = _bound(found, alias, collection, each=True)
        return [row for row in found if self._where is None or self._where(row) is True]

    def grouped(self, rows, parameters):
        """One environment for each group, with its aggregates."""
        groups = {}
        for row in rows:
            keys = [value(row) for value in self._group]
            key = canonical([[] if value is UNDEFINED else [value] for value in keys])
            groups.setdefault(key, []).append(row)
        if not self._group and not groups:
            groups[""] = []
        empty = {PARAMETERS: parameters}
        for members in groups.values():
            aggregated = {
                id(call): _aggregate(call.function, [value(row) for row in members])
                for call, value in self._aggregates
            }
            yield {**(members[0] if members else empty), AGGREGATED: aggregated}

    def order_values(self, row):
        return [value(row) for value, _ in self._order]

    def order_key(self, values):
        """What sorts before what, of rows with these values to order by."""
        pairs = zip(values, self._order, strict=True)
        return tuple(Reversed(order(value)) if down else order(value) for value, (_, down) in pairs)

    def selected(self, row):
        if self.query.selected is None:
            return row[self.query.source.alias]
        if self.query.value:
            return self._selected[0][1](row)
        found = ((name, value(row)) for name, value in self._selected)
        return {name: value for name, value in found if value is not UNDEFINED}

    def count(self, node, parameters):
        """The number given to TOP, OFFSET or LIMIT; None where it is not there."""
        if node is None:
            return None
        value = compiled(node)({PARAMETERS: parameters})
        if not is_number(value) or not 0 <= value <= MOST or value != int(value):
            raise bad_request("TOP, OFFSET and LIMIT take whole numbers that are not negative.")
        return int(value)


class Reversed:
    """Sorts the other way round."""

    __slots__ = ("key",)

    def __init__(self, key):
        self.key = key

    def __eq__(self, other):
        return self.key == other.key

    def __lt__(self, other):
        return other.key < self.key

    def __hash__(self):
        return hash(self.key)


def _bound(environments, alias, collection, *, each):
    found = []
    for environment in environments:
        value = collection(environment)
        if each:
            found += [{**environment, alias: item} for item in value] if isinstance(value, list) else []
        elif value is not UNDEFINED:
            found.append({**environment, alias: value})
    return found


def _aggregate(function, values):
    values = [value for value in values if value is not UNDEFINED]
    if function == "COUNT":
        return len(values)
    if function in ("MIN", "MAX"):
        return (min if function == "MIN" else max)(values, key=order, default=UNDEFINED)
    if not all(map(is_number, values)):
        return UNDEFINED
    if function == "SUM":
        return sum(values)
    return sum(values) / len(values) if values else UNDEFINED


@lru_cache(1_000)
def program(text):
    return Program(parse(text))


def results(inner, rows, parameters):
    """What rows make of a query that is answered whole: grouped, ordered, selected, distinct, cut."""
    if inner.groups:
        rows = inner.grouped(rows, parameters)
    if inner.query.order:
        rows = sorted(rows, key=lambda row: inner.order_key(inner.order_values(row)))
    found = [value for row in rows if (value := inner.selected(row)) is not UNDEFINED]
    if inner.query.distinct:
        found = list({canonical(value): value for value in reversed(found)}.values())[::-1]
    start = inner.count(inner.query.offset, parameters) or 0
    length = inner.count(inner.query.limit or inner.query.top, parameters)
    return found[start : None if length is None else start + length]


def subquery(query):
    """A query inside an expression, as a function of the environment around it."""
    inner = Program(query)
    return lambda environment: results(inner, inner.rows(environment), environment[PARAMETERS])


def matches(condition, document):
    """Whether a document fulfils a patch's condition: `FROM c WHERE …`."""
    inner = program(f"SELECT * {condition}")
    return bool(inner.rows({PARAMETERS: {}, inner.root: document}))


def select(text, documents, parameters=()):
    """All results of a query over a few documents at once."""
    inner, given = program(text), named(parameters)
    found = []
    for document in documents:
        found += inner.rows({PARAMETERS: given, inner.root: document})
    return results(inner, found, given)


def named(parameters):
    """A request's `parameters` by name."""
    if not all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in parameters or ()):
        raise bad_request("A query's parameters are objects with a name and a value.")
    return {item["name"]: item.get("value", UNDEFINED) for item in parameters or ()}
