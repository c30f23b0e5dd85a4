"""The Cosmos DB adapter: what is sent, what is sent again, what it costs, what its errors say."""

import asyncio
import json
import socket
import sys
import traceback
from dataclasses import replace

import pytest
import pytest_asyncio
from azure.cosmos.aio import CosmosClient
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from loom_core.adapters.cosmos import CosmosStateStore, container, items
from loom_core.errors import ConflictError, InvalidError, UnavailableError
from loom_core.ports.state import Delete, Document, Fence, Put
from loom_core.settings import Connection
from tests.emulators.cosmos import serve, service
from tests.emulators.cosmos.partition_keys import effective, stored
from tests.ports.cosmos import CosmosDB

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMES = {"database": "loom", "container": "state", "tenant": "t"}
SECRET = "dmVyeSBzZWNyZXQga2V5"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    async with serve() as server:
        yield CosmosDB(Connection(connection_string=server.connection_string), server)


@pytest.fixture
def server(shared):
    yield shared.server
    shared.server.faults.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def store(shared):
    """An opened store with a connection that is kept: what breaks is a connection in use."""
    store = shared.store()
    await store.read("p", "nothing")
    yield store
    await store.aclose()


async def requests(store, work):
    """How many requests the work made, and what came of it."""
    before = sum(count for count, _ in store.charges.values())
    try:
        result = await work
    except (ConflictError, UnavailableError, InvalidError) as error:
        result = error
    return sum(count for count, _ in store.charges.values()) - before, result


async def test_every_call_is_one_request(store):
    (etag,) = await store.write("p", [Put("x", {}), Fence("f", 1)][:1])
    works = [
        store.read("p", "x"),
        store.write("p", [Put("new", {}, if_absent=True)]),
        store.write("p", [Put("x", {"n": 1}, if_match=etag)]),
        store.write("p", [Put("x", {"n": 2})]),
        store.write("p", [Put("x", {}), Put("y", {}), Delete("new")]),
        store.write("p", [Delete("y")]),
        store.query("p"),
        store.query("p", limit=1),
        store.query("p", limit=0),
    ]

    assert [(await requests(store, work))[0] for work in works] == [1, 1, 1, 1, 1, 1, 1, 1, 0]


async def test_of_a_tenant_in_two_physical_partitions_all_is_seen_and_of_others_nothing(monkeypatch):
    within = effective(stored(["t"])) + "20" + "0" * 30
    monkeypatch.setattr(service, "ranges", lambda _: [("", within), (within, "FF")])
    async with serve() as server:
        cosmos = CosmosDB(Connection(connection_string=server.connection_string), server)
        store, other = cosmos.store("t"), cosmos.store("other")
        _, cursor = await store.changes("", None)
        for n in range(20):
            await store.write(f"p{n}", [Put("x", {})])
            await other.write(f"q{n}", [Put("x", {})])

        seen, looks = [], 0
        while True:
            found, following = await store.changes("", cursor, 3)
            if following == cursor:
                break
            cursor, looks = following, looks + 1
            assert looks < 50, "it has no end"
            seen += [partition for partition, _ in found]
        await store.aclose()
        await other.aclose()

    assert sorted(seen) == sorted(f"p{n}" for n in range(20))


async def test_only_the_first_fence_of_its_name_takes_a_second_request(store):
    assert (await requests(store, store.write("p", [Put("x", {}), Fence("f", 1)])))[0] == 2
    assert (await requests(store, store.write("p", [Put("x", {}), Fence("f", 2)])))[0] == 1
    assert (await requests(store, store.write("p", [Put("x", {}), Fence("f", 1)])))[0] == 1


async def test_of_all_who_race_for_the_first_fence_the_greatest_token_stays(shared, store):
    async def write(token):
        try:
            await store.write("p", [Fence("f", token), Put("x", {"by": token})])
        except ConflictError:
            return None
        return token

    written = [token for token in await asyncio.gather(*map(write, range(1, 13))) if token]

    assert max(written) == 12
    assert (await store.read("p", "f")).body == {"token": 12}
    assert (await store.read("p", "x")).body == {"by": 12}


async def test_a_long_query_takes_a_request_for_every_four_megabytes(store):
    for n in range(6):
        await store.write("p", [Put(f"j:{n:020}", {"s": "x" * 1_500_000})])

    made, found = await requests(store, store.query("p", "j:"))

    assert [document.id for document in found] == [f"j:{n:020}" for n in range(6)]
    assert made == 3


