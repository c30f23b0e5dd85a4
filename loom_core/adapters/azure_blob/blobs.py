"""BlobStore on block blobs: one request for a small one, blocks and ranges side by side for a large one."""

import asyncio
import hashlib
import io
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from loom_core.adapters.azure_blob.container import MIB, Container, code_of, found
from loom_core.adapters.limits import check_blob, check_etag, check_name
from loom_core.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError
from loom_core.ports.blobs import MAX_LISTED, Blob
from loom_core.settings import Connection

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob.aio import BlobClient, ContainerClient

BUDGET: Final = 60.0
AT_ONCE: Final = 4
# The largest body that aiohttp takes as bytes without a warning that sending it holds up the loop.
_ONE_REQUEST: Final = MIB
_BLOCK: Final = 4 * MIB
_HASHED_AT_ONCE: Final = 128 * 1024
"""Bytes; what takes longer goes to a thread."""
_TRIES: Final = 3
"""Of a blob that others replace meanwhile, each time."""


class AzureBlobStore:
    """Blobs carry the SHA-256 of their content as metadata, and whoever reads a damaged one is told.

    `get` also raises IntegrityError. A call takes `budget` seconds at the most. Call `aclose` when done. The
    account has no hierarchical namespace: there, names sort by folder, and no blob can have a folder's name.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        container: str,
        budget: float = BUDGET,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._container = Container(connection, container, budget)
        self._new_id = new_id

    async def put(
        self, name: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        check_blob(name, data)
        check_etag(f"blob {name}", if_match)
        if if_absent and if_match is not None:
            raise ConflictError(f"blob {name} cannot be absent and have an etag")
        # Not the digest alone: another writer's equal bytes are not this put.
        marks = {"sha256": await _digest(data), "put": self._new_id()}
        condition = _condition(if_absent, if_match)
        return await self._container.call(lambda client: _put(client, name, data, marks, condition))

    async def get(self, name: str) -> Blob:
        check_name(name)
        data, etag, marks = await self._container.call(lambda client: _get(client, name))
        expected = marks.get("sha256")  # none if it was put there by other means
        if expected and expected != await _digest(data):
            raise IntegrityError(f"blob {name} is not what was written: its SHA-256 is not {expected}")
        return Blob(data, etag)

    async def head(self, name: str) -> str | None:
        check_name(name)
        properties = await self._container.call(
            lambda client: found(client.get_blob_client(name).get_blob_properties())
        )
        return str(properties.etag) if properties else None

    async def delete(self, name: str) -> None:
        check_name(name)
        await self._container.call(lambda client: found(client.delete_blob(name, delete_snapshots="include")))

    async def list(self, prefix: str = "", *, limit: int = MAX_LISTED, after: str = "") -> Sequence[str]:
        limit = min(limit, MAX_LISTED)
        if limit <= 0:
            return []
        return await self._container.call(lambda client: _names(client, prefix, limit, after))

    async def aclose(self) -> None:
        await self._container.aclose()


async def _put(
    client: "ContainerClient", name: str, data: bytes, marks: dict[str, str], condition: dict[str, Any]
) -> str:
    from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - cold start

    blob = client.get_blob_client(name)
    write = _in_blocks if len(data) > _ONE_REQUEST else _whole
    for _ in range(_TRIES):
        try:
            return await write(blob, data, marks, condition)
        except HttpResponseError as error:
            if condition and (error.status_code in (404, 409, 412) or _lost_blocks(error)):
                return await _own(blob, name, marks)
            if not _lost_blocks(error):
                raise
    raise UnavailableError(f"blob {name} is written by others, too often to write it")


async def _own(blob: "BlobClient", name: str, marks: dict[str, str]) -> str:
    """Give the etag if it was this very put that changed the blob; raise ConflictError if it was another.

    The answer to an earlier attempt may have been lost on its way. Attempts are made out of sight, by the SDK
    and by aiohttp, so whoever is refused looks. (A put that landed so and was replaced since is a conflict.)
    """
    held = await found(blob.get_blob_properties())
    if held and held.metadata.get("put") == marks["put"]:
        return str(held.etag)
    raise ConflictError(f"blob {name} {'is there, or has changed' if held else 'is not there'}")


def _lost_blocks(error: "HttpResponseError") -> bool:
    """Say whether somebody else finished the blob meanwhile, with which all blocks but theirs are gone."""
    return code_of(error) == "InvalidBlockList"


async def _whole(blob: "BlobClient", data: bytes, marks: dict[str, str], condition: dict[str, Any]) -> str:
    written = await blob.upload_blob(data, length=len(data), overwrite=True, metadata=marks, **condition)
    return str(written["etag"])


async def _in_blocks(
    blob: "BlobClient", data: bytes, marks: dict[str, str], condition: dict[str, Any]
) -> str:
    """Stage blocks, then make them the blob: conditions hold for that, and nobody ever reads half of it.

    The SDK's own upload gives the blocks of all writers the same ids, so that two at once mix theirs.
    """
    from azure.storage.blob import BlobBlock  # noqa: PLC0415 - cold start

    slots = asyncio.Semaphore(AT_ONCE)
    starts = {f"{marks['put']}-{start:010}": start for start in range(0, len(data), _BLOCK)}

    async def stage(id_: str, start: int) -> None:
        async with slots:
            block = data[start : start + _BLOCK]
            await blob.stage_block(id_, io.BytesIO(block), length=len(block))

    await _side_by_side(stage(id_, start) for id_, start in starts.items())
    written = await blob.commit_block_list([BlobBlock(id_) for id_ in starts], metadata=marks, **condition)
    return str(written["etag"])


async def _get(client: "ContainerClient", name: str) -> tuple[bytes, str, dict[str, str]]:
    from azure.core.exceptions import ResourceModifiedError  # noqa: PLC0415 - cold start

    for _ in range(_TRIES):
        try:
            got = await found(_whole_of(client.get_blob_client(name)))
        except ResourceModifiedError:
            continue
        if got is None:
            raise NotFoundError(f"there is no blob {name}")
        return got
    raise UnavailableError(f"blob {name} is replaced too often to read it")


async def _whole_of(blob: "BlobClient") -> tuple[bytes, str, dict[str, str]]:
    # Ranges after the first are of the same etag, or refused.
    download = await blob.download_blob(max_concurrency=AT_ONCE)
    data = await download.readall()
    return data, str(download.properties.etag), download.properties.metadata


async def _names(client: "ContainerClient", prefix: str, limit: int, after: str) -> list[str]:
    inside = after.startswith(prefix)
    if after > prefix and not inside:
        return []
    # It includes the name itself. A service that does not know it yet begins at the front, and is slower.
    start = after if after and inside else None
    listed = client.list_blob_names(
        name_starts_with=prefix or None, start_from=start, results_per_page=limit + 1
    )
    names: list[str] = []
    async for name in listed:
        if name > after:
            names.append(name)
        if len(names) == limit:
            break
    return names


def _condition(if_absent: bool, if_match: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions  # noqa: PLC0415 - cold start

    if if_absent:
        return {"match_condition": MatchConditions.IfMissing}
    return {} if if_match is None else {"match_condition": MatchConditions.IfNotModified, "etag": if_match}


async def _digest(data: bytes) -> str:
    if len(data) <= _HASHED_AT_ONCE:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


async def _side_by_side(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all; the first error ends the others, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except* Exception as errors:  # noqa: BLE001 - raised again, out of its group
        raise errors.exceptions[0] from None
