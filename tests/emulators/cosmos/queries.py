"""Queries, page by page: a continuation token says after which row the next page begins."""

import json
from dataclasses import dataclass
from itertools import islice

from tests.emulators.cosmos import request_units
from tests.emulators.cosmos.continuation import Token
from tests.emulators.cosmos.errors import CosmosError, bad_request
from tests.emulators.cosmos.partition_keys import EVERYTHING
from tests.emulators.cosmos.scope import Scope
from tests.emulators.cosmos.sql.evaluation import PARAMETERS
from tests.emulators.cosmos.sql.execution import named, program, results
from tests.emulators.cosmos.sql.narrowing import id_bounds, ordered_by_id
from tests.emulators.cosmos.sql.nodes import Name
from tests.emulators.cosmos.sql.plan import needs_merging, path_of, plan, referenced
from tests.emulators.cosmos.sql.values import UNDEFINED, compact

PAGE_ITEMS, LARGEST_PAGE = 100, 1_000
PAGE_BYTES = 4 * 1024 * 1024
FEED = {"query": "SELECT * FROM c"}


@dataclass(frozen=True, slots=True)
class Page:
    """Results as JSON texts, and where to go on (None: that was all)."""

    texts: list[str]
    continuation: str | None
    charge: float


class Tally:
    """The documents a query looks at, and those it needed."""

    def __init__(self, documents):
        self._documents = documents
        self.looked_at = self.needed = 0

    def __iter__(self):
        for number, text in self._documents:
            self.looked_at += len(text)
            yield number, text


def page_size(headers):
    """How many items a page may have: the header's number, or what the service makes of none and of -1."""
    text = headers.get("x-ms-max-item-count")
    if text is None:
        return PAGE_ITEMS
    try:
        number = int(text)
    except ValueError:
        raise bad_request(f"Invalid value for x-ms-max-item-count: {text}") from None
    if number == 0 or number < -1:
        raise bad_request(f"Invalid value for x-ms-max-item-count: {text}")
    return LARGEST_PAGE if number == -1 else min(number, LARGEST_PAGE)


def query_plan(body, features):
    body = {"query": body} if isinstance(body, str) else body
    return plan(program(text_of(body)), named(body.get("parameters")), features)


def run(documents, container, body, headers, ranges, *, direct=False):
    """One page of a query over what the headers name; `direct`: the whole container without a plan."""
    inner, parameters = program(text_of(body)), named(body.get("parameters"))
    scope = Scope.of(container, headers, ranges)
    if scope is None:
        if not direct:
            _check_direct(inner.query, headers, ranges)
        scope = Scope(None, EVERYTHING, 0)
    if inner.query.order:
        alias = inner.query.source.alias if inner.query.source else ""
        container.indexing.check_order(
            [(path_of(item.expression, alias), item.descending) for item in inner.query.order]
        )
    token = Token.read(headers.get("x-ms-continuation"), body)
    size = page_size(headers)
    if inner.query.source is None:
        only = results(inner, inner.rows({PARAMETERS: parameters}), parameters)
        return Page(*_answered(only, token, size), request_units.query(len(only), 0))
    ids, by_id = id_bounds(inner.query, parameters), ordered_by_id(inner.query)
    if by_id and token.after:
        ids.append((">=" if by_id == "ASC" else "<=", token.after[0][0]))
    found = Tally(
        documents.scan(
            container,
            partition=scope.partition,
            bounds=scope.bounds,
            ids=ids,
            order=f"id {by_id}, number" if by_id else "number",
        )
    )
    rows = _rows(inner, parameters, found)
    if inner.groups or inner.query.distinct:
        everything = results(inner, (row for _, row, _ in rows), parameters)
        texts, continuation = _answered(everything, token, size)
    else:
        if inner.query.order and not by_id:
            rows = sorted(rows, key=lambda found: _key(inner, found[0]))
        texts, continuation = _streamed(inner, parameters, rows, token, size)
    return Page(texts, continuation, request_units.query(len(texts), _loaded(container, inner, found)))


def text_of(body):
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise bad_request("The request body must be an object with a query.")
    return body["query"]


def _check_direct(query, headers, ranges):
    if headers.get("x-ms-documentdb-query-enablecrosspartition", "").lower() != "true":
        raise bad_request(
            "Cross partition query is required but disabled. Please set"
            " x-ms-documentdb-query-enablecrosspartition to true, specify x-ms-documentdb-partitionkey,"
            " or revise your query to avoid this exception."
        )
    if len(ranges) > 1 or needs_merging(query):
        raise CosmosError(
            400,
            "The provided cross partition query can not be directly served by the gateway. This is a first"
            " chance (internal) exception that all newer clients will know how to handle gracefully.",
            substatus=1004,
            details=compact({"partitionedQueryExecutionInfoVersion": 2}),
        )


def _rows(inner, parameters, documents):
    """(place, environment, document's text) of every row; a place is [order values, number, position]."""
    for number, text in documents:
        environments = inner.rows({PARAMETERS: parameters, inner.root: json.loads(text)})
        if environments:
            documents.needed += len(text)
        for position, row in enumerate(environments):
            yield [inner.order_values(row), number, position], row, text


def _key(inner, place):
    values, number, position = place
    return (inner.order_key(values), number, position)


def _streamed(inner, parameters, rows, token, size):
    """(texts, continuation) of a page of rows, which are read no further than needed."""
    if token.after:
        after, rest = _key(inner, token.after), token.left
        items = _items(inner, (found for found in rows if _key(inner, found[0]) > after))
    else:
        skipped = inner.count(inner.query.offset, parameters) or 0
        rest = inner.count(inner.query.limit or inner.query.top, parameters)
        items = islice(_items(inner, rows), skipped, None)
    texts, last, more = _filled(islice(items, rest), size)
    left = None if rest is None else rest - len(texts)
    return texts, token.after_row(last, left) if more else None


def _items(inner, rows):
    """(place, text) of every row that is something."""
    raw = inner.query.selected is None and inner.query.source.collection == Name(inner.root)
    for place, row, text in rows:
        value = None if raw else inner.selected(row)
        if value is not UNDEFINED:
            yield place, text if raw else compact(value)


def _filled(items, size):
    """What fits on a page: the texts, the place of the last one, and whether there are more."""
    texts, total, last = [], 0, None
    for place, text in items:
        if len(texts) == size or (texts and total + len(text) > PAGE_BYTES):
            return texts, last, True
        texts.append(text)
        total += len(text)
        last = place
    return texts, last, False


def _answered(found, token, size):
    """(texts, continuation) of a page of results that are only known all together."""
    rest = enumerate(map(compact, found[token.delivered :]), token.delivered + 1)
    texts, delivered, more = _filled(rest, size)
    return texts, token.after_results(delivered) if more else None


def _loaded(container, inner, documents):
    """The bytes the service had to load: what matched, if the index can tell; else all there is."""
    alias = inner.query.source.alias
    paths = referenced(inner.query.where, alias)
    served = paths is not None and all(container.indexing.indexes(path) for path in paths)
    return documents.needed if served else documents.looked_at
