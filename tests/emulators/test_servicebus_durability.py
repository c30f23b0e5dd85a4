"""What the broker accepted is there after a kill -9; and its start as a program, with TLS."""

import asyncio
import contextlib
import datetime as dt
import json
import signal
import sys
import time
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState, TransportType
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError

from tests.emulators import servicebus
from tests.emulators.certificates import self_signed
from tests.emulators.links import Credential, Together, complete, linked, receive, receive_one
from tests.emulators.servicebus.broker import Broker
from tests.emulators.servicebus.journal import Journal
from tests.emulators.servicebus.tokens import KEY, KEY_NAME

CONFIG = json.loads(Path(servicebus.__file__).with_name("config.json").read_text())


pytestmark = pytest.mark.asyncio(loop_scope="module")
together = Together()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory):
    async with together.started(lambda test: test(tmp_path_factory.mktemp("bus"))) as tasks:
        yield tasks


class Process:
    def __init__(self, process, port, admin):
        self._process, self.port, self.admin = process, port, admin
        self.connection_string = (
            f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY};"
            "UseDevelopmentEmulator=true;"
        )

    async def end(self, number=signal.SIGKILL):
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()


@contextlib.asynccontextmanager
async def broker(*arguments):
    command = [
        sys.executable,
        "-m",
        "tests.emulators.servicebus",
        "--port",
        "0",
        "--admin-port",
        "0",
        *arguments,
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    admin, ready = [(await process.stdout.readline()).decode() for _ in range(2)]
    assert ready.startswith("Service Bus test server is ready at sb://127.0.0.1:")
    started = Process(process, int(ready.rpartition(":")[2]), admin.rpartition(" at ")[2].strip())
    try:
        yield started
    finally:
        await started.end()


@together
async def test_everything_that_was_accepted_survives_a_kill(tmp_path):
    data = str(tmp_path / "bus.db")
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    async with broker("--data", data, "--auto") as server, linked(server) as links:
        work, mail, receiver, session = await asyncio.gather(
            links.sender("work"), links.sender("mail"), links.receiver("work"), links.session("mail", "S")
        )
        for number in range(6):
            await work.send_messages(ServiceBusMessage(f"w{number}", message_id=f"id{number}"))
        await mail.send_messages([ServiceBusMessage(f"m{n}", session_id="S") for n in range(2)])
        [scheduled, cancelled] = await work.schedule_messages(
            [ServiceBusMessage("tomorrow"), ServiceBusMessage("never")], tomorrow
        )
        await work.cancel_scheduled_messages(cancelled)
        got = await receive(receiver, 6)
        await receiver.complete_message(got[0])
        await receiver.abandon_message(got[1])
        await receiver.defer_message(got[2])
        await receiver.dead_letter_message(got[3], reason="why")
        await session.session.set_state(b"state")
        async with aiohttp.ClientSession() as http, http.post(server.admin + "_clock", json={"advance": 10}):
            pass
        await server.end()

    async with broker("--data", data, "--auto") as server, linked(server) as links:
        work, receiver, dead, session = await asyncio.gather(
            links.sender("work"), links.receiver("work"), links.dead("work"), links.session("mail", "S")
        )
        await work.send_messages(ServiceBusMessage("a duplicate", message_id="id0"))
        again = await receive(receiver, 3)
        # Locks end with the broker, and that counts for nobody.
        assert [(str(m), m.delivery_count) for m in again] == [("w1", 1), ("w4", 0), ("w5", 0)]
        [deferred] = await receiver.receive_deferred_messages(got[2].sequence_number)
        assert str(deferred) == "w2"
        letter = await receive_one(dead)
        assert (str(letter), letter.dead_letter_reason) == ("w3", "why")
        assert await session.session.get_state() == b"state"
        assert await complete(session, 2) == ["m0", "m1"]
        left = await receiver.peek_messages(10, sequence_number=scheduled)
        assert [(str(m), m.state) for m in left] == [("tomorrow", ServiceBusMessageState.SCHEDULED)]
        async with aiohttp.ClientSession() as http, http.get(server.admin + "_clock") as response:
            assert (await response.json())["offset"] == 10
        assert await server.end(signal.SIGTERM) == 0


@together
async def test_no_send_that_was_answered_is_lost_whenever_the_broker_dies(tmp_path):
    data = tmp_path / "bus.db"
    accepted = []

    async def send(sender, name):
        with contextlib.suppress(ServiceBusError):
            for number in range(100_000):
                await sender.send_messages(ServiceBusMessage("x", message_id=f"{name}-{number}"))
                accepted.append(f"{name}-{number}")

    async with broker("--data", str(data)) as server, linked(server, retry_total=0) as links:
        senders = await asyncio.gather(*(links.own(links.client.get_queue_sender("work")) for _ in range(3)))
        sending = asyncio.gather(*(send(sender, name) for name, sender in enumerate(senders)))
        while len(accepted) < 300:
            await asyncio.sleep(0.01)
        await server.end()
        await sending
    journal = Journal(data)
    with contextlib.closing(journal):
        queue = Broker(CONFIG, journal=journal).entity("work")
        kept = {message.message_id for message in queue.messages.values()}
    assert len(accepted) >= 300
    assert set(accepted) <= kept


@together
async def test_with_a_certificate_it_is_the_real_thing_to_a_client_with_a_token(tmp_path):
    cert, key = self_signed(tmp_path, "localhost")
    credential = Credential(aud="https://servicebus.azure.net", exp=time.time() + 3600)
    async with broker("--cert", cert, "--key", key) as server:
        client = ServiceBusClient(
            "loom.servicebus.windows.net",
            credential,
            custom_endpoint_address=f"sb://localhost:{server.port}",
            transport_type=TransportType.Amqp,
            connection_verify=cert,
        )
        async with client, client.get_queue_sender("work") as sender:
            await sender.send_messages(ServiceBusMessage("x"))
        async with aiohttp.ClientSession() as http, http.get(server.admin + "_stats") as response:
            assert (await response.json())["entities"]["work"]["messages"] == 1


@together
async def test_a_broker_that_cannot_keep_what_it_is_sent_ends_instead_of_answering(tmp_path):
    reported, loop = [], asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reported.append(context.get("exception")))
    async with (
        servicebus.serve(CONFIG, data=tmp_path / "bus.db") as server,
        linked(server, retry_total=0) as links,
    ):
        sender = await links.sender("work")
        server.broker.journal.close()
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage("x"))
        assert server.stopped.is_set()
        loop.set_exception_handler(None)
        assert server.failure in reported