async def test_documents_with_inexact_numbers_have_all_the_room_there_is(store):
    body = {"whole": 1.0, "many": ["q"] * 475_000, "other": ["ä\n'\"\\"] * 100}
    _, cursor = await store.changes("", None)

    await store.write("room", [Put("x", body)])
    await store.write("room", [Put("y", {"n": 2**63})])
    [(_, changed), *_], _ = await store.changes("x", cursor)

    assert json.dumps((await store.read("room", "x")).body) == json.dumps(body) == json.dumps(changed.body)
    assert [json.dumps(held.body) for held in await store.query("room")] == [
        json.dumps(body),
        json.dumps({"n": 2**63}),
    ]


async def test_documents_in_other_letters_have_all_the_room_there_is(store):
    body = {"s": "ä" * 900_000}

    await store.write("p", [Put("x", body)])

    assert (await store.read("p", "x")).body == body


WRITES = {
    "create": [Put("x", {"n": 1}, if_absent=True)],
    "upsert": [Put("x", {"n": 1})],
    "replace": [Put("held", {"n": 1}, if_match="etag")],
    "delete": [Delete("held")],
    "batch": [Put("x", {"n": 1}, if_absent=True), Put("held", {"n": 1}, if_match="etag")],
}


async def written(store, kind, server, *fault, **options):
    """Write what WRITES says over a document that is held, when a fault hits; the fault comes first."""
    (etag,) = await store.write("p", [Put("held", {"n": 0})])
    matched = [replace(o, if_match=etag) if getattr(o, "if_match", None) else o for o in WRITES[kind]]
    fault = server.faults.add(*fault, kinds=[kind], **options)
    return fault, *(await requests(store, store.write("p", matched)))


@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_whose_answer_is_lost_is_not_sent_again_and_may_have_been_applied(store, server, kind):
    fault, made, error = await written(store, kind, server, "lost")

    assert isinstance(error, UnavailableError)
    assert "may have been applied" in str(error)
    assert (fault.fired, made) == (1, 0), "no answer, no second request"
    held = {document.id: document.body["n"] for document in await store.query("p")}
    assert (
        held
        == {
            "create": {"x": 1, "held": 0},
            "upsert": {"x": 1, "held": 0},
            "replace": {"held": 1},
            "delete": {},
            "batch": {"x": 1, "held": 1},
        }[kind]
    )


@pytest.mark.parametrize("status", [408, 500, 503, "dropped"])
@pytest.mark.parametrize("kind", ["create", "replace", "batch"])
async def test_a_write_that_the_service_failed_at_is_not_sent_again_either(store, server, kind, status):
    fault, _, error = await written(store, kind, server, status)

    assert isinstance(error, UnavailableError)
    assert "may have been applied" in str(error)
    assert fault.fired == 1


@pytest.mark.parametrize("status", [429, 449])
@pytest.mark.parametrize("kind", WRITES)
async def test_a_write_that_was_not_applied_is_sent_again(store, server, kind, status):
    fault, made, etags = await written(store, kind, server, status, times=3)

    assert isinstance(etags, tuple)
    assert (fault.fired, made) == (3, 4)


@pytest.mark.parametrize(("status", "told"), [(429, "throttling"), (449, "other writes")])
async def test_a_storm_is_given_up_soon(store, server, status, told):
    fault = server.faults.add(status)

    for work in (store.write("p", [Put("x", {})]), store.read("p", "x"), store.query("p")):
        _, error = await requests(store, work)
        assert isinstance(error, UnavailableError)
        assert told in str(error)
        assert "applied" not in str(error)

    assert fault.fired == 15


async def test_nobody_waits_for_longer_than_the_budget(store, server):
    fault = server.faults.add(429, retry_after_ms=60_000)

    with pytest.raises(UnavailableError, match="throttling"):
        await store.read("p", "x")

    assert fault.fired == 1


@pytest.mark.parametrize("fault", [408, 429, 449, 500, 503, "lost", "dropped"])
async def test_a_read_is_sent_again_after_whatever_may_pass(store, server, fault):
    await store.write("p", [Put("x", {"n": 1})])
    _, cursor = await store.changes("", None)
    await store.write("p", [Put("x", {"n": 1})])
    fired = [server.faults.add(fault, kinds=[kind], times=2) for kind in ("read", "query", "change_feed")]

    assert (await store.read("p", "x")).body == {"n": 1}
    assert [document.id for document in await store.query("p")] == ["x"]
    assert [document.id for _, document in (await store.changes("", cursor))[0]] == ["x"]
    assert [fault.fired for fault in fired] == [2, 2, 2]


async def test_a_replica_that_is_behind_is_asked_again_and_does_not_mean_that_there_is_nothing(store, server):
    await store.write("p", [Put("x", {"n": 1})])
    server.faults.add(404, substatus=1002, kinds=["read"], times=1)
    assert (await store.read("p", "x")).body == {"n": 1}

    server.faults.add(404, substatus=1002, kinds=["read"])
    with pytest.raises(UnavailableError, match="404/1002"):
        await store.read("p", "x")


