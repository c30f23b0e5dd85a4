"""Transactional batches over the wire: all or nothing, and the answer says which operation failed why."""

import pytest
import pytest_asyncio
from azure.cosmos import PartitionKey, exceptions

pytestmark = pytest.mark.asyncio(loop_scope="module")
RANGES = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(database):
    key = PartitionKey(["/tenant", "/partition"], kind="MultiHash")
    return await database.create_container("c", key, default_ttl=-1)


def item(name, partition="p", **body):
    return {"id": name, "tenant": "t", "partition": partition, "body": body}


async def run(container, operations, partition="p"):
    return await container.execute_item_batch(operations, ["t", partition])


async def failed(container, operations, partition="p"):
    with pytest.raises(exceptions.CosmosBatchOperationError) as caught:
        await run(container, operations, partition)
    return [one["statusCode"] for one in caught.value.operation_responses], caught.value


async def ids(container, partition):
    return [
        one["id"] async for one in container.query_items("SELECT * FROM c", partition_key=["t", partition])
    ]


async def test_a_batch_does_all_of_its_operations_in_order(container):
    results = await run(
        container,
        [
            ("create", (item("b1", n=1),)),
            ("upsert", (item("b2"),)),
            ("replace", ("b1", item("b1", n=2))),
            ("patch", ("b1", [{"op": "incr", "path": "/body/n", "value": 5}])),
            ("read", ("b1",)),
            ("upsert", (item("b2"),)),
            ("delete", ("b2",)),
        ],
    )

    assert [one["statusCode"] for one in results] == [201, 201, 200, 200, 200, 200, 204]
    assert results[4]["resourceBody"]["body"] == {"n": 7}
    assert results[3]["eTag"] == results[4]["eTag"] == (await container.read_item("b1", ["t", "p"]))["_etag"]


async def test_what_fails_in_a_batch_undoes_all_of_it(container):
    there, new = item("there", "atomic"), item("new", "atomic")
    await run(container, [("create", (there,))], "atomic")
    statuses, error = await failed(
        container, [("create", (new,)), ("create", (there,)), ("delete", ("there",))], "atomic"
    )

    assert statuses == [424, 409, 424]
    assert error.error_index == 1
    assert await ids(container, "atomic") == ["there"]


async def test_each_operation_of_a_batch_may_have_an_etag(container):
    made = await container.create_item(item("tagged", n=1))
    replace = ("replace", ("tagged", item("tagged", n=2)), {"if_match_etag": '"other"'})

    statuses, _ = await failed(container, [replace, ("create", (item("beside"),))])
    assert statuses == [412, 424]
    statuses, _ = await failed(container, [("delete", ("tagged",), {"if_match_etag": '"other"'})])
    assert statuses == [412]
    results = await run(container, [(*replace[:2], {"if_match_etag": made["_etag"]})])
    assert results[0]["resourceBody"]["body"] == {"n": 2}


async def test_a_patch_in_a_batch_may_have_a_condition(container):
    await container.create_item(item("fence", token=5))

    def fenced(token):
        patch = [{"op": "set", "path": "/body/token", "value": token}]
        condition = {"filter_predicate": f"from c where c.body.token <= {token}"}
        return [("patch", ("fence", patch), condition), ("upsert", (item("guarded", by=token),))]

    await run(container, fenced(6))
    statuses, _ = await failed(container, fenced(4))

    assert statuses == [412, 424]
    assert (await container.read_item("guarded", ["t", "p"]))["body"] == {"by": 6}


async def test_what_is_missing_fails_the_batch_with_404(container):
    for operation in (
        ("read", ("absent",)),
        ("delete", ("absent",)),
        ("replace", ("absent", item("absent"))),
    ):
        statuses, _ = await failed(container, [operation, ("create", (item("never"),))])
        assert statuses == [404, 424]


async def test_an_item_of_another_partition_fails_the_batch(container):
    statuses, error = await failed(container, [("create", (item("astray", "elsewhere"),))])

    assert statuses == [400]
    assert error.operation_responses[0]["subStatusCode"] == 1001


async def test_a_batch_has_at_most_a_hundred_operations(container):
    operations = [("upsert", (item(f"n{number}", "hundred"),)) for number in range(101)]

    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await run(container, operations, "hundred")
    assert caught.value.status_code == 400
    await run(container, operations[:100], "hundred")
    assert len(await ids(container, "hundred")) == 100


# The SDK sends what it has as one block of bytes, of which aiohttp disapproves.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_a_batch_has_at_most_two_megabytes(container):
    half = {"text": "x" * 1024 * 1024}

    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await run(container, [("create", (item(f"half{n}", "large", **half),)) for n in range(2)], "large")
    assert caught.value.status_code == 413
    assert await ids(container, "large") == []


async def test_a_batch_costs_the_sum_of_its_operations(server, container):
    operations = [("create", (item("c1", "cost"),)), ("create", (item("c2", "cost"),)), ("read", ("c1",))]
    server.statistics.reset()
    results = await run(container, operations, "cost")

    said = server.statistics.summary()
    assert said["kinds"]["batch"]["requests"] == 1
    assert said["kinds"]["batch"]["charge"] == pytest.approx(sum(one["requestCharge"] for one in results))
    assert said["batched"] == {"create": 2, "read": 1}


async def test_a_time_to_live_set_in_a_batch_holds(server, container):
    brief = {**item("brief", "ttl"), "ttl": 30}
    await run(container, [("create", (brief,)), ("create", (item("kept", "ttl"),))], "ttl")
    server.advance(31)

    assert await ids(container, "ttl") == ["kept"]
