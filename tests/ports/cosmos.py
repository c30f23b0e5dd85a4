"""The Cosmos DB of the suites: the test server, or what LOOM_TEST_COSMOS names."""

import asyncio
import os
from contextlib import asynccontextmanager
from uuid import uuid4

from loom_core.adapters.cosmos import CosmosStateStore
from loom_core.settings import Connection
from tests.emulators.cosmos import serve
from tests.ports.clock import Clock, WallClock

LONGEST_WAIT = 101


class CosmosDB:
    """`server` is None for a real account or emulator, whose clock cannot be set."""

    def __init__(self, connection, server=None):
        self.connection = connection
        self.server = server

    def store(self, tenant=None, **options):
        """A store with a tenant of its own."""
        names = {"database": "loom", "container": "state", "tenant": tenant or f"test-{uuid4().hex}"}
        return CosmosStateStore(self.connection, **(names | options))

    def clock(self):
        return ServersClock(self.server) if self.server else PatientClock()


class ServersClock(Clock):
    def __init__(self, server):
        super().__init__()
        self.server = server

    async def advance(self, seconds):
        self.server.advance(seconds)
        await super().advance(seconds)


class PatientClock(WallClock):
    """Waits for as long as any test lets a document live, and takes that for longer."""

    async def advance(self, seconds):
        await asyncio.sleep(min(seconds, LONGEST_WAIT))


@asynccontextmanager
async def cosmos_db():
    if given := os.environ.get("LOOM_TEST_COSMOS"):
        is_endpoint = given.startswith("https://")
        yield CosmosDB(Connection(endpoint=given) if is_endpoint else Connection(connection_string=given))
    else:
        async with serve() as server:
            yield CosmosDB(Connection(connection_string=server.connection_string), server)
