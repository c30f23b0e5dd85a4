"""The account, databases, containers and throughput over the wire."""

import pytest
import pytest_asyncio
from azure.cosmos import PartitionKey, ThroughputProperties
from azure.cosmos.aio import CosmosClient

from tests.emulators.cosmos import serve
from tests.emulators.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client():
    async with serve() as server, CosmosClient.from_connection_string(server.connection_string) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(client):
    return await client.create_database("d")


async def test_databases_are_made_once_listed_and_deleted(client):
    database = await client.create_database_if_not_exists("temporary")
    await client.create_database_if_not_exists("temporary")
    await refused(409, client.create_database("temporary"))

    assert "temporary" in [one["id"] async for one in client.list_databases()]
    await database.create_container("c", PartitionKey("/pk"))
    await client.delete_database("temporary")
    await refused(404, client.get_database_client("temporary").read())


async def test_a_container_keeps_what_it_was_made_with(database):
    policy = {"includedPaths": [{"path": "/a/?"}], "excludedPaths": [{"path": "/*"}]}
    key = PartitionKey(["/t", "/p"], kind="MultiHash")
    container = await database.create_container("kept", key, default_ttl=60, indexing_policy=policy)
    said = await container.read()

    assert said["partitionKey"] == {"paths": ["/t", "/p"], "kind": "MultiHash", "version": 2}
    assert (said["defaultTtl"], said["indexingPolicy"]) == (60, policy)
    assert [one["id"] async for one in database.list_containers()].count("kept") == 1


async def test_a_container_may_change_all_but_its_partition_key(database):
    container = await database.create_container("changing", PartitionKey("/pk"))
    await container.create_item({"id": "1", "pk": "a"})
    await database.replace_container(container, PartitionKey("/pk"), default_ttl=5)

    assert (await container.read())["defaultTtl"] == 5
    await container.read_item("1", "a")
    await refused(400, database.replace_container(container, PartitionKey("/other")))


async def test_a_deleted_container_takes_its_items_with_it(database):
    container = await database.create_container("gone", PartitionKey("/pk"))
    await container.create_item({"id": "1", "pk": "a"})
    await database.delete_container("gone")
    await refused(404, container.read_item("1", "a"))

    again = await database.create_container("gone", PartitionKey("/pk"))
    assert [item async for item in again.read_all_items()] == []


async def test_throughput_is_kept_and_can_be_changed(database):
    container = await database.create_container("fast", PartitionKey("/pk"), offer_throughput=500)
    assert (await container.get_throughput()).offer_throughput == 500
    await container.replace_throughput(800)
    assert (await container.get_throughput()).offer_throughput == 800

    scaling = ThroughputProperties(auto_scale_max_throughput=4000)
    container = await database.create_container("scaling", PartitionKey("/pk"), offer_throughput=scaling)
    assert (await container.get_throughput()).auto_scale_max_throughput == 4000


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x" * 256, {}),
        ("ttl", {"default_ttl": 0}),
        ("deep", {"partition_key": PartitionKey(["/a", "/b", "/c", "/d"], kind="MultiHash")}),
        (
            "index",
            {"indexing_policy": {"includedPaths": [{"path": "/a"}], "excludedPaths": [{"path": "/*"}]}},
        ),
        ("slow", {"offer_throughput": 150}),
    ],
)
async def test_containers_that_cannot_be_are_refused(database, name, options):
    await refused(400, database.create_container(name, **{"partition_key": PartitionKey("/pk"), **options}))


async def test_what_is_not_served_is_501(database):
    container = await database.create_container("scripts", PartitionKey("/pk"))

    await refused(501, container.scripts.create_stored_procedure({"id": "s", "body": "function () {}"}))
