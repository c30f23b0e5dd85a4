"""Blobs and locks on Azurite: the adapter beside the bare SDK, on the same server in the same run."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from azure.storage.blob.aio import BlobLeaseClient, BlobServiceClient, ContainerClient

from benchmarks.measure import Scale, Table, beside
from loom_core.adapters.azure_blob import AzureBlobStore, BlobLeaseLockManager
from loom_core.settings import Connection
from tests.emulators.azurite import serve

AT_ONCE = 8
KIB, MIB = 1024, 1024 * 1024


class Pair(NamedTuple):
    """The same work, by the adapter and by the bare SDK; `n` tells calls apart."""

    work: str
    count: int
    ours: Callable[[int], Awaitable[object]]
    bare: Callable[[int], Awaitable[object]]


def measure(scale: Scale, folder: Path) -> Table:  # noqa: ARG001 - as every area has it
    with serve() as azurite:
        pairs, ours, bare = asyncio.run(_all(scale, azurite.connection))
    rows = [beside(*each) for each in zip((pair.work for pair in pairs), ours, bare, strict=True)]
    return Table(
        "Blobs and locks on Azure",
        f"Azurite on the same machine, {AT_ONCE} calls at a time; the adapter and the bare SDK take turns, "
        "and the aim is 90 % of the bare SDK. A lock is a lease, a token read and raised, and a release.",
        tuple(rows),
    )


async def _all(
    scale: Scale, connection: Connection
) -> tuple[list[Pair], list[list[float]], list[list[float]]]:
    async with AsyncExitStack() as stack:
        service = BlobServiceClient.from_connection_string(connection.connection_string)
        bare = await stack.enter_async_context(service)
        blobs = AzureBlobStore(connection, container="blobs")
        stack.push_async_callback(blobs.aclose)
        locks = BlobLeaseLockManager(connection, container="blobs")
        stack.push_async_callback(locks.aclose)
        pairs = [
            *_of_blobs(scale, blobs, bare.get_container_client("blobs")),
            _of_locks(scale, locks, bare.get_container_client("blobs-locks")),
        ]
        ours: list[list[float]] = [[] for _ in pairs]
        floors: list[list[float]] = [[] for _ in pairs]
        for number, pair in enumerate(pairs):
            for _ in scale.rounds:
                ours[number].append(await _speed(pair.count, pair.ours))
                floors[number].append(await _speed(pair.count, pair.bare))
    return pairs, ours, floors


def _of_blobs(scale: Scale, blobs: AzureBlobStore, bare: ContainerClient) -> list[Pair]:
    pairs: list[Pair] = []
    for size, name, count in ((KIB, "1 KB", 400), (MIB, "1 MB", 100)):
        data = bytes(range(256)) * (size // 256)

        async def put(n: int, data: bytes = data) -> None:
            await blobs.put(f"{len(data)}-{n % AT_ONCE}", data)

        async def put_bare(n: int, data: bytes = data) -> None:
            await bare.upload_blob(f"bare-{len(data)}-{n % AT_ONCE}", data, overwrite=True)

        async def get(n: int, size: int = size) -> None:
            await blobs.get(f"{size}-{n % AT_ONCE}")

        async def get_bare(n: int, size: int = size) -> None:
            await (await bare.download_blob(f"bare-{size}-{n % AT_ONCE}")).readall()

        pairs.append(Pair(f"blobs of {name} written", scale.of(count), put, put_bare))
        pairs.append(Pair(f"blobs of {name} read", scale.of(count), get, get_bare))
    return pairs


def _of_locks(scale: Scale, locks: BlobLeaseLockManager, bare: ContainerClient) -> Pair:
    async def lock(n: int) -> None:
        held = await locks.acquire(f"lock-{n % AT_ONCE}", 60)
        assert held
        await locks.release(held)

    async def lock_bare(n: int) -> None:
        blob = bare.get_blob_client(f"lock-{n % AT_ONCE}")
        lease = BlobLeaseClient(blob, str(uuid4()))
        await lease.acquire(60)
        held = await blob.get_blob_properties()
        await blob.set_blob_metadata({"token": str(int(held.metadata["token"]) + 1)}, lease=lease)
        await lease.release()

    return Pair("locks taken and given up", scale.of(150), lock, lock_bare)


async def _speed(count: int, work: Callable[[int], Awaitable[object]]) -> float:
    async def worker(number: int) -> None:
        for _ in range(each):
            await work(number)

    each = -(-count // AT_ONCE)
    began = time.perf_counter()
    await asyncio.gather(*map(worker, range(AT_ONCE)))
    return each * AT_ONCE / (time.perf_counter() - began)