async def test_a_container_that_is_missing_is_said_to_be_and_is_no_missing_document(store, server):
    server.faults.add(404, substatus=1003)

    for work in (
        store.read("p", "x"),
        store.write("p", [Delete("x")]),
        store.write("p", [Delete("x"), Put("x", {})]),
        store.query("p"),
    ):
        with pytest.raises(UnavailableError, match="container is missing"):
            await work


async def test_what_the_service_refuses_as_bad_is_invalid(store, server):
    server.faults.add(400, kinds=["upsert", "batch"])

    for batch in ([Put("x", {})], [Put("x", {}), Put("y", {})]):
        with pytest.raises(InvalidError, match="400"):
            await store.write("p", batch)


async def test_after_a_failover_writes_are_sent_by_one_new_client(store, server):
    opened, _ = store.charges["open"]
    server.faults.add(403, substatus=3, kinds=["batch"], times=10)

    batches = [store.write(f"p{n}", [Put("x", {"n": n}), Put("y", {})]) for n in range(10)]
    await asyncio.gather(*batches, *(store.read("p", "x") for _ in range(10)))

    assert store.charges["open"][0] == 2 * opened
    assert [(await store.read(f"p{n}", "x")).body for n in range(10)] == [{"n": n} for n in range(10)]


async def test_a_failover_that_takes_long_does_not_pile_up_clients(store, server):
    opened, _ = store.charges["open"]
    server.faults.add(403, substatus=3, kinds=["batch"], times=None)

    for _ in range(2):  # five attempts each
        with pytest.raises(UnavailableError, match="region"):
            await store.write("p", [Put("x", {}), Put("y", {})])

    assert store.charges["open"][0] <= 4 * opened


async def test_an_identity_without_a_role_is_told_which(store, server):
    server.faults.add(403, substatus=5300)

    with pytest.raises(UnavailableError, match="Data Contributor"):
        await store.read("p", "x")


async def test_first_calls_at_once_open_one_client(shared, store):
    fresh = shared.store()

    await asyncio.gather(*(fresh.write(f"p{n}", [Put("x", {})]) for n in range(20)))

    assert fresh.charges["open"][0] == store.charges["open"][0]
    await fresh.aclose()


async def test_a_call_that_is_cancelled_while_opening_leaves_the_next_one_to_open(shared):
    store = shared.store()
    first = asyncio.create_task(store.read("p", "x"))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert await store.read("p", "x") is None
    await store.aclose()


async def test_what_is_under_way_is_done_before_the_store_closes(shared):
    store = shared.store()
    await store.read("p", "x")
    writing = [asyncio.create_task(store.write(f"p{n}", [Put("x", {}), Put("y", {})])) for n in range(20)]
    await asyncio.sleep(0)

    await store.aclose()

    assert {task.done() for task in writing} == {True}
    assert all(len(etags) == 2 for etags in await asyncio.gather(*writing))


async def test_a_closed_store_says_so(shared):
    store = shared.store()
    await store.read("p", "x")
    await store.aclose()
    await store.aclose()

    with pytest.raises(UnavailableError, match="closed"):
        await store.read("p", "x")


async def test_a_refused_connection_is_told_without_waiting_for_the_budget():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/"
        store = CosmosStateStore(
            Connection(connection_string=f"AccountEndpoint={url};AccountKey={SECRET}"), **NAMES
        )
        for work in (store.read("p", "x"), store.write("p", [Put("x", {})])):
            with pytest.raises(UnavailableError, match="cannot be reached"):
                await work
        await store.aclose()


