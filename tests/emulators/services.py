"""The three services as processes of their own, which can be killed and started again over the same data."""

import asyncio
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from loom_core.adapters.servicebus import ServiceBusMessageQueue
from loom_core.ports.queue import MessageQueue
from loom_core.settings import Connection
from tests.emulators import azurite
from tests.emulators.cosmos import EMULATOR_KEY
from tests.emulators.servicebus.tokens import KEY
from tests.ports.servicebus import hurried

ROOT = Path(__file__).parents[2]
READY = re.compile(rb"is ready at (\w+)://[^:]+:(\d+)")
DOOR = re.compile(rb"are at (http://\S+)/")
DOWN = (0.05, 0.6)
"""Seconds that a killed service stays away, at least and at most."""


class Service:
    """One server in a process of its own, on the port that it got first, over the file that it had."""

    def __init__(self, module: str, folder: Path, faults: Sequence[dict[str, Any]], *options: str) -> None:
        name = module.rpartition(".")[2]
        self._command = [sys.executable, "-m", module, "--data", str(folder / f"{name}.db"), *options]
        self._log, self._faults = folder / f"{name}.log", faults
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.door = ""
        """Where its faults, its clock and its statistics are."""

    async def start(self, *, faulty: bool = False) -> None:
        with self._log.open("ab") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command, "--port", str(self.port), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert process.stdout is not None
        self.door = ""
        async with asyncio.timeout(30):
            while True:
                line = await process.stdout.readline()
                assert line, f"{self._command} did not start; see {self._log}"
                if told := DOOR.search(line):
                    self.door = told[1].decode()
                if ready := READY.search(line):
                    self.port = int(ready[2])
                    break
        self.door = self.door or f"http://127.0.0.1:{self.port}"
        if faulty:
            async with aiohttp.ClientSession(self.door) as session:
                # Another seed each time: else the same few requests go wrong after every start.
                for fault in self._faults:
                    seed = {"seed": random.randrange(2**31)} if "seed" in fault else {}
                    (await session.post("/_faults", json=fault | seed)).raise_for_status()

    async def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(how)
            await self._process.communicate()


class Azure:
    """The three services, and the settings of an app that uses them."""

    def __init__(self, folder: Path, blobs: str, queues: Path, *, faulty: bool) -> None:
        self._faulty = faulty
        self.cosmos = Service("tests.emulators.cosmos", folder, [{"fault": [], "rate": 0.03, "seed": None}])
        lossy = [
            {"operation": operation, "action": action, "times": None, "probability": 0.01}
            for operation in ("send", "receive", "settle")
            for action in ("drop", "lose")
        ]
        busy = {"operation": "send", "action": "error", "times": None, "probability": 0.02}
        options = ("--config", str(queues), "--admin-port", "0")
        self.servicebus = Service(
            "tests.emulators.servicebus", folder, [{"seed": None}, *lossy, busy], *options
        )
        self._blobs = blobs
        self.broker: MessageQueue

    @property
    def settings(self) -> dict[str, str]:
        return {
            "LOOM_STORE": "cosmos",
            "LOOM_BLOBS": "azure",
            "LOOM_QUEUE": "servicebus",
            "Cosmos": f"AccountEndpoint=http://127.0.0.1:{self.cosmos.port}/;AccountKey={EMULATOR_KEY};",
            "Blobs": self._blobs,
            "ServiceBus": self.queues,
        }

    @property
    def queues(self) -> str:
        key = f"SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey={KEY}"
        return f"Endpoint=sb://127.0.0.1:{self.servicebus.port};{key};UseDevelopmentEmulator=true;"

    async def start(self) -> None:
        async with asyncio.TaskGroup() as group:
            for service in (self.cosmos, self.servicebus):
                group.create_task(service.start(faulty=self._faulty))

    async def calm(self) -> None:
        """Let nothing go wrong any more."""
        self._faulty = False
        await self.end(signal.SIGKILL)
        await self.start()

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        for service in (self.cosmos, self.servicebus):
            await service.end(how)

    async def torment(self) -> None:
        """Kill one of them, or the other, or none, and have it back after a moment."""
        service = random.choice([self.cosmos, self.servicebus, None])
        await asyncio.sleep(random.uniform(0, 0.7))
        if service is not None:
            await service.end()
            await asyncio.sleep(random.uniform(*DOWN))
            await service.start(faulty=self._faulty)


@asynccontextmanager
async def azure(
    folder: Path,
    queues: Path,
    *azurite_flags: str,
    faulty: bool = False,
    ports: tuple[int, int, int] = (0, 0, 0),
) -> AsyncIterator[Azure]:
    """Run the services, with all that they keep in the folder, and these queues.

    The ports are those of Cosmos DB, Service Bus and the blobs; 0 is any that is free.
    """
    cosmos, servicebus, blobs_at = ports
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    async with hurried():
        with azurite.serve(*azurite_flags, data=folder / "blobs", port=blobs_at) as blobs:
            services = Azure(folder, blobs.connection.connection_string, queues, faulty=faulty)
            services.cosmos.port, services.servicebus.port = cosmos, servicebus
            try:
                await services.start()
                services.broker = ServiceBusMessageQueue(Connection(connection_string=services.queues))
                try:
                    yield services
                finally:
                    await services.broker.aclose()
            finally:
                await services.end()
