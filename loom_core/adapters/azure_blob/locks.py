"""LockManager on leases: a lock is a blob, its token a number that only the holder of the lease can raise."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from loom_core.adapters.azure_blob.container import Container, found
from loom_core.adapters.limits import check_lock
from loom_core.errors import ConflictError
from loom_core.ports.locks import Lock
from loom_core.settings import Connection

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, ContainerClient

# Shorter than the shortest lease: an answer that comes later is of no use.
BUDGET: Final = 10.0
_TOKEN: Final = "token"  # noqa: S105 - the name of a number


class BlobLeaseLockManager:
    """Locks are blobs of the container `CONTAINER-locks`, which are never deleted: their tokens only grow.

    `clock` gives seconds since the epoch; only how far it goes on matters, not what it says. Call `aclose`
    when done.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        container: str,
        clock: Callable[[], float] = time.time,
        new_lease: Callable[[], str] = lambda: str(uuid4()),
        budget: float = BUDGET,
    ) -> None:
        self._container = Container(connection, f"{container}-locks", budget)
        self._clock = clock
        self._new_lease = new_lease

    async def acquire(self, name: str, ttl: int) -> Lock | None:
        check_lock(name, ttl)
        lease, until = self._new_lease(), self._clock() + ttl
        token = await self._container.call(lambda client: _acquire(client, name, lease, ttl))
        return None if token is None else Lock(name, token, ttl, until, lease)

    async def extend(self, lock: Lock) -> Lock:
        check_lock(lock.name, lock.ttl)
        now = self._clock()
        # A lease that ran out can be renewed as long as nobody else took it, or broke it.
        if now >= lock.until or not await self._container.call(lambda client: _renew(client, lock)):
            raise ConflictError(f"the lock on {lock.name} is lost")
        return replace(lock, until=now + lock.ttl)

    async def release(self, lock: Lock) -> None:
        check_lock(lock.name, lock.ttl)
        await self._container.call(lambda client: _release(client, lock))

    async def aclose(self) -> None:
        await self._container.aclose()


async def _acquire(client: "ContainerClient", name: str, lease: str, ttl: int) -> int | None:
    """Take the lease, under an id of ours so that asking again is harmless, and with it the next token."""
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - cold start

    blob = client.get_blob_client(name)
    try:
        if await found(blob.acquire_lease(ttl, lease)) is None:
            await _create(blob)
            await blob.acquire_lease(ttl, lease)
        # Nobody else writes while we have the lease, and without it our own write is refused.
        held = await blob.get_blob_properties()
        token = int(held.metadata.get(_TOKEN, 0)) + 1
        await blob.set_blob_metadata({_TOKEN: str(token)}, lease=lease)
    except HttpResponseError as error:
        if error.status_code in (409, 412):
            return None
        raise
    return token


async def _create(blob: "BlobClient") -> None:
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - cold start

    try:
        await blob.upload_blob(b"", overwrite=False)
    except HttpResponseError as error:
        if error.status_code not in (409, 412):  # somebody was faster, and may have leased it already
            raise


async def _renew(client: "ContainerClient", lock: Lock) -> bool:
    return await _still(_lease(client, lock).renew)


async def _release(client: "ContainerClient", lock: Lock) -> bool:
    return await _still(_lease(client, lock).release)


def _lease(client: "ContainerClient", lock: Lock) -> Any:
    from azure.storage.blob.aio import BlobLeaseClient  # noqa: PLC0415 - cold start

    return BlobLeaseClient(client.get_blob_client(lock.name), lock.lease)


async def _still(work: Callable[[], Any]) -> bool:
    """Do something with a lease; False if it is not ours any more."""
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - cold start

    try:
        await work()
    except HttpResponseError as error:
        if error.status_code in (404, 409, 412):
            return False
        raise
    return True
