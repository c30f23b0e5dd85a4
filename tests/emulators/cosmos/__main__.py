"""`python -m tests.emulators.cosmos`: one server in a process of its own."""

import argparse
import asyncio
import contextlib
import signal
import ssl

from tests.emulators.cosmos.authorization import EMULATOR_KEY
from tests.emulators.cosmos.server import serve


def options():
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.cosmos", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--data", metavar="FILE", help="keep everything in this SQLite file; else in memory")
    parser.add_argument(
        "--ranges", type=int, default=1, metavar="N", help="physical partitions per container"
    )
    parser.add_argument("--latency", type=float, default=0, metavar="MS", help="added to every answer")
    parser.add_argument("--account-key", default=EMULATOR_KEY, metavar="BASE64")
    parser.add_argument("--audience", metavar="URL", help="of Entra tokens; else https://HOST")
    parser.add_argument("--cert", metavar="PEM", help="serve TLS with this certificate")
    parser.add_argument("--key", metavar="PEM", help="and this private key")
    return parser.parse_args()


async def run(said):
    tls = None
    if said.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(said.cert, said.key)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serve(
        host=said.host,
        port=said.port,
        data=said.data,
        ranges=said.ranges,
        latency_ms=said.latency,
        key=said.account_key,
        audience=said.audience,
        tls=tls,
    ) as server:
        print(f"Cosmos DB test server is ready at {server.endpoint}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(run(options()))
