"""BlobStore as files of one flat directory: what a process of this machine has acknowledged survives kill -9.

A `/` of a name is written `=` (which no name contains), so every blob is one entry of one directory: no
folder to create or to sync, no name that is also another's folder, and no symbolic link on the way to it.
"""

import asyncio
import errno
import hashlib
import heapq
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from loom_core.adapters.limits import check_blob, check_name
from loom_core.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError
from loom_core.ports.blobs import MAX_LISTED, Blob

_UNFINISHED = ".tmp-"  # no blob name begins with a dot
_ABANDONED_AFTER = 3600


class FileBlobStore:
    """`if_absent` holds between processes, `if_match` within the one that has the directory open."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root.resolve()
        self._lock = threading.Lock()
        for leftover in self._root.glob(f"{_UNFINISHED}*"):
            if leftover.lstat().st_mtime < time.time() - _ABANDONED_AFTER:
                leftover.unlink(missing_ok=True)

    async def put(
        self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        check_blob(name, data)
        return await _in_thread(self._put, name, data, if_absent, if_match)

    async def get(self, name: str) -> Blob:
        check_name(name)
        blob = await _in_thread(self._read, name)
        if blob is None:
            raise NotFoundError(f"there is no blob {name}")
        return blob

    async def head(self, name: str) -> str | None:
        check_name(name)
        blob = await _in_thread(self._read, name)
        return blob.etag if blob else None

    async def delete(self, name: str) -> None:
        check_name(name)
        await _in_thread(self._delete, name)

    async def list(self, prefix: str = "", *, limit: int = MAX_LISTED, after: str = "") -> Sequence[str]:
        return await _in_thread(self._names, prefix, min(limit, MAX_LISTED), after)

    def _names(self, prefix: str, limit: int, after: str) -> Sequence[str]:
        with os.scandir(self._root) as entries:
            names = (entry.name.replace("=", "/") for entry in entries if not entry.name.startswith("."))
            wanted = (name for name in names if name.startswith(prefix) and name > after)
            return heapq.nsmallest(limit, wanted)

    def _path(self, name: str) -> Path:
        return self._root / name.replace("/", "=")

    def _put(self, name: str, data: bytes, if_absent: bool, if_match: str | None) -> str:
        path = self._path(name)
        if if_absent and os.path.lexists(path):
            raise ConflictError(f"blob {name} exists")
        unfinished = self._root / f"{_UNFINISHED}{uuid4().hex}"
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                if if_match is not None:
                    self._check_match(name, if_match)
                if if_absent:
                    _link(unfinished, path, name)
                else:
                    unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        self._sync_directory()
        return hashlib.sha256(data).hexdigest()

    def _check_match(self, name: str, etag: str) -> None:
        held = self._read(name)
        if held is None or held.etag != etag:
            raise ConflictError(f"blob {name} has changed")

    def _read(self, name: str) -> Blob | None:
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise IntegrityError(f"blob {name} is a symbolic link") from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            data = file.read()
        return Blob(data, hashlib.sha256(data).hexdigest())

    def _delete(self, name: str) -> None:
        with self._lock:
            self._path(name).unlink(missing_ok=True)
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _link(source: Path, target: Path, name: str) -> None:
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise ConflictError(f"blob {name} exists") from None


async def _in_thread[T](work: Callable[..., T], *arguments: Any) -> T:
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as error:
        raise UnavailableError(f"the blob directory cannot be used: {error.strerror}") from error
