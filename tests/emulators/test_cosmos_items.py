"""Items over the wire: what the SDK writes, reads and is refused."""

import asyncio

import pytest
import pytest_asyncio
from azure.core import MatchConditions
from azure.cosmos import CosmosClient as SyncClient
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.partition_key import NonePartitionKeyValue

from tests.emulators.cosmos import EMULATOR_KEY
from tests.emulators.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")
MB = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(database):
    return await database.create_container("c", PartitionKey("/pk"), default_ttl=-1)


def unchanged(etag):
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


async def test_an_item_is_read_as_it_was_created_with_system_properties(container):
    created = await container.create_item({"id": "made", "pk": "a", "n": 1})
    read = await container.read_item("made", "a")

    assert read == created
    assert {"_rid", "_self", "_etag", "_ts", "_attachments"} <= read.keys()


async def test_an_id_is_taken_once_in_each_partition(container):
    await container.create_item({"id": "once", "pk": "a"})
    await container.create_item({"id": "once", "pk": "b", "n": 10})

    await refused(409, container.create_item({"id": "once", "pk": "a"}))
    assert (await container.read_item("once", "b"))["n"] == 10


async def test_what_is_not_there_is_404_to_read_replace_patch_and_delete(container):
    await refused(404, container.read_item("nothing", "a"))
    await refused(404, container.replace_item("nothing", {"id": "nothing", "pk": "a"}))
    await refused(404, container.patch_item("nothing", "a", [{"op": "set", "path": "/n", "value": 1}]))
    await refused(404, container.delete_item("nothing", "a"))


async def test_an_upsert_creates_and_then_replaces(container):
    first = await container.upsert_item({"id": "up", "pk": "a", "n": 1})
    second = await container.upsert_item({"id": "up", "pk": "a", "n": 2})

    assert (second["n"], second["_rid"]) == (2, first["_rid"])
    assert second["_etag"] != first["_etag"]


async def test_a_write_over_another_etag_is_412_and_changes_nothing(container):
    old = await container.create_item({"id": "etag", "pk": "a", "n": 1})
    new = await container.replace_item("etag", {**old, "n": 2}, **unchanged(old["_etag"]))
    patch = [{"op": "set", "path": "/n", "value": 3}]

    await refused(412, container.replace_item("etag", old, **unchanged(old["_etag"])))
    await refused(412, container.upsert_item(old, **unchanged(old["_etag"])))
    await refused(412, container.patch_item("etag", "a", patch, **unchanged(old["_etag"])))
    await refused(412, container.delete_item("etag", "a", **unchanged(old["_etag"])))
    assert await container.read_item("etag", "a") == new
    await container.delete_item("etag", "a", **unchanged(new["_etag"]))


async def test_an_upsert_with_an_etag_creates_where_nothing_is(container):
    created = await container.upsert_item({"id": "ghost", "pk": "a"}, **unchanged('"any"'))

    assert created["id"] == "ghost"


async def test_a_read_of_what_is_known_already_is_304_without_a_body(container):
    item = await container.create_item({"id": "known", "pk": "a"})
    again = await container.read_item(
        "known", "a", etag=item["_etag"], match_condition=MatchConditions.IfModified
    )

    assert not again


@pytest.mark.parametrize("bad", ["", "x" * 256, None])
async def test_bad_ids_are_refused(container, bad):
    item, options = {"id": bad, "pk": "a"}, {"partitionKey": "a", "disableAutomaticIdGeneration": True}

    await refused(400, container.client_connection.CreateItem("dbs/tests/colls/c", item, options))


# The SDK sends what it has as one block of bytes, of which aiohttp disapproves.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_items_up_to_two_megabytes_are_taken(container):
    await container.create_item({"id": "large", "pk": "a", "text": "x" * (2 * MB - 1024)})

    await refused(413, container.create_item({"id": "too large", "pk": "a", "text": "x" * (2 * MB)}))


async def test_the_partition_key_of_the_request_must_be_the_items(container):
    link, item = "dbs/tests/colls/c", {"id": "elsewhere", "pk": "a"}

    error = await refused(400, container.client_connection.CreateItem(link, item, {"partitionKey": "b"}))
    assert error.sub_status == 1001


async def test_items_without_a_value_for_the_key_are_in_a_partition_of_their_own(container):
    await container.create_item({"id": "keyless"})
    await container.create_item({"id": "null", "pk": None})

    assert (await container.read_item("keyless", NonePartitionKeyValue))["id"] == "keyless"
    await refused(404, container.read_item("null", NonePartitionKeyValue))


async def test_hierarchical_keys_are_named_whole_for_items_and_in_part_for_queries(database):
    key = PartitionKey(["/tenant", "/partition"], kind="MultiHash")
    container = await database.create_container("hierarchical", key)
    for tenant, partition in (("x", "1"), ("x", "2"), ("y", "1")):
        await container.create_item({"id": "1", "tenant": tenant, "partition": partition})

    assert (await container.read_item("1", ["x", "2"]))["partition"] == "2"
    found = container.query_items("SELECT VALUE c.partition FROM c", partition_key=["x"])
    assert sorted([one async for one in found]) == ["1", "2"]
    await refused(400, container.read_item("1", ["x"]))


async def test_unique_keys_hold_within_a_partition(database):
    policy = {"uniqueKeys": [{"paths": ["/address/mail"]}]}
    container = await database.create_container("unique", PartitionKey("/pk"), unique_key_policy=policy)
    await container.create_item({"id": "1", "pk": "a", "address": {"mail": "m"}})

    await refused(409, container.create_item({"id": "2", "pk": "a", "address": {"mail": "m"}}))
    await container.create_item({"id": "2", "pk": "b", "address": {"mail": "m"}})


async def test_answers_carry_a_session_token_a_charge_and_an_etag(container):
    item = await container.create_item({"id": "headers", "pk": "a"})
    headers = item.get_response_headers()

    assert headers["etag"] == item["_etag"]
    assert headers["x-ms-session-token"].startswith("0:-1#")
    assert float(headers["x-ms-request-charge"]) >= 5


async def test_a_write_can_be_answered_without_its_item(container):
    assert not await container.upsert_item({"id": "minimal", "pk": "a"}, no_response=True)
    await container.read_item("minimal", "a")


async def test_ten_writers_over_etags_lose_no_increment(container):
    await container.create_item({"id": "counter", "pk": "a", "n": 0})

    async def increment():
        while True:
            item = await container.read_item("counter", "a")
            try:
                await container.replace_item(
                    "counter", {**item, "n": item["n"] + 1}, **unchanged(item["_etag"])
                )
            except exceptions.CosmosAccessConditionFailedError:
                continue
            return

    await asyncio.gather(*[increment() for _ in range(10)])

    assert (await container.read_item("counter", "a"))["n"] == 10


async def test_the_sync_client_is_served_too(server):
    def used():
        with SyncClient(server.endpoint, EMULATOR_KEY) as client:
            database = client.create_database("sync")
            container = database.create_container("c", PartitionKey("/pk"))
            container.create_item({"id": "1", "pk": "a", "n": 1})
            container.upsert_item({"id": "1", "pk": "a", "n": 2})
            results = container.execute_item_batch([("create", ({"id": "2", "pk": "a"},))], "a")
            found = list(container.query_items("SELECT VALUE c.id FROM c", partition_key="a"))
            with pytest.raises(exceptions.CosmosResourceExistsError):
                container.create_item({"id": "1", "pk": "a"})
            client.delete_database("sync")
            return results[0]["statusCode"], found

    assert await asyncio.to_thread(used) == (201, ["1", "2"])
