"""StateStore on one container of Cosmos DB: a partition of the port is one of its logical partitions."""

from collections.abc import Sequence
from typing import Any, Final

from loom_core.adapters.cosmos import feed, items
from loom_core.adapters.cosmos.account import Account
from loom_core.adapters.cosmos.charges import Charges
from loom_core.adapters.cosmos.requests import BUDGET, Requests
from loom_core.adapters.limits import check_address, check_batch
from loom_core.errors import UnavailableError
from loom_core.ports.state import MAX_QUERIED, Delete, Document, Fence, Operation, Put
from loom_core.settings import Connection

# That the request goes to one partition does not make Cosmos DB use the index of its key: the condition does.
_SELECT: Final = (
    "SELECT c.id, c.body, c.json, c.zip, c._etag FROM c WHERE c.tenant = @tenant AND c.partition = @partition"
    " AND c.id {} @least AND c.id < @end ORDER BY c.id"
)
_PAST_EVERY_ID: Final = "\x7f"
_RACES: Final = 4


class CosmosStateStore:
    """One request a call, but for long queries: a point read, a point write, or a transactional batch.

    The account's consistency must be Strong or Bounded staleness, with one write region. There go all
    requests, and there both levels read from a quorum which overlaps that of every write: who reads after a
    write returned sees it, on whatever host. Session holds for one client only, and conditions on etags do
    not make up for that: whether a message was handled before, or a journal has a stale end, is told by what
    is read and not matched. With an endpoint the adapter refuses a weaker account.

    No write is sent twice unless Cosmos DB said that it did not apply the first; UnavailableError tells when
    it may have. So a ConflictError is always about what others wrote. A call takes `budget` seconds at most.

    `charges` has the requests and request units of this process by operation: `open` (once), `read`, `write`,
    `query`, `changes`.
    """

    def __init__(
        self, connection: Connection, *, database: str, container: str, tenant: str, budget: float = BUDGET
    ) -> None:
        self.charges = Charges()
        self._requests = Requests(Account(connection, database, container, self.charges), budget)
        self._tenant = tenant

    async def read(self, partition: str, id: str) -> Document | None:  # noqa: A002 - the port's name
        check_address(partition, id)
        key = [self._tenant, partition]

        async def read(container: Any) -> Document | None:
            from azure.cosmos.exceptions import CosmosResourceNotFoundError  # noqa: PLC0415 - at first use

            try:
                return items.document(await container.read_item(id, key))
            except CosmosResourceNotFoundError as error:
                if items.is_condition(error):
                    return None
                raise

        return await self._requests.read("read", read)

    async def write(self, partition: str, operations: Sequence[Operation]) -> tuple[str | None, ...]:
        bodies = check_batch(partition, operations)
        key = [self._tenant, partition]
        written = items.written(key, operations, bodies)

        async def write(container: Any) -> tuple[str | None, ...]:
            if len(operations) == 1 and not isinstance(operations[0], Fence):
                return (await _write_one(container, key, operations[0], written[0]),)
            return await _write_all(container, key, operations, written)

        return await self._requests.write("write", write)

    async def query(
        self, partition: str, prefix: str = "", *, limit: int = MAX_QUERIED, after: str = ""
    ) -> list[Document]:
        check_address(partition)
        most = min(limit, MAX_QUERIED)
        if most <= 0:
            return []
        key = [self._tenant, partition]
        first, least = (">", after) if after >= prefix else (">=", prefix)
        bounds = {
            "@tenant": key[0],
            "@partition": partition,
            "@least": least,
            "@end": prefix + _PAST_EVERY_ID,
        }
        query: dict[str, Any] = {
            "query": _SELECT.format(first),
            "parameters": [{"name": name, "value": value} for name, value in bounds.items()],
            "partition_key": key,
            "max_item_count": most,
        }

        async def read(container: Any) -> list[Document]:
            found: list[Document] = []
            async for page in container.query_items(**query).by_page():
                found += [items.document(item) async for item in page]
                if len(found) >= most:  # a page ends where its documents weigh 4 MB
                    break
            return found[:most]

        return await self._requests.read("query", read)

    async def changes(
        self, prefix: str, cursor: str | None, limit: int = 100
    ) -> tuple[list[tuple[str, Document]], str]:
        """As ChangeFeed.changes."""

        async def read(container: Any) -> tuple[list[tuple[str, Document]], str]:
            return await feed.changes(container, self._tenant, prefix, cursor, limit)

        return await self._requests.read("changes", read)

    async def aclose(self) -> None:
        """Close it, after the calls that are under way; whoever calls later gets UnavailableError."""
        await self._requests.aclose()


async def _write_one(
    container: Any, key: list[str], operation: Operation, item: dict[str, Any]
) -> str | None:
    """Write with the answer's headers only, which have the etag."""
    from azure.core import MatchConditions  # noqa: PLC0415 - at first use
    from azure.cosmos.exceptions import CosmosHttpResponseError  # noqa: PLC0415

    matching: dict[str, Any] = {}
    if not isinstance(operation, Fence) and operation.if_match is not None:
        matching = {"etag": operation.if_match, "match_condition": MatchConditions.IfNotModified}
    try:
        match operation:
            case Put(if_absent=True):
                result = await container.create_item(item, no_response=True)
            case Put(if_match=None):
                result = await container.upsert_item(item, no_response=True)
            case Put():
                result = await container.replace_item(operation.id, item, no_response=True, **matching)
            case _:
                await container.delete_item(operation.id, key, **matching)
                return None
    except CosmosHttpResponseError as error:
        if items.is_condition(error):
            raise items.conflict(operation, error) from error
        raise
    return str(result.get_response_headers()["etag"])


async def _write_all(
    container: Any, key: list[str], operations: Sequence[Operation], written: Sequence[dict[str, Any]]
) -> tuple[str | None, ...]:
    """Write as one transactional batch, in one request unless the first fence of its name is in it.

    A fence raises its document by a conditional patch, which cannot make one. Where that finds none, the
    batch is sent anew with a create instead, and where that finds one, with a patch again: each try is atomic
    and stands on what it found, so of two that race for the first token one sees the other's. Fences last for
    ever: their roles change no more than once, unless somebody deletes them by hand.
    """
    from azure.cosmos.exceptions import CosmosBatchOperationError  # noqa: PLC0415 - at first use

    missing: set[str] = set()
    for _ in range(_RACES):
        batch = [
            items.in_batch(operation, item, fenced=operation.id not in missing)
            for operation, item in zip(operations, written, strict=True)
        ]
        try:
            results = await container.execute_item_batch(batch, key)
        except CosmosBatchOperationError as failure:
            error: Any = failure
            failed = operations[error.error_index or 0]
            if isinstance(failed, Fence) and error.status_code in (404, 409):
                missing ^= {failed.id}
            elif items.is_condition(error):
                raise items.conflict(failed, error) from error
            else:
                raise
        else:
            return tuple(
                None if isinstance(one, Delete) else result["eTag"]
                for one, result in zip(operations, results, strict=True)
            )
    raise UnavailableError("the fences of this batch come and go")
