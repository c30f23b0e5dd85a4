"""The change feed, latest version: every document as it is now, in the order of the last changes."""

from email.utils import parsedate_to_datetime

from tests.emulators.cosmos import request_units
from tests.emulators.cosmos.documents import LIVE
from tests.emulators.cosmos.errors import bad_request, whole
from tests.emulators.cosmos.partition_keys import EVERYTHING
from tests.emulators.cosmos.queries import PAGE_BYTES, page_size
from tests.emulators.cosmos.scope import Scope


def read(database, clock, container, headers, ranges):
    """(texts, etag to go on from, charge); no texts: nothing has changed since."""
    if headers.get("A-IM", "").lower() != "incremental feed":
        raise bad_request("Only the incremental change feed (latest version) is served.")
    scope = Scope.of(container, headers, ranges) or Scope(None, EVERYTHING, 0)
    since = _since(headers.get("If-None-Match"), database.last)
    where, values = f"container = ? AND lsn > ? AND {LIVE}", [container.rid, since, clock.time()]
    if scope.partition is not None:
        where, values = f"{where} AND partition = ?", [*values, scope.partition]
    else:
        where, values = f"{where} AND epk >= ? AND epk < ?", [*values, *scope.bounds]
    if (moment := headers.get("If-Modified-Since")) and not headers.get("If-None-Match"):
        where, values = f"{where} AND written >= ?", [*values, _timestamp(moment)]
    rows = database.execute(f"SELECT lsn, body FROM documents WHERE {where} ORDER BY lsn, rank", values)
    return _page(rows, page_size(headers), max(since, database.last))


def _since(etag, last):
    if etag is None:
        return 0
    if etag == "*":
        return last
    number = whole(etag.strip('"'))
    if number is None:
        raise bad_request(f"The change feed continuation {etag} is invalid.")
    return number


def _timestamp(moment):
    try:
        return parsedate_to_datetime(moment).timestamp()
    except ValueError:
        raise bad_request(f"The date {moment} is invalid.") from None


def _page(rows, size, end):
    """Full at `size` items or the response's limit, but never between the documents of one batch."""
    texts, total, last = [], 0, None
    for lsn, body in rows:
        if lsn != last and texts and (len(texts) >= size or total + len(body) > PAGE_BYTES):
            break
        texts.append(f'{body[:-1]},"_lsn":{lsn}}}')
        total += len(body)
        last = lsn
    else:
        # All there is has been read: what changes elsewhere need not be looked through again.
        last = end
    return texts, f'"{last}"', request_units.query(len(texts), total)
