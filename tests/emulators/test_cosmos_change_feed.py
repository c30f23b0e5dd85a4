"""The change feed over the wire, latest version."""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from azure.cosmos import PartitionKey

pytestmark = pytest.mark.asyncio(loop_scope="module")
RANGES = 3


@pytest_asyncio.fixture(loop_scope="module")
async def container(database, request):
    container = await database.create_container(request.node.name[:200], PartitionKey("/pk"), default_ttl=-1)
    for number in range(12):
        await container.create_item({"id": str(number), "pk": f"p{number % 3}", "n": number})
    return container


async def changes(container, **options):
    """The ids of what changed, and where to go on."""
    said = {}
    feed = container.query_items_change_feed(
        max_item_count=5, response_hook=lambda headers, _: said.update({"etag": headers["etag"]}), **options
    )
    return [item["id"] async for item in feed], said["etag"]


async def test_a_partitions_changes_come_in_order_and_go_on_from_a_continuation(container):
    found, token = await changes(container, partition_key="p0", start_time="Beginning")
    await container.upsert_item({"id": "3", "pk": "p0", "n": 33})
    await container.upsert_item({"id": "4", "pk": "p1", "n": 44})
    after, last = await changes(container, continuation=token, partition_key="p0")

    assert (found, after) == (["0", "3", "6", "9"], ["3"])
    assert (await changes(container, continuation=last, partition_key="p0"))[0] == []


async def test_a_containers_changes_come_from_all_ranges(container):
    found, token = await changes(container, start_time="Beginning")
    await container.upsert_item({"id": "7", "pk": "p1"})

    assert sorted(found, key=int) == [str(number) for number in range(12)]
    assert (await changes(container, continuation=token))[0] == ["7"]


async def test_the_feed_can_begin_now(container):
    found, token = await changes(container, start_time="Now")
    await container.create_item({"id": "later", "pk": "p2"})

    assert found == []
    assert (await changes(container, continuation=token))[0] == ["later"]


async def test_the_feed_can_begin_at_a_time(server, container):
    server.advance(3600)
    await container.create_item({"id": "late", "pk": "p2"})
    since = datetime.fromtimestamp(server.clock.time(), UTC) - timedelta(minutes=5)

    assert (await changes(container, start_time=since))[0] == ["late"]


async def test_feed_ranges_together_are_the_whole_feed(container):
    ranges = [one async for one in container.read_feed_ranges()]
    found = [(await changes(container, feed_range=one, start_time="Beginning"))[0] for one in ranges]

    assert len(ranges) == 3
    assert sorted([one for part in found for one in part], key=int) == [str(number) for number in range(12)]


async def test_only_the_latest_version_of_an_item_is_in_the_feed(server, container):
    await container.upsert_item({"id": "0", "pk": "p0", "n": "last"})
    await container.delete_item("3", "p0")
    await container.upsert_item({"id": "6", "pk": "p0", "ttl": 5})
    server.advance(6)

    assert (await changes(container, partition_key="p0", start_time="Beginning"))[0] == ["9", "0"]


async def test_the_items_of_a_batch_are_one_change_and_stay_on_one_page(container):
    _, token = await changes(container, partition_key="p0", start_time="Now")
    await container.execute_item_batch(
        [("create", ({"id": f"b{number}", "pk": "p0"},)) for number in range(8)], "p0"
    )
    feed = container.query_items_change_feed(max_item_count=5, continuation=token, partition_key="p0")
    pages = [[item async for item in page] async for page in feed.by_page()]

    assert [len(page) for page in pages if page] == [8]
    assert len({item["_lsn"] for item in pages[0]}) == 1
