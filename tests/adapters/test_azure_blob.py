"""What only blobs and leases over a network can do wrong; the rest is in tests/ports."""

import asyncio
import hashlib
import logging
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.storage.blob.aio import BlobLeaseClient, BlobServiceClient, ExponentialRetry

from loom_core.adapters.azure_blob import AzureBlobStore, BlobLeaseLockManager
from loom_core.adapters.azure_blob import container as container_module
from loom_core.adapters.azure_blob.container import MIB, Container
from loom_core.errors import ConflictError, IntegrityError, UnavailableError
from loom_core.ports.blobs import MAX_BLOB_BYTES
from loom_core.settings import Connection
from tests.adapters.wire import Wire
from tests.emulators.azurite import KEY, connection_string, serve


@pytest.fixture(scope="module")
def own():
    """An Azurite whatever LOOM_TEST_BLOB says: what stands before it has to be plain HTTP."""
    with serve() as server:
        yield server


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(ExponentialRetry, "get_backoff_time", lambda *_: 0.01)


@pytest.fixture
async def wire(own):
    async with Wire(own.url) as wire:
        yield wire


@asynccontextmanager
async def opened(wire, make=AzureBlobStore, **options):
    options.setdefault("container", "blobs")
    port = make(Connection(connection_string=connection_string(wire.url)), **options)
    try:
        yield port
    finally:
        await port.aclose()


@pytest.fixture
async def store(wire, own):
    async with opened(wire, container=own.new_container()) as store:
        await store.put("warm", b"")
        yield store


@pytest.fixture
async def raw(own, store):
    """The SDK's own client for the container of `store`."""
    async with BlobServiceClient.from_connection_string(own.connection.connection_string) as service:
        yield service.get_container_client(store._container._name)


async def test_what_is_under_way_when_the_store_is_closed_is_unavailable(store, wire):
    asked = asyncio.Event()

    async def tell(seen):
        asked.set()

    wire.before = tell
    wire.next("hang", "HEAD")
    under_way = asyncio.create_task(store.head("warm"))
    await asked.wait()
    await store.aclose()

    with pytest.raises(UnavailableError, match="closed meanwhile"):
        await under_way


@pytest.mark.parametrize("size", [10, 5 * MIB], ids=["one request", "blocks"])
@pytest.mark.parametrize("times", [1, 2], ids=["sent again by aiohttp", "sent again by the SDK"])
async def test_a_conditional_put_whose_answer_was_lost_is_known_for_ours(store, wire, size, times):
    comp = "blocklist" if size > MIB else ""
    wire.next("lose", "PUT", comp, times)
    first = await store.put("x", b"1" * size, if_absent=True)
    wire.next("lose", "PUT", comp, times)
    second = await store.put("x", b"2" * size, if_match=first)

    assert (
        len([seen for seen in wire.seen if seen.path.endswith("/x") and seen.comp == comp]) >= 2 + 2 * times
    )
    assert (await store.get("x")).etag == second
    assert (await store.get("x")).data == b"2" * size
    with pytest.raises(ConflictError):
        await store.put("x", b"3" * size, if_absent=True)


async def test_the_same_bytes_of_somebody_else_are_not_this_put(store, wire):
    async with opened(wire, container=store._container._name) as other:
        await other.put("x", b"same")

        with pytest.raises(ConflictError):
            await store.put("x", b"same", if_absent=True)


