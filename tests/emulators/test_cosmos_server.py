"""What the server does for tests: faults, a clock, statistics, a file that survives."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import CosmosClient
from azure.cosmos.partition_key import PartitionKey as SdkPartitionKey

from tests.emulators.cosmos import Faults, serve, unsigned_token
from tests.emulators.cosmos.partition_keys import effective, stored
from tests.emulators.refusals import refused

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[2]
# Retries of the SDK would hide what a test is about; those after throttling it does not let go of.
UNRETRIED = {"retry_total": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served():
    async with serve() as server:
        yield server


@pytest.fixture
def server(served):
    yield served
    served.faults.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def container(served):
    async with CosmosClient(served.endpoint, served.key, **UNRETRIED) as client:
        yield await container_of(client)


async def container_of(client):
    database = await client.create_database_if_not_exists("d")
    return await database.create_container_if_not_exists("c", PartitionKey("/pk"), default_ttl=-1)


@pytest.mark.parametrize("status", [429, 449, 503, 408, 403])
async def test_a_fault_answers_with_its_status_and_applies_nothing(server, container, status):
    name = f"refused-{status}"
    server.faults.add(status, kinds=["create"])
    await refused(status, container.create_item({"id": name, "pk": "a"}))
    server.faults.clear()

    await refused(404, container.read_item(name, "a"))


async def test_the_sdk_waits_out_throttling_as_long_as_it_is_told_to(server):
    async with CosmosClient(server.endpoint, server.key) as client:
        container = await container_of(client)
        fault = server.faults.add(429, kinds=["create"], times=2, retry_after_ms=1)
        await container.create_item({"id": "throttled", "pk": "a"})

    assert fault.fired == 2


async def test_a_lost_answer_leaves_what_was_applied(server, container):
    server.faults.add("lost", kinds=["create", "batch"])
    with pytest.raises(exceptions.AzureError):
        await container.create_item({"id": "lost", "pk": "a"})
    with pytest.raises(exceptions.AzureError):
        await container.execute_item_batch([("create", ({"id": "lost too", "pk": "a"},))], "a")

    await container.read_item("lost", "a")
    await container.read_item("lost too", "a")


async def test_a_dropped_request_was_never_applied(server, container):
    server.faults.add("dropped", methods=["POST"])
    with pytest.raises(exceptions.AzureError):
        await container.create_item({"id": "dropped", "pk": "a"})

    await refused(404, container.read_item("dropped", "a"))


async def test_faults_hit_only_the_paths_they_are_for(server, container):
    await container.create_item({"id": "other", "pk": "a"})
    fault = server.faults.add(503, path="/dbs/d/colls/c/docs/special")
    await container.read_item("other", "a")

    assert fault.fired == 0


async def test_faults_by_chance_are_the_same_for_the_same_seed():
    def drawn(seed):
        faults = Faults()
        faults.add(429, "lost", rate=0.3, seed=seed)
        return [faults.draw("create", "POST", "/")[1] for _ in range(200)]

    assert drawn(7) == drawn(7) != drawn(8)
    assert set(drawn(7)) == {None, 429, "lost"}
    assert 30 < sum(one is not None for one in drawn(7)) < 90


async def test_faults_the_clock_and_statistics_are_there_over_http(server, container):
    async with aiohttp.ClientSession(server.endpoint) as session:

        async def call(method, path, said=None):
            async with session.request(method, path, json=said) as answer:
                return answer.status, await answer.json()

        status, fault = await call("POST", "/_faults", {"fault": 449, "kinds": ["read"], "retryAfterMs": 0})
        assert (status, fault["fault"], fault["retry_after_ms"]) == (200, [449], 0)
        await refused(449, container.read_item("any", "a"))
        assert (await call("GET", "/_faults"))[1][0]["fired"] == 1
        assert await call("DELETE", "/_faults") == (200, [])

        before = (await call("GET", "/_clock"))[1]["time"]
        assert (await call("POST", "/_clock", {"advance": 1000}))[1]["time"] >= before + 1000

        await call("DELETE", "/_stats")
        await container.upsert_item({"id": "counted", "pk": "a"})
        await container.read_item("counted", "a")
        counted = (await call("GET", "/_stats"))[1]
        assert counted["kinds"]["read"] == {"requests": 1, "charge": 1.0}
        assert counted["requests"] == 2
        assert counted["statuses"] == {"200": 1, "201": 1}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/_faults", {"fault": "burn"}),
        ("/_faults", {"fault": 429, "rate": 2}),
        ("/_faults", {"fault": 429, "often": True}),
        ("/_clock", {"advance": -1}),
        ("/_clock", {}),
        ("/_clock", []),
    ],
)
async def test_bad_orders_to_the_server_are_refused_in_words(server, path, said):
    async with (
        aiohttp.ClientSession(server.endpoint) as session,
        session.post(path, json=said) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["message"]


IN_A = {"x-ms-documentdb-partitionkey": '["a"]'}
QUERY = IN_A | {"x-ms-documentdb-isquery": "True"}
BATCH = IN_A | {"x-ms-cosmos-is-batch-request": "True"}
ITEM = '{"id": "1", "pk": "a"}'


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-ms-documentdb-partitionkey": "["}, ITEM),
        ({"x-ms-documentdb-partitionkey": "[[1]]"}, ITEM),
        ({"x-ms-documentdb-partitionkey": "{}"}, ITEM),
        ({"x-ms-documentdb-partitionkey": "[" + "9" * 400 + "]"}, ITEM),
        ({"x-ms-documentdb-partitionkey": '["\\ud800"]'}, ITEM),
        ({}, ITEM),
        (IN_A, "[]"),
        (IN_A, '"text"'),
        (IN_A, "{"),
        (IN_A, '{"id": "1", "pk": "a", "n": NaN}'),
        (IN_A, '{"id": "1", "pk": "a", "n": 1e999}'),
        (IN_A, '{"id": "1", "pk": "a", "n": "\\ud800"}'),
        (IN_A, '{"id": "1", "pk": "a", "ttl": 99999999999999999999}'),
        (IN_A, '{"id": "1", "pk": "a", "n": ' + "[" * 20_000 + "]" * 20_000 + "}"),
        (QUERY, '{"query": 1}'),
        (QUERY, "[]"),
        (QUERY, '{"query": "SELECT * FROM c", "parameters": [1]}'),
        (QUERY | {"x-ms-continuation": "e30="}, '{"query": "SELECT * FROM c"}'),
        (QUERY | {"x-ms-max-item-count": "some"}, '{"query": "SELECT * FROM c"}'),
        (BATCH, "{}"),
        (BATCH, "[]"),
        (BATCH, '[{"operationType": "Burn", "id": "1"}]'),
        (BATCH, '[{"operationType": "Delete", "id": {}}]'),
        (BATCH, '[{"operationType": "Read"}]'),
        ({"x-ms-cosmos-is-query-plan-request": "True"}, '{"query": "SELECT * FROM"}'),
    ],
)
async def test_bad_requests_are_refused_and_never_an_error_of_the_server(server, container, headers, body):
    signed = {"authorization": f"type=aad&ver=1.0&sig={unsigned_token('https://127.0.0.1')}"}
    async with (
        aiohttp.ClientSession(server.endpoint) as session,
        session.post("/dbs/d/colls/c/docs", data=body, headers=headers | signed) as answer,
    ):
        assert answer.status == 400, await answer.text()


async def test_a_client_that_has_seen_what_is_lost_is_told_so(server, container):
    await container.upsert_item({"id": "seen", "pk": "a"})

    error = await refused(404, container.read_item("seen", "a", session_token="0:-1#999999999"))
    assert error.sub_status == 1002


async def test_answers_wait_as_long_as_the_server_is_told_to(monkeypatch):
    waited = []

    async def wait(seconds):
        waited.append(seconds)

    async with serve(latency_ms=30) as server, aiohttp.ClientSession(server.endpoint) as session:
        monkeypatch.setattr("tests.emulators.cosmos.front.wait", wait)
        async with session.get("/") as answer:
            assert answer.status == 401

    assert waited == [0.03]


@pytest.mark.parametrize(
    "key", [["a"], ["x" * 40], ["main", "actors/T/1"], [None], [True], [1], [-1.5], [""], ["é" * 17]]
)
async def test_keys_are_placed_on_the_ring_where_the_sdk_places_them(key):
    sdk = (
        SdkPartitionKey(["/a", "/b"][: len(key)], kind="MultiHash") if len(key) > 1 else SdkPartitionKey("/a")
    )

    assert effective(stored(key)) == sdk._get_effective_partition_key_string(key)


@asynccontextmanager
async def process(*arguments):
    """A server of its own: (endpoint, process)."""
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.emulators.cosmos", *arguments, stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        line = (await started.stdout.readline()).decode().strip()
        assert line.startswith("Cosmos DB test server is ready at http")
        yield line.rpartition(" ")[2], started
    finally:
        if started.returncode is None:
            started.send_signal(signal.SIGTERM)
        await started.communicate()


async def test_what_was_answered_survives_the_kill_of_the_process(tmp_path, served):
    file = str(tmp_path / "cosmos.db")
    etags = {}
    async with (
        process("--data", file, "--ranges", "2") as (endpoint, started),
        CosmosClient(endpoint, served.key) as client,
    ):
        container = await container_of(client)
        for number in range(50):
            created = await container.create_item({"id": str(number), "pk": f"p{number % 5}"})
            etags[created["id"]] = created["_etag"]
        os.kill(started.pid, signal.SIGKILL)
        await started.wait()

    async with process("--data", file, "--ranges", "2") as (endpoint, started):
        async with CosmosClient(endpoint, served.key) as client:
            container = await container_of(client)
            found = {item["id"]: item["_etag"] async for item in container.read_all_items()}
            await container.create_item({"id": "next", "pk": "p0"})
        assert found == etags
    assert started.returncode == 0
