"""Query plans: how a client asks every physical partition, and merges what they answer."""

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.sql import nodes
from tests.emulators.cosmos.sql.values import compact

AGGREGATORS = {"COUNT": "Count", "SUM": "Sum", "MIN": "Min", "MAX": "Max", "AVG": "Average"}


def needs_merging(query):
    """Whether the answers of several partitions, one after the other, would not be the answer."""
    return bool(
        query.aggregates
        or query.group
        or query.order
        or query.distinct
        or query.top is not None
        or query.limit is not None
    )


def plan(program, parameters, features):
    """The answer to a query plan request, for a client that can merge `features`."""
    query = program.query
    top, offset, limit = (program.count(node, parameters) for node in (query.top, query.offset, query.limit))
    _check(query, features)
    return {
        "partitionedQueryExecutionInfoVersion": 2,
        "queryInfo": {
            "distinctType": "None" if not query.distinct else "Ordered" if query.order else "Unordered",
            "top": top,
            "offset": offset,
            "limit": limit,
            "orderBy": ["Descending" if item.descending else "Ascending" for item in query.order],
            "orderByExpressions": [item.text for item in query.order],
            "groupByExpressions": [],
            "groupByAliases": [],
            "aggregates": [AGGREGATORS[call.function] for call in query.aggregates],
            "groupByAliasToAggregateType": {},
            "rewrittenQuery": _rewritten(query, top, offset, limit),
            "hasSelectValue": query.value,
            "hasNonStreamingOrderBy": False,
        },
        "queryRanges": [{"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}],
    }


def _check(query, features):
    missing = [
        name
        for name, used in (
            ("GroupBy", query.group),
            ("Aggregate", query.aggregates),
            ("Distinct", query.distinct),
            ("OrderBy", query.order),
            ("Top", query.top is not None),
            ("OffsetAndLimit", query.limit is not None),
        )
        if used and name not in features
    ]
    if missing:
        raise bad_request(
            f"Query contains the following features, which the calling client does not support: {missing}"
        )
    alone = len(query.aggregates) == 1 and query.selected and len(query.selected) == 1
    if (
        query.aggregates
        and query.value
        and not (alone and query.selected[0].expression is query.aggregates[0])
    ):
        raise bad_request("Compositions of aggregates and other expressions are not allowed.")


def _rewritten(query, top, offset, limit):
    """The query for one partition; what order and aggregates need to be merged is part of its result."""
    text = f"SELECT {_selected(query, top)} {query.from_text}"
    if query.where:
        text += f" WHERE {query.where_text}"
    if query.order:
        ordered = (f"{item.text} {'DESC' if item.descending else 'ASC'}" for item in query.order)
        text += f" ORDER BY {', '.join(ordered)}"
    if limit is not None:
        text += f" OFFSET 0 LIMIT {offset + limit}"
    return text


def _selected(query, top):
    first = "" if top is None else f"TOP {top} "
    if query.aggregates and query.value:
        return f'VALUE [{{"item": {_partial(query)}}}]'
    if query.order:
        items = ", ".join(f'{{"item": {item.text}}}' for item in query.order)
        return f"{first}{query.source.alias}._rid, [{items}] AS orderByItems, {_payload(query)} AS payload"
    if query.selected is None:
        return f"{first}*"
    distinct = "DISTINCT " if query.distinct else ""
    value = "VALUE " if query.value else ""
    names = ", ".join(item.text if query.value else _named(item) for item in query.selected)
    return f"{distinct}{first}{value}{names}"


def _named(item):
    return item.text if item.name.startswith("$") else f"{item.text} AS {item.name}"


def _partial(query):
    item = query.selected[0]
    if query.aggregates[0].function != "AVG":
        return item.text
    inner = item.text[item.text.index("(") :]
    return f'{{"sum": SUM{inner}, "count": COUNT{inner}}}'


def _payload(query):
    if query.selected is None:
        return query.source.alias
    if query.value:
        return query.selected[0].text
    return "{" + ", ".join(f"{compact(item.name)}: {item.text}" for item in query.selected) + "}"


def referenced(node, root):
    """The paths into the document that a condition reads, as tuples of names; None if that cannot be said."""
    match node:
        case nodes.Member():
            path = path_of(node, root)
            return None if path is None else {path}
        case nodes.Name() | nodes.Subquery():
            return None
        case nodes.Literal() | nodes.Parameter() | None:
            return set()
    found = set()
    for value in _children(node):
        inner = referenced(value, root)
        if inner is None:
            return None
        found |= inner
    return found


def _children(node):
    for value in vars(node).values():
        if isinstance(value, tuple):
            yield from (item[1] if isinstance(item, tuple) else item for item in value)
        elif not isinstance(value, str):
            yield value


def path_of(node, root):
    """The names that lead from the document to what a member expression names; None if it is not one."""
    names = []
    while isinstance(node, nodes.Member):
        if not isinstance(node.key, nodes.Literal):
            return None
        names.append(str(node.key.value))
        node = node.of
    return tuple(reversed(names)) if node == nodes.Name(root) else None