async def test_the_largest_blob_there_may_be_goes_and_comes(own):
    data = os.urandom(MIB) * (MAX_BLOB_BYTES // MIB)
    async with opened(own, container=own.new_container()) as store:
        etag = await store.put("large", data)
        blob = await store.get("large")

    assert (blob.etag, hashlib.sha256(blob.data).digest()) == (etag, hashlib.sha256(data).digest())


async def test_a_large_blob_goes_and_comes_in_parts_side_by_side(store, wire):
    at_once = most = 0

    async def count(seen):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1

    wire.before = count
    await store.put("x", b"1" * (12 * MIB))
    assert most == 3
    most = 0
    await store.get("x")
    assert most == 2  # the first range comes first, and tells how many there are

    of_it = [seen.comp or seen.method for seen in wire.seen if seen.path.endswith("/x")]
    assert of_it == ["block"] * 3 + ["blocklist"] + ["GET"] * 3


async def test_blocks_of_many_writers_never_mix(store):
    contents = [bytes([n]) * (5 * MIB) for n in range(4)]

    async def write(data, **condition):
        try:
            return await store.put("x", data, **condition)
        except (ConflictError, UnavailableError) as error:
            return type(error)

    etags = await asyncio.gather(*(write(data) for data in contents))
    blob = await store.get("x")
    assert blob.data in contents
    assert blob.etag in etags

    told = await asyncio.gather(*(write(data, if_match=blob.etag) for data in contents))
    assert sorted(told, key=str)[1:] == [ConflictError] * 3
    assert (await store.get("x")).data in contents


async def test_a_damaged_download_is_refused(store, wire):
    for size in (100, 9 * MIB):
        await store.put("x", b"1" * size)
        wire.next("damage", "GET")

        with pytest.raises(IntegrityError, match="SHA-256"):
            await store.get("x")
        assert (await store.get("x")).data == b"1" * size


async def test_a_download_that_is_torn_off_is_taken_up_again(store, wire):
    await store.put("x", b"1" * (9 * MIB))
    wire.next("cut", "GET")

    assert (await store.get("x")).data == b"1" * (9 * MIB)


async def test_a_reader_never_gets_parts_of_two_blobs(store, wire, own):
    await store.put("x", b"1" * (9 * MIB))
    ranges = 0

    async with opened(own, container=store._container._name) as other:

        async def replace(seen):
            nonlocal ranges
            ranges += seen.method == "GET"
            if ranges == 2 and seen.method == "GET":
                await other.put("x", b"2" * (9 * MIB))

        wire.before = replace

        assert (await store.get("x")).data == b"2" * (9 * MIB)
    assert ranges > 3


async def test_a_blob_that_was_put_by_other_means_is_read(store, raw):
    await raw.upload_blob("x", b"by hand")

    assert (await store.get("x")).data == b"by hand"


async def test_a_list_goes_on_where_it_was_left_without_reading_what_came_before(store, wire):
    for n in range(7):
        await store.put(f"n{n}", b"")
    wire.seen.clear()

    assert await store.list("n", limit=3, after="n2") == ["n3", "n4", "n5"]
    assert len(wire.seen) == 1


async def test_a_busy_service_is_asked_again_and_then_said_to_be_unavailable(store, wire):
    wire.next("busy", "PUT", times=2)
    await store.put("x", b"1", if_absent=True)

    wire.next("busy", "PUT", times=9)
    with pytest.raises(UnavailableError, match="503 ServerBusy"):
        await store.put("y", b"1")


async def test_a_service_that_does_not_answer_is_left_after_the_budget(wire, own):
    async with opened(wire, container=own.new_container(), budget=1.0) as store:
        await store.put("x", b"1")
        wire.next("hang", "GET", times=9)

        with pytest.raises(UnavailableError, match="longer than 1 seconds"):
            await store.get("x")


async def test_a_refused_connection_is_unavailable_and_tells_no_key():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    store = AzureBlobStore(Connection(connection_string=connection_string(url)), container="blobs")

    for call in (store.put("x", b""), store.get("x"), store.head("x"), store.delete("x"), store.list()):
        with pytest.raises(UnavailableError, match="cannot be reached") as caught:
            await call
        assert KEY not in str(caught.value)
    await store.aclose()


async def test_a_connection_string_that_is_none_is_refused_without_telling_it():
    store = AzureBlobStore(Connection(connection_string="AccountKey"), container="blobs")

    with pytest.raises(UnavailableError, match="cannot be read") as caught:
        await store.head("x")
    assert "AccountKey" not in str(caught.value)


async def test_a_refused_key_is_unavailable_says_what_to_do_and_tells_no_key(own, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = own.connection.connection_string.replace(KEY, "c2VjcmV0" * 8)
    store = AzureBlobStore(Connection(connection_string=wrong), container="blobs")

    with pytest.raises(UnavailableError, match="Storage Blob Data Contributor") as caught:
        await store.put("x", b"")
    await store.aclose()

    assert "c2VjcmV0" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None


async def test_with_an_endpoint_what_is_missing_is_named_and_not_made(monkeypatch):
    class Identity:
        async def get_token(self, *_, **__):
            raise AssertionError

    monkeypatch.setattr(container_module, "credential", Identity)
    container = Container(Connection(endpoint="https://account.blob.core.windows.net/"), "loom", 5)

    def failing(error):
        async def work(client):
            raise error

        return work

    missing = ResourceNotFoundError("The specified container does not exist.")
    missing.error_code = "ContainerNotFound"
    with pytest.raises(UnavailableError, match="no container 'loom': the deployment makes it"):
        await container.call(failing(missing))
    with pytest.raises(UnavailableError, match="no identity for Blob Storage: sign in"):
        await container.call(failing(ClientAuthenticationError("sign in")))
    await container.aclose()


async def test_many_first_calls_make_one_client_and_one_container(wire, own):
    async with opened(wire, container=own.new_container()) as store:
        await asyncio.gather(*(store.put(f"{n}", b"") for n in range(16)))

        assert len(await store.list()) == 16


def test_neither_import_nor_constructor_import_the_sdk():
    script = (
        "import sys; from loom_core.adapters.azure_blob import AzureBlobStore, BlobLeaseLockManager;"
        "from loom_core.settings import Connection; c = Connection(endpoint='https://x.blob.core.windows.net');"
        "AzureBlobStore(c, container='x'); BlobLeaseLockManager(c, container='x');"
        "print([name for name in sys.modules if name.startswith(('azure', 'aiohttp'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.fixture
async def clock(own):
    return own.new_clock()


@pytest.fixture
async def locks(wire, own, clock):
    name = own.new_container()
    async with opened(wire, BlobLeaseLockManager, container=name, clock=clock) as locks:
        await locks.release(await locks.acquire("x", 15))
        yield locks


@pytest.fixture
async def blob(own, locks):
    """The blob of the lock "x", as an operator has it."""
    async with BlobServiceClient.from_connection_string(own.connection.connection_string) as service:
        yield service.get_blob_client(locks._container._name, "x")


@pytest.mark.parametrize("times", [1, 2], ids=["sent again by aiohttp", "sent again by the SDK"])
@pytest.mark.parametrize("comp", ["lease", "metadata"])
async def test_a_lock_whose_answer_was_lost_is_had_all_the_same(locks, wire, comp, times):
    wire.next("lose", "PUT", comp, times)
    lock = await locks.acquire("x", 15)

    assert lock.token == 2
    assert await locks.acquire("x", 15) is None
    wire.next("lose", "PUT", "lease", times)
    lock = await locks.extend(lock)
    wire.next("lose", "PUT", "lease", times)
    await locks.release(lock)
    assert (await locks.acquire("x", 15)).token == 3


async def test_a_lease_that_somebody_broke_is_lost_and_its_token_stays_behind(locks, blob):
    lock = await locks.acquire("x", 15)
    await BlobLeaseClient(blob).break_lease(0)

    with pytest.raises(ConflictError):
        await locks.extend(lock)
    await locks.release(lock)
    assert (await locks.acquire("x", 15)).token == lock.token + 1


async def test_a_lease_that_ran_out_is_not_extended_though_the_service_would(locks, blob, clock):
    lock = await locks.acquire("x", 15)
    await clock.advance(16)

    with pytest.raises(ConflictError):
        await locks.extend(lock)
    await BlobLeaseClient(blob, lock.lease).renew()


async def test_who_is_too_slow_to_raise_the_token_has_no_lock(locks, own, wire, clock):
    container = locks._container._name.removesuffix("-locks")
    async with opened(own, BlobLeaseLockManager, container=container, clock=clock) as others:
        faster = []

        async def pause(seen):
            if seen.comp == "metadata" and not faster:
                await clock.advance(16)
                faster.append(await others.acquire("x", 15))

        wire.before = pause

        assert await locks.acquire("x", 15) is None
        assert faster[0].token == 2
        await others.release(faster[0])
        assert (await locks.acquire("x", 15)).token == 3


async def test_a_lock_is_a_blob_whose_token_everybody_can_read(blob):
    assert (await blob.get_blob_properties()).metadata == {"token": "1"}
