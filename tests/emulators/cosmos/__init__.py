"""A Cosmos DB server for tests: the NoSQL API in gateway mode, for unmodified SDKs. See README.md."""

from tests.emulators.cosmos.authorization import EMULATOR_KEY, unsigned_token
from tests.emulators.cosmos.clock import Clock
from tests.emulators.cosmos.faults import Fault, Faults
from tests.emulators.cosmos.server import Server, serve
from tests.emulators.cosmos.statistics import Statistics

__all__ = ["EMULATOR_KEY", "Clock", "Fault", "Faults", "Server", "Statistics", "serve", "unsigned_token"]
