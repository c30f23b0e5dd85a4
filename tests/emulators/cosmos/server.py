"""A running server: on an event loop of the test's own, or of a process."""

from contextlib import asynccontextmanager

from aiohttp import web

from tests.emulators.cosmos.authorization import EMULATOR_KEY, Authorization
from tests.emulators.cosmos.front import LARGEST_BODY, Front
from tests.emulators.cosmos.service import Service


class Server:
    """`clock`, `faults` and `statistics` may be used at any time, on the event loop it runs on."""

    def __init__(self, service, front, endpoint, key):
        self.endpoint = endpoint
        self.key = key
        self.clock = service.clock
        self.faults = front.faults
        self.statistics = front.statistics

    @property
    def connection_string(self):
        return f"AccountEndpoint={self.endpoint};AccountKey={self.key};"

    def advance(self, seconds):
        """Let time pass, as far as the server knows."""
        self.clock.advance(seconds)


@asynccontextmanager
async def serve(
    *,
    host="127.0.0.1",
    port=0,
    data=None,
    ranges=1,
    latency_ms=0,
    key=EMULATOR_KEY,
    audience=None,
    clock=None,
    tls=None,
    consistency="Session",
):
    """Serve until the block is left.

    `data`: a file to keep everything in (None: memory). `ranges`: physical partitions per container.
    `key`: the account's key. `audience`: what Entra tokens must be for (None: https://HOST).
    `tls`: an ssl.SSLContext. `consistency`: the level that the account says it has.
    """
    service = Service(data, range_count=ranges, clock=clock, consistency=consistency)
    front = Front(service, Authorization(key, audience), latency_ms=latency_ms)
    runner = web.ServerRunner(
        web.Server(front.handle, request_factory=_request, access_log=None), shutdown_timeout=1
    )
    try:
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        bound = runner.addresses[0][1]
        yield Server(service, front, f"{'https' if tls else 'http'}://{host}:{bound}/", key)
    finally:
        await runner.cleanup()
        service.close()


def _request(message, payload, protocol, writer, task):
    return web.BaseRequest(
        message, payload, protocol, writer, task, protocol._loop, client_max_size=LARGEST_BODY
    )
