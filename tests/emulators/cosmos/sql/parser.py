"""Reads whole queries."""

from functools import lru_cache

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.sql import nodes
from tests.emulators.cosmos.sql.expressions import ExpressionParser
from tests.emulators.cosmos.sql.lexer import syntax_error, tokens, unquoted

CLAUSES = ("WHERE", "JOIN", "ORDER", "GROUP", "OFFSET")
LONGEST = 512 * 1024


@lru_cache(1_000)
def parse(text):
    """The tree of a query; refused as the service refuses a bad one."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise bad_request("The query must be a text of at most 512 KB.")
    cursor = ExpressionParser(tokens(text), lambda cursor: _query(cursor, text))
    try:
        query = _query(cursor, text)
    except RecursionError:
        raise bad_request("The query is nested too deeply.") from None
    if cursor.token.kind != "end":
        raise syntax_error(cursor.token.text)
    return query


def _query(cursor, text):
    outer, cursor.aggregates = cursor.aggregates, []

    def slice_of(read):
        start = cursor.token.start
        found = read()
        return found, text[start : cursor.tokens[cursor.at - 1].end]

    cursor.need("SELECT")
    distinct = cursor.take("DISTINCT") is not None
    top = cursor.primary() if cursor.take("TOP") else None
    value = cursor.take("VALUE") is not None
    selected = None if cursor.take("*") else _selected(cursor, slice_of, value)
    (source, joins), from_text = slice_of(lambda: _from(cursor))
    where, where_text = slice_of(cursor.expression) if cursor.take("WHERE") else (None, "")
    group, group_text = (), ""
    if cursor.take("GROUP"):
        cursor.need("BY")
        group, group_text = slice_of(lambda: cursor.many(cursor.expression))
    order = _order(cursor, slice_of)
    offset = limit = None
    if cursor.take("OFFSET"):
        offset = cursor.expression()
        cursor.need("LIMIT")
        limit = cursor.expression()
    aggregates, cursor.aggregates = tuple(cursor.aggregates), outer
    if selected is None and source is None:
        raise bad_request("'SELECT *' is not valid if FROM clause is omitted.")
    if top is not None and limit is not None:
        raise bad_request("'TOP' and 'OFFSET LIMIT' cannot be used together.")
    return nodes.Query(
        distinct, top, value, selected, source, joins, where, group, order, offset, limit,
        from_text if source else "", where_text, group_text, aggregates,
    )  # fmt: skip


def _selected(cursor, slice_of, value):
    items = cursor.many(lambda: _item(cursor, slice_of))
    if value and len(items) > 1:
        raise syntax_error(",")
    # What has no name of its own is $1, $2 and so on.
    unnamed = iter(range(1, len(items) + 1))
    return tuple(nodes.Item(item.name or f"${next(unnamed)}", item.expression, item.text) for item in items)


def _item(cursor, slice_of):
    expression, text = slice_of(cursor.expression)
    if cursor.take("AS"):
        return nodes.Item(cursor.name(), expression, text)
    name = ""
    if isinstance(expression, nodes.Name):
        name = expression.name
    elif isinstance(expression, nodes.Member) and isinstance(expression.key, nodes.Literal):
        name = expression.key.value if isinstance(expression.key.value, str) else ""
    if cursor.token.kind == "word" and not cursor.next_is("FROM", *CLAUSES):
        name = cursor.name()
    return nodes.Item(name, expression, text)


def _from(cursor):
    if not cursor.take("FROM"):
        return None, ()
    first = cursor.name()
    if cursor.take("IN"):
        source = nodes.Source(first, _collection(cursor, nodes.Name(cursor.name())), each=True)
    else:
        collection = _collection(cursor, nodes.Name(first))
        alias = cursor.name() if cursor.take("AS") or _alias_follows(cursor) else _last_name(collection)
        source = nodes.Source(alias, collection)
    joins = []
    while cursor.take("JOIN"):
        alias = cursor.name()
        cursor.need("IN")
        joins.append(nodes.Source(alias, cursor.expression(), each=True))
    return source, tuple(joins)


def _collection(cursor, collection):
    while sign := cursor.take(".", "["):
        if sign == ".":
            collection = nodes.Member(collection, nodes.Literal(cursor.name()))
        elif cursor.token.kind == "string":
            collection = nodes.Member(collection, nodes.Literal(unquoted(cursor.token.text)))
            cursor.at += 1
            cursor.need("]")
        else:
            raise syntax_error(cursor.token.text)
    return collection


def _alias_follows(cursor):
    return cursor.token.kind == "word" and not cursor.next_is(*CLAUSES)


def _last_name(collection):
    return collection.name if isinstance(collection, nodes.Name) else collection.key.value


def _order(cursor, slice_of):
    if not cursor.take("ORDER"):
        return ()
    cursor.need("BY")

    def item():
        expression, text = slice_of(cursor.expression)
        return nodes.OrderItem(expression, text, cursor.take("ASC", "DESC") == "DESC")

    return cursor.many(item)
