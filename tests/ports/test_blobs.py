"""What every BlobStore does; a new adapter adds one line to STORES."""

import asyncio

import pytest

from loom_core.adapters.azure_blob import AzureBlobStore
from loom_core.adapters.files import FileBlobStore
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.errors import ConflictError, InvalidError, NotFoundError
from loom_core.ports import blobs as port
from loom_core.ports.blobs import BlobStore

STORES = {
    "memory": lambda folder, service: MemoryBlobStore(),
    "files": lambda folder, service: FileBlobStore(folder / "blobs"),
    "azure": lambda folder, service: AzureBlobStore(service.connection, container=service.new_container()),
}


@pytest.fixture(params=STORES)
def kind(request):
    return request.param


@pytest.fixture
def service(kind, request):
    return request.getfixturevalue("azurite") if kind == "azure" else None


@pytest.fixture
async def store(kind, service, tmp_path) -> BlobStore:
    store = STORES[kind](tmp_path, service)
    yield store
    if hasattr(store, "aclose"):
        await store.aclose()


async def test_a_blob_is_read_back_with_the_etag_of_its_write(store):
    etag = await store.put("a/b.bin", b"\x00\xffbytes")

    blob = await store.get("a/b.bin")

    assert (b"\x00\xffbytes", etag) == (blob.data, blob.etag)
    assert await store.head("a/b.bin") == etag


@pytest.mark.parametrize("etag", ["*", "", "\n", '"*"', "ä"])
async def test_what_no_store_gives_for_an_etag_matches_nothing(store, etag):
    await store.put("x", b"1")

    with pytest.raises(ConflictError):
        await store.put("x", b"2", if_match=etag)
    assert (await store.get("x")).data == b"1"


async def test_a_missing_blob_is_not_found_has_no_head_and_deletes_quietly(store):
    with pytest.raises(NotFoundError):
        await store.get("nothing")

    assert await store.head("nothing") is None
    await store.delete("nothing")


async def test_a_put_replaces_the_whole_blob_and_changes_the_etag(store):
    first = await store.put("x", b"long content")
    second = await store.put("x", b"short")

    assert (await store.get("x")).data == b"short"
    assert first != second


async def test_an_empty_blob_exists(store):
    await store.put("empty", b"")

    assert (await store.get("empty")).data == b""


async def test_put_if_absent_refuses_an_existing_blob_and_keeps_it(store):
    await store.put("x", b"first", if_absent=True)

    with pytest.raises(ConflictError):
        await store.put("x", b"second", if_absent=True)
    assert (await store.get("x")).data == b"first"


async def test_put_if_match_needs_the_current_etag(store):
    old = await store.put("x", b"1")
    new = await store.put("x", b"2", if_match=old)

    with pytest.raises(ConflictError):
        await store.put("x", b"3", if_match=old)
    with pytest.raises(ConflictError):
        await store.put("missing", b"3", if_match=new)
    assert (await store.get("x")).data == b"2"
    assert await store.head("missing") is None


async def test_of_many_writers_of_an_absent_blob_exactly_one_wins(store):
    async def write(n):
        try:
            await store.put("x", str(n).encode(), if_absent=True)
        except ConflictError:
            return None
        return str(n).encode()

    winners = [w for w in await asyncio.gather(*map(write, range(16))) if w]

    assert [(await store.get("x")).data] == winners


async def test_of_many_writers_with_the_same_etag_exactly_one_wins(store):
    etag = await store.put("x", b"start")

    async def write(n):
        try:
            return await store.put("x", str(n).encode(), if_match=etag)
        except ConflictError:
            return None

    winners = [w for w in await asyncio.gather(*map(write, range(16))) if w]

    assert [await store.head("x")] == winners


async def test_a_deleted_blob_is_gone(store):
    await store.put("x", b"1")
    await store.delete("x")

    assert await store.head("x") is None
    await store.put("x", b"2", if_absent=True)


async def test_a_blob_may_have_the_name_of_another_ones_folder(store):
    await store.put("a", b"blob")
    await store.put("a/b", b"inside")

    assert await store.list() == ["a", "a/b"]


async def test_list_gives_names_in_order_by_prefix_in_pages(store):
    for name in ("p/3", "p/1", "p/2", "p-q", "q/1"):
        await store.put(name, b"")

    assert await store.list() == ["p-q", "p/1", "p/2", "p/3", "q/1"]
    assert await store.list("p/") == ["p/1", "p/2", "p/3"]
    assert await store.list("p/", limit=2) == ["p/1", "p/2"]
    assert await store.list("p/", limit=2, after="p/2") == ["p/3"]
    assert await store.list("p/", after="p") == ["p/1", "p/2", "p/3"]
    assert await store.list("p/", after="p/0") == ["p/1", "p/2", "p/3"]
    assert await store.list("p/", after="q") == []
    assert await store.list("p/", limit=0) == []
    assert await store.list("zzz") == []


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", ".hidden", "a/.b", "a\\b"),
        *("a b", "a\0b", "a\n", "ä", "a=b", "C:x", "x" * 201),
    ],
)
async def test_names_that_could_leave_the_store_are_refused(store, name):
    for operation in (store.put(name, b""), store.get(name), store.head(name), store.delete(name)):
        with pytest.raises(InvalidError):
            await operation


async def test_a_name_may_be_200_characters_long(store):
    await store.put("x" * 200, b"1")

    assert await store.list() == ["x" * 200]


async def test_a_blob_above_the_size_limit_is_refused(store, monkeypatch):
    monkeypatch.setattr(port, "MAX_BLOB_BYTES", 10)

    await store.put("x", b"0123456789")
    with pytest.raises(InvalidError, match="11 bytes"):
        await store.put("x", b"0123456789+")
