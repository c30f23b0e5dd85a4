"""The client of an account: made at the first call, with everything switched off that would write twice."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

from loom_core.adapters.cosmos import container
from loom_core.adapters.cosmos.charges import CURRENT, Charges
from loom_core.adapters.identity import credential
from loom_core.adapters.lifetime import close_with_loop
from loom_core.errors import UnavailableError
from loom_core.settings import Connection

_CONNECT_SECONDS = 3
_APART = 1.0
"""Seconds between the clients that an account gets while it moves, but for the first two."""
_IN_USE = 30.0
"""Seconds after which nobody works with a client any more that was replaced: longer than any call."""


class Account:
    """`opened` gives the SDK's container, the same to everybody until `renew` or `aclose`."""

    def __init__(self, connection: Connection, database: str, container: str, charges: Charges) -> None:
        self._connection, self._names = connection, (database, container)
        self._charges = charges
        self._container: Any = None
        self._clients: list[tuple[float, AsyncExitStack]] = []
        """With when they were opened, on the loop's clock."""
        self._life: AsyncGenerator[None] | None = None
        self._opening = asyncio.Lock()

    async def opened(self) -> Any:
        """Raises the SDK's errors, and UnavailableError for an account that would break promises."""
        if self._container is None:
            async with self._opening:
                if self._container is None:
                    token = CURRENT.set("open")
                    try:
                        await self._open()
                    finally:
                        CURRENT.reset(token)
        return self._container

    def renew(self, stale: Any) -> None:
        """Connect anew before the next call, if this is still the container in use.

        Cosmos DB moves its name to another region and refuses writes in the old one, where the old
        connections lead. What is under way goes on with them.
        """
        is_settled = len(self._clients) < 2 or _now() - self._clients[-1][0] >= _APART
        if self._container is stale and is_settled:
            self._container = None

    async def aclose(self) -> None:
        """Close every client, when nothing is under way any more."""
        async with self._opening:
            self._container = None
            while self._clients:
                await self._clients.pop()[1].aclose()
        self._opening = asyncio.Lock()  # the next call may be on another loop

    async def _open(self) -> None:
        self._life = close_with_loop(self.aclose, self._life)
        while len(self._clients) > 1 and _now() - self._clients[1][0] > _IN_USE:
            await self._clients.pop(0)[1].aclose()
        async with AsyncExitStack() as stack:
            session = _session()
            stack.push_async_callback(session.close)  # by hand: a client that is not whole would not do it
            try:
                client = self._made(session)
                stack.push_async_callback(client.close)
                await client.__aenter__()
            except ValueError:  # it may quote the key
                raise UnavailableError("the connection of Cosmos DB cannot be read") from None
            database, name = self._names
            if self._connection.connection_string:
                await container.create(client, database, name)
            else:
                await _check_consistency(client)
            opened = client.get_database_client(database).get_container_client(name)
            await opened.read()  # the SDK keeps what it learns; a missing container is told here
            self._clients.append((_now(), stack.pop_all()))
            self._container = opened

    def _made(self, session: Any) -> Any:
        # Imported here: this is most of a cold start, for those who never come this far.
        from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415
        from azure.cosmos.aio import CosmosClient  # noqa: PLC0415

        options: dict[str, Any] = {
            "transport": AioHttpTransport(session=session),
            # Always the write region, by the account's own name. It also switches off every retry in another
            # region, of which the SDK makes some for writes whose answer was lost (503, broken connections).
            "enable_endpoint_discovery": False,
            # Likewise, of the layer below: it takes a broken connection for a request that was not sent.
            "retry_total": 0,
            # Repeating what was throttled is up to `requests`, in one budget with all else. (0 means 9.)
            "retry_throttle_total": -1,
            "connection_timeout": _CONNECT_SECONDS,
            # Else every letter beyond ASCII takes six bytes of the two megabytes that a request may have.
            "enable_compact_utf8_item_writes": True,
            "raw_response_hook": self._charges.record,
        }
        if text := self._connection.connection_string:
            return CosmosClient.from_connection_string(text, **options)
        return CosmosClient(self._connection.endpoint, credential(), **options)


def _session() -> Any:
    from urllib.request import getproxies  # noqa: PLC0415

    import aiohttp  # noqa: PLC0415 - at first use

    # To look for proxies, aiohttp reads ~/.netrc in a thread before each request: a third of its time.
    session = aiohttp.ClientSession(
        trust_env=bool(getproxies()), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    )
    # aiohttp repeats PUT and DELETE when a kept connection breaks before the answer. The first may have
    # been applied: then the second says 412 or 404, about a document that is just as it should be.
    vars(session)["_retry_connection"] = False
    return session


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _check_consistency(client: Any) -> None:
    account = await client._get_database_account()  # noqa: SLF001 - the synchronous client has it in public
    level = account.ConsistencyPolicy["defaultConsistencyLevel"]
    if level not in container.CONSISTENCY_LEVELS:
        raise UnavailableError(
            f"the Cosmos DB account has {level} consistency: a host would not see what others have written; "
            f"set its default consistency to {' or '.join(container.CONSISTENCY_LEVELS)}"
        )
    if account._EnableMultipleWritableLocations:  # noqa: SLF001 - it is told to nobody else
        raise UnavailableError(
            "the Cosmos DB account takes writes in several regions: of two that contradict each other one is "
            "dropped later, without a word; leave it one write region"
        )
