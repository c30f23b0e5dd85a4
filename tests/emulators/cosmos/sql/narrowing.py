"""What a condition says of the document's id, so that only those documents are looked at."""

from tests.emulators.cosmos.sql import nodes
from tests.emulators.cosmos.sql.plan import path_of

LAST = "\U0010ffff"
OPERATORS = {"=", "<", "<=", ">", ">="}


def id_bounds(query, parameters):
    """Comparisons (operator, text) that every document fulfils for which the condition is true."""
    if query.source is None or query.source.each or not isinstance(query.source.collection, nodes.Name):
        return []
    return list(_bounds(query.where, query.source.alias, parameters))


def ordered_by_id(query):
    """ "ASC" or "DESC" if the documents' ids are what the query orders by; else None."""
    if len(query.order) != 1 or query.joins or query.source is None or query.source.each:
        return None
    item = query.order[0]
    if path_of(item.expression, query.source.alias) != ("id",) or not isinstance(
        query.source.collection, nodes.Name
    ):
        return None
    return "DESC" if item.descending else "ASC"


def _bounds(node, alias, parameters):
    match node:
        case nodes.Binary("AND", left, right):
            yield from _bounds(left, alias, parameters)
            yield from _bounds(right, alias, parameters)
        case nodes.Binary(operator, left, right) if operator in OPERATORS:
            text = _text(right, parameters)
            if path_of(left, alias) == ("id",) and text is not None:
                yield operator, text
        case nodes.Call("STARTSWITH", (left, right)):
            text = _text(right, parameters)
            if path_of(left, alias) == ("id",) and text is not None:
                yield from ((">=", text), ("<", text + LAST))


def _text(node, parameters):
    value = None
    if isinstance(node, nodes.Literal):
        value = node.value
    elif isinstance(node, nodes.Parameter):
        value = parameters.get(node.name)
    return value if isinstance(value, str) else None
