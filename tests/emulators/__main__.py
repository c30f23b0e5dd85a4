"""`python -m tests.emulators`: all three servers until Ctrl-C, for an app that is tried by hand."""

import argparse
import asyncio
import contextlib
import shlex
import signal
from pathlib import Path

from tests.emulators.services import ROOT, azure


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.emulators", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=ROOT / "build" / "services", help="where they keep it all"
    )
    parser.add_argument("--queues", type=Path, default=Path(__file__).parent / "servicebus" / "config.json")
    parser.add_argument("--ports", type=int, nargs=3, default=(8081, 5672, 10000), help="0: any free one")
    return parser.parse_args()


async def _run(options):
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    options.data.mkdir(parents=True, exist_ok=True)
    async with azure(options.data, options.queues, ports=tuple(options.ports)) as services:
        settings = options.data / "settings.sh"
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in services.settings.items()]
        settings.write_text("".join(lines), encoding="utf-8")
        print(f"The services are ready. An app that is started after `. {settings}` uses them.", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_run(_options()))
