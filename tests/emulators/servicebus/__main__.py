"""python -m tests.emulators.servicebus: see README.md."""

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
from pathlib import Path

from tests.emulators.servicebus.server import Server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.servicebus")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5672, help="0 for any")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.json"))
    parser.add_argument("--auto", action="store_true", help="create queues on use")
    parser.add_argument("--data", type=Path, help="keep everything in this SQLite file")
    parser.add_argument(
        "--admin-port", type=int, help="serve /_faults, /_clock and /_stats over HTTP; 0 for any"
    )
    parser.add_argument("--cert", type=Path, help="PEM: serve TLS")
    parser.add_argument("--key", type=Path, help="PEM of the certificate's key")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' probabilities")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> None:
    tls = None
    if arguments.cert is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.cert, arguments.key)
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    server = Server(config, auto=arguments.auto, data=arguments.data, seed=arguments.seed)
    await server.start(arguments.host, arguments.port, tls)
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, server.stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        if arguments.admin_port is not None:
            # Only who asks for it waits for the import.
            from tests.emulators.servicebus.admin import serve_admin

            port = await stack.enter_async_context(serve_admin(server, arguments.host, arguments.admin_port))
            print(f"Its faults, clock and statistics are at http://{arguments.host}:{port}/", flush=True)
        print(f"Service Bus test server is ready at sb://{arguments.host}:{server.port}", flush=True)
        await server.stopped.wait()
    if server.failure is not None:
        raise server.failure


if __name__ == "__main__":
    asyncio.run(_main(_arguments()))
