"""Service Bus's test server: the queue port beside the bare SDK, in the same rounds."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from benchmarks.host import ROOT
from benchmarks.measure import Scale, Table, beside
from loom_core.adapters.servicebus import ServiceBusMessageQueue
from loom_core.ports.queue import QueueMessage
from loom_core.settings import Connection
from tests.emulators.servicebus.tokens import KEY, KEY_NAME

BODY = {"total": 1, "text": "x" * 480}
_READY = re.compile(r"ready at sb://(\S+)")

type Speeds = tuple[float, float, float]
"""Sent one by one, sent 100 at a time, received and completed, each a second."""


def measure(scale: Scale, folder: Path) -> Table:
    single, many = scale.of(2_000), scale.of(50)
    ours: list[Speeds] = []
    bare: list[Speeds] = []
    with _server(folder) as connection_string:
        for n in scale.rounds:
            turns = [(_ours, ours), (_bare, bare)]
            for work, speeds in turns if n % 2 else reversed(turns):  # neither has the warmer machine
                speeds.append(asyncio.run(work(connection_string, f"{n}", single, many)))
    works = ("messages sent one by one", "messages sent 100 at a time", "messages received and completed")
    rows = [
        beside(*each) for each in zip(works, zip(*ours, strict=True), zip(*bare, strict=True), strict=True)
    ]
    return Table(
        "Service Bus",
        "Against the test server on this machine, which is not Azure: what the adapter adds to the SDK. "
        "Messages of 500 bytes, one after the other, received 50 at a time.",
        tuple(rows),
    )


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    config = folder / "servicebus.json"
    queues = [{"Name": "work", "Properties": {"RequiresDuplicateDetection": True}}]
    config.write_text(json.dumps({"UserConfig": {"Namespaces": [{"Name": "bench", "Queues": queues}]}}))
    command = [sys.executable, "-m", "tests.emulators.servicebus", "--port", "0", "--config", str(config)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = next(found for line in process.stdout if (found := _READY.search(line)))
        key = f"SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY}"
        yield f"Endpoint=sb://{ready[1]};{key};UseDevelopmentEmulator=true;"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def _timed(speeds: list[float], count: int) -> AsyncIterator[None]:
    began = time.perf_counter()
    yield
    speeds.append(count / (time.perf_counter() - began))


async def _ours(connection_string: str, name: str, single: int, many: int) -> Speeds:
    queue = ServiceBusMessageQueue(Connection(connection_string=connection_string))
    speeds: list[float] = []

    def message(n: int) -> QueueMessage:
        return QueueMessage(body=BODY, message_id=f"ours {name} {n}")

    await queue.send("work", [message(-1)])  # opens the links
    for delivery in await queue.receive("work"):
        await queue.settle(delivery, "complete")
    async with _timed(speeds, single):
        for n in range(single):
            await queue.send("work", [message(n)])
    async with _timed(speeds, 100 * many):
        for n in range(many):
            await queue.send("work", [message(single + 100 * n + i) for i in range(100)])
    left = single + 100 * many
    async with _timed(speeds, left):
        while left:
            for delivery in await queue.receive("work", limit=min(50, left)):
                await queue.settle(delivery, "complete")
                left -= 1
    await queue.aclose()
    one, hundred, received = speeds
    return one, hundred, received


async def _bare(connection_string: str, name: str, single: int, many: int) -> Speeds:
    speeds: list[float] = []

    def message(n: int) -> ServiceBusMessage:
        body = json.dumps(BODY).encode()
        return ServiceBusMessage(body, message_id=f"bare {name} {n}", content_type="application/json")

    async with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender("work") as sender,
        client.get_queue_receiver("work") as receiver,
    ):
        await sender.send_messages(message(-1))
        for received in await receiver.receive_messages(1):
            await receiver.complete_message(received)
        async with _timed(speeds, single):
            for n in range(single):
                await sender.send_messages(message(n))
        async with _timed(speeds, 100 * many):
            for n in range(many):
                await sender.send_messages([message(single + 100 * n + i) for i in range(100)])
        left = single + 100 * many
        async with _timed(speeds, left):
            while left:
                for received in await receiver.receive_messages(min(50, left), max_wait_time=5):
                    json.loads(b"".join(received.body))
                    await receiver.complete_message(received)
                    left -= 1
    one, hundred, received_ = speeds
    return one, hundred, received_