@pytest.mark.parametrize("text", ["AccountEndpoint=http://localhost:1", f"{{}};AccountKey={SECRET}1"])
async def test_a_connection_string_that_cannot_be_read_is_told_without_its_key(text):
    text = text.format("AccountEndpoint=http://localhost:1")
    store = CosmosStateStore(Connection(connection_string=text), **NAMES)

    with pytest.raises(UnavailableError, match="cannot be read") as caught:
        await store.read("p", "x")
    await store.aclose()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_server_that_never_answers_takes_the_budget_and_no_more():
    async def ignore(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(ignore, "127.0.0.1", 0) as silent:
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
        connection = Connection(connection_string=f"AccountEndpoint={url};AccountKey={SECRET}")
        store = CosmosStateStore(connection, **NAMES, budget=0.1)
        with pytest.raises(UnavailableError, match="no answer in 0.1 s"):
            await store.read("p", "x")
        await store.aclose()


async def test_a_wrong_key_is_refused_and_told_to_nobody(server, caplog):
    caplog.set_level("DEBUG")
    connection = Connection(connection_string=f"AccountEndpoint={server.endpoint};AccountKey={SECRET}")
    store = CosmosStateStore(connection, **NAMES)

    with pytest.raises(UnavailableError, match="credential") as caught:
        await store.read("p", "x")
    await store.aclose()

    told, error = [caplog.text, repr(store), repr(connection)], caught.value
    while error:
        told += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert SECRET not in "".join(told)


async def test_another_host_reads_what_was_written(shared):
    here, there = shared.store("hosts"), shared.store("hosts")

    for n in range(20):
        (etag,) = await here.write("p", [Put("x", {"n": n})])
        assert await there.read("p", "x") == Document("x", {"n": n}, etag)

    await here.aclose()
    await there.aclose()


async def test_a_cursor_is_the_feeds_own_whatever_else_is_asked_meanwhile(store):
    await store.write("p", [Put("x", {})])
    _, cursor = await store.changes("", None)

    async def follow():
        nonlocal cursor
        for n in range(20):
            await store.write("p", [Put(f"o:{n}", {})])
            seen, cursor = await store.changes("o:", cursor)
            assert [document.id for _, document in seen] == [f"o:{n}"]

    async def distract():
        while True:
            await store.read("p", "x")

    distracting = [asyncio.create_task(distract()) for _ in range(4)]
    try:
        await follow()
    finally:
        for task in distracting:
            task.cancel()
        await asyncio.gather(*distracting, return_exceptions=True)


async def test_tenants_see_neither_documents_nor_changes_of_each_other(shared):
    one, other = shared.store("one"), shared.store("other")
    _, cursor = await one.changes("", None)

    await other.write("p", [Put("x", {})])

    assert await one.read("p", "x") is None
    assert await one.query("p") == []
    assert (await one.changes("", cursor))[0] == []
    await one.aclose()
    await other.aclose()


async def test_requests_and_what_they_cost_are_counted_by_operation_and_status(shared, monkeypatch, server):
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    store = shared.store()
    await store.write("p", [Put("x", {}), Put("y", {})])
    server.faults.add(429, kinds=["read"], times=1)
    await store.read("p", "x")
    await store.read("p", "nothing")
    await store.aclose()

    made = {
        metric.name: {
            (point.attributes["operation"], point.attributes["status"]): point.value
            for point in metric.data.data_points
        }
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()

    counts, charges = made["loom.cosmos.requests"], made["loom.cosmos.request_charge"]
    assert {key: n for key, n in counts.items() if key[0] != "open"} == {
        ("write", "200"): 1,
        ("read", "429"): 1,
        ("read", "200"): 1,
        ("read", "404"): 1,
    }
    assert charges["write", "200"] == store.charges["write"][1] > 0
    assert store.charges["read"] == (3, sum(charges["read", status] for status in ("200", "404", "429")))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n": 1, "x": 0.5, "s": "1.5"}, "body"),
        ({"n": 999_999_999_999_999, "x": -10.05, "at": "2026-01-01T00:00:00.000Z", "v": "1.0"}, "body"),
        ({"n": 0.1 + 0.2}, "json"),
        ({"l": [1, -0.0]}, "json"),
        ({"n": 1.0}, "json"),
        ({"n": [2**53 + 1]}, "json"),
        ({"n": 1e22}, "json"),
        ({"n": 1e-7}, "json"),
    ],
)
async def test_a_number_that_cosmos_would_change_is_kept_as_text(body, field):
    [item] = items.written(["t", "p"], [Put("x", body)], [json.dumps(body, separators=(",", ":"))])

    assert ("body" in item, "json" in item) == (field == "body", field == "json")


async def test_an_emulator_gets_the_container_that_is_defined(store, server):
    async with CosmosClient(server.endpoint, server.key) as client:
        made = await client.get_database_client("loom").get_container_client("state").read()

    assert made["partitionKey"] == container.PARTITION_KEY
    assert made["defaultTtl"] == container.DEFAULT_TTL
    included = made["indexingPolicy"]["includedPaths"]
    assert [{"path": path["path"]} for path in included] == container.INDEXING_POLICY["includedPaths"]
    assert {"path": "/*"} in made["indexingPolicy"]["excludedPaths"]


async def test_the_sdk_is_imported_at_the_first_call():
    code = (
        "import sys, loom_core.adapters.cosmos as c; from loom_core.settings import Connection;"
        "c.CosmosStateStore(Connection(endpoint='https://a/'), database='d', container='c', tenant='t');"
        "sys.exit(any(name.startswith(('azure', 'aiohttp', 'opentelemetry')) for name in sys.modules))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
