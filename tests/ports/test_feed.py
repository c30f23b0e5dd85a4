"""What every ChangeFeed does; a new adapter adds one line to FEEDS."""

import json

import pytest
import pytest_asyncio

from loom_core.adapters.memory import MemoryStateStore
from loom_core.errors import InvalidError
from loom_core.ports.state import Delete, Put
from tests.ports.cosmos import cosmos_db

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEEDS = {"memory": lambda cosmos: MemoryStateStore(), "cosmos": lambda cosmos: cosmos.store()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cosmos():
    async with cosmos_db() as cosmos:
        yield cosmos


@pytest_asyncio.fixture(params=FEEDS, loop_scope="module")
async def feed(request, cosmos):
    feed = FEEDS[request.param](cosmos)
    yield feed
    if hasattr(feed, "aclose"):
        await feed.aclose()


async def drained(feed, prefix, cursor, limit=100):
    """All that has changed since, by partition and id, in order."""
    seen = []
    while True:
        found, cursor = await feed.changes(prefix, cursor, limit)
        if not found:
            return seen, cursor
        seen += [(partition, document.id, dict(document.body)) for partition, document in found]


async def test_a_feed_begins_now_and_goes_on_from_its_cursor(feed):
    await feed.write("p", [Put("o:1", {"n": 1})])

    before, cursor = await feed.changes("o:", None)
    (etag,) = await feed.write("p", [Put("o:2", {"n": 2})])
    [(partition, changed)], after = await feed.changes("o:", cursor)

    assert before == []
    assert (partition, changed.id, changed.body, changed.etag) == ("p", "o:2", {"n": 2}, etag)
    assert (await feed.changes("o:", after))[0] == []
    assert [d.id for _, d in (await feed.changes("o:", cursor))[0]] == ["o:2"], "a cursor can be used again"


async def test_a_cursor_is_text_that_leads_on_however_long_it_was_kept(feed):
    _, cursor = await feed.changes("", None)
    for n in range(30):
        await feed.write(f"p{n}", [Put("o:1", {"n": n})])

    seen, _ = await drained(feed, "o:", json.loads(json.dumps(cursor)))

    assert sorted(seen) == sorted((f"p{n}", "o:1", {"n": n}) for n in range(30))


async def test_only_documents_whose_id_begins_with_the_prefix_are_given(feed):
    _, cursor = await feed.changes("o:", None)
    await feed.write("p", [Put("head", {}), Put("o:1", {}), Put("i:o:", {}), Put("O:", {})])

    seen, cursor = await drained(feed, "o:", cursor)
    await feed.write("p", [Put("head", {"n": 2})])

    assert seen == [("p", "o:1", {})]
    assert (await drained(feed, "o:", cursor))[0] == []
    assert (await drained(feed, "", cursor))[0] == [("p", "head", {"n": 2})]


async def test_changes_of_one_partition_come_in_their_order_a_few_at_a_time(feed):
    _, cursor = await feed.changes("", None)
    for n in range(20):
        await feed.write("p", [Put(f"o:{9 * n % 20:020}", {"n": n})])

    seen, _ = await drained(feed, "o:", cursor, limit=3)

    assert [body["n"] for _, _, body in seen] == [*range(20)]


async def test_of_what_changed_often_or_is_gone_only_what_is_there_is_given(feed):
    _, cursor = await feed.changes("", None)
    for n in range(3):
        await feed.write("p", [Put("o:1", {"n": n}), Put("o:2", {})])
    await feed.write("p", [Delete("o:2")])

    seen, _ = await drained(feed, "o:", cursor)

    assert seen == [("p", "o:1", {"n": 2})]


async def test_a_value_is_given_as_it_was_written(feed):
    _, cursor = await feed.changes("", None)
    body = {"large": 2**63, "whole": 1.0, "text": "ä\u2028"}
    await feed.write("p", [Put("o:1", body)])

    [(_, _, given)], _ = await drained(feed, "", cursor)

    assert json.dumps(given) == json.dumps(body)


@pytest.mark.parametrize("cursor", ["", "rubbish", "e30=", "W10=", "NQ=="])
async def test_what_is_no_cursor_is_refused(feed, cursor):
    with pytest.raises(InvalidError, match="cursor"):
        await feed.changes("", cursor)
