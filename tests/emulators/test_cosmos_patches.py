"""Patches and times to live over the wire."""

import pytest
import pytest_asyncio
from azure.cosmos import PartitionKey

from tests.emulators.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(database):
    return await database.create_container("c", PartitionKey("/pk"), default_ttl=-1)


async def test_a_patch_adds_sets_increments_moves_and_removes(container):
    await container.create_item({"id": "patch", "pk": "a", "n": 5, "old": [1, 3], "gone": True})
    patched = await container.patch_item(
        "patch",
        "a",
        [
            {"op": "set", "path": "/text", "value": "x"},
            {"op": "incr", "path": "/n", "value": 3},
            {"op": "incr", "path": "/fresh", "value": 2},
            {"op": "add", "path": "/old/1", "value": 2},
            {"op": "add", "path": "/old/-", "value": 4},
            {"op": "replace", "path": "/old/0", "value": 0},
            {"op": "move", "from": "/old", "path": "/new"},
            {"op": "remove", "path": "/gone"},
        ],
    )

    kept = {name: value for name, value in patched.items() if not name.startswith("_")}
    assert kept == {"id": "patch", "pk": "a", "n": 8, "fresh": 2, "new": [0, 2, 3, 4], "text": "x"}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "replace", "path": "/absent", "value": 1}],
        [{"op": "remove", "path": "/absent"}],
        [{"op": "set", "path": "/absent/deeper", "value": 1}],
        [{"op": "add", "path": "/array/5", "value": 1}],
        [{"op": "incr", "path": "/text", "value": 1}],
        [{"op": "set", "path": "/id", "value": "other"}],
        [{"op": "set", "path": "/pk", "value": "other"}],
        [{"op": "set", "path": "/_ts", "value": 1}],
        [{"op": "move", "from": "/text", "path": "/text/inside"}],
        [{"op": "set", "path": f"/n{number}", "value": 1} for number in range(11)],
        [{"op": "set", "path": "/ok", "value": 1}, {"op": "copy", "path": "/b", "from": "/text"}],
    ],
)
async def test_a_patch_that_cannot_be_applied_changes_nothing(container, operations):
    before = await container.upsert_item({"id": "stays", "pk": "a", "text": "x", "array": []})

    await refused(400, container.patch_item("stays", "a", operations))
    assert await container.read_item("stays", "a") == before


async def test_a_patch_holds_only_under_its_condition(container):
    await container.create_item({"id": "fence", "pk": "a", "token": 5})
    patch = [{"op": "set", "path": "/token", "value": 7}]

    await refused(412, container.patch_item("fence", "a", patch, filter_predicate="from c where c.token > 5"))
    done = await container.patch_item("fence", "a", patch, filter_predicate="from c where c.token <= 7")
    assert done["token"] == 7


async def test_an_item_expires_after_its_own_time_to_live(server, container):
    await container.create_item({"id": "short", "pk": "a", "ttl": 60})
    await container.create_item({"id": "for ever", "pk": "a"})
    server.advance(59)
    await container.read_item("short", "a")
    server.advance(2)

    await refused(404, container.read_item("short", "a"))
    await container.create_item({"id": "short", "pk": "a"})
    await container.read_item("for ever", "a")


async def test_a_containers_time_to_live_holds_unless_the_item_says_otherwise(server, database):
    container = await database.create_container("expiring", PartitionKey("/pk"), default_ttl=10)
    await container.create_item({"id": "default", "pk": "a"})
    await container.create_item({"id": "never", "pk": "a", "ttl": -1})
    server.advance(11)

    await refused(404, container.read_item("default", "a"))
    await container.read_item("never", "a")
    await refused(400, container.create_item({"id": "bad", "pk": "a", "ttl": 0}))


async def test_without_a_default_the_time_to_live_of_items_means_nothing(server, database):
    container = await database.create_container("lasting", PartitionKey("/pk"))
    await container.create_item({"id": "stays", "pk": "a", "ttl": 1})
    server.advance(100)

    await container.read_item("stays", "a")
