"""What the tests of the Cosmos server share: one server a module, in `RANGES` physical partitions."""

import pytest_asyncio
from azure.cosmos.aio import CosmosClient

from tests.emulators.cosmos import serve


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(request):
    async with serve(ranges=getattr(request.module, "RANGES", 1)) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(server):
    async with CosmosClient(server.endpoint, server.key) as client:
        yield await client.create_database("tests")
