import os

import pytest

from loom_core.adapters.files import FileBlobStore
from loom_core.errors import IntegrityError, UnavailableError


async def test_blobs_are_there_for_the_next_process(tmp_path):
    etag = await FileBlobStore(tmp_path).put("a/b", b"data")

    assert await FileBlobStore(tmp_path).head("a/b") == etag


async def test_a_symbolic_link_is_never_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    store = FileBlobStore(tmp_path / "root")
    (tmp_path / "root" / "x").symlink_to(secret)

    with pytest.raises(IntegrityError):
        await store.get("x")
    await store.put("x", b"mine")

    assert secret.read_bytes() == b"secret"
    assert (await store.get("x")).data == b"mine"


async def test_a_failed_write_leaves_the_old_blob_and_no_litter(tmp_path, monkeypatch):
    store = FileBlobStore(tmp_path)
    await store.put("x", b"old")

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(UnavailableError, match="No space left"):
        await store.put("x", b"new")
    monkeypatch.undo()

    assert (await store.get("x")).data == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


async def test_unfinished_writes_of_a_killed_process_are_cleared_once_they_are_old(tmp_path):
    old, fresh = tmp_path / ".tmp-1", tmp_path / ".tmp-2"
    old.write_bytes(b"")
    fresh.write_bytes(b"")
    os.utime(old, (0, 0))

    assert await FileBlobStore(tmp_path).list() == []
    assert (old.exists(), fresh.exists()) == (False, True)
