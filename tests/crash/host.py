"""A host that is killed and started again over the same data."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import aiohttp

ROOT = Path(__file__).parents[2]
READY = re.compile(rb"Loom is ready at (http://\S+)")
LOST = (aiohttp.ClientError, TimeoutError, OSError)
"""The host died before it answered: whether the request counted is unknown."""


class Host:
    """One host process over the same data folder, round after round."""

    def __init__(self, app: Path, data: Path, log: Path) -> None:
        self._app, self.data, self._log = app, data, log
        self._runs = False

    async def start(self, environment: Mapping[str, str] | None = None) -> None:
        self._output = self._log.open("ab")
        options = ["--no-reload", "--app", str(self._app), "--data", str(self.data), "--port", "0"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loom_local.cli.main", "dev", *options,
            cwd=ROOT, env={**os.environ, **(environment or {})},
            stdout=asyncio.subprocess.PIPE, stderr=self._output,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while True:
                line = await self._process.stdout.readline()
                if not line:
                    raise RuntimeError(f"the host did not start; see {self._log}")
                self._output.write(line)
                if ready := READY.search(line):
                    self.url = ready[1].decode()
                    break
        self._drain = asyncio.create_task(self._process.stdout.read())
        self._runs = True

    async def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        await self._process.wait()
        await self._drain
        self._output.close()
        self._runs = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runs:
            await self.end(signal.SIGTERM)
