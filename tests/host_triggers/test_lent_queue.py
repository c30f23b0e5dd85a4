"""The host's queues as the app sees them, on the real host in a process of its own."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from loom_core.errors import UnavailableError
from loom_core.ports.queue import QueueMessage
from loom_local.broker import Broker
from loom_local.host.lent_queue import LentQueue
from loom_local.sidecar.service import Sidecar
from tests.host.durable import until
from tests.host.processes import FAST, ready_host

APP = Path(__file__).parent / "lent"


async def test_what_an_app_sends_through_the_port_reaches_its_own_trigger_once(tmp_path, http):
    with ready_host(APP, tmp_path, *FAST) as host:
        for n in range(6):
            route = "send-from-a-thread" if n % 2 else "send"
            for _ in range(2):
                async with http.post(f"{host.url}/api/{route}", json={"id": f"m{n}"}) as reply:
                    assert reply.status == 200, await reply.text()

        async def received():
            async with http.get(f"{host.url}/api/received") as reply:
                found = await reply.json(content_type=None)
                return found if len(found) >= 6 else None

        assert await until(received) == [["ada", f"m{n}", {"id": f"m{n}"}] for n in range(6)]


@pytest.fixture
async def sidecar(tmp_path):
    worker = SimpleNamespace(run_orchestrator=None, run_activity=None, run_entity=None)
    sidecar = Sidecar(tmp_path / "loom.db", worker, durable=False)
    await sidecar.start()
    return sidecar


async def test_the_app_receives_over_the_bridge_what_it_sends_over_it(sidecar):
    queue = LentQueue(Broker(sidecar.database), sidecar.from_any_loop)
    await queue.send("work", [QueueMessage(body=0, message_id="0")])
    (first,) = await queue.receive("work")
    waiting = asyncio.create_task(queue.receive("work", wait=20))
    await asyncio.to_thread(lambda: asyncio.run(queue.send("work", [QueueMessage(body=1, message_id="1")])))

    (second,) = await waiting

    assert (first.message.body, second.message.body) == (0, 1)
    await queue.settle(first, "complete")
    await asyncio.to_thread(lambda: asyncio.run(queue.settle(second, "complete")))
    assert await queue.peek("work") == ()
    await sidecar.stop(0)


async def test_a_receiver_that_stops_waiting_takes_nothing(sidecar):
    queue = LentQueue(Broker(sidecar.database), sidecar.from_any_loop)
    await queue.send("work", [QueueMessage(body=0, message_id="0")])
    await queue.settle((await queue.receive("work"))[0], "complete")
    waiting = asyncio.create_task(queue.receive("work", wait=20))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    await queue.send("work", [QueueMessage(body=1, message_id="1")])

    assert [d.attempts for d in await queue.receive("work")] == [1]
    await sidecar.stop(0)


async def test_the_queue_of_a_host_that_has_stopped_is_unavailable(sidecar):
    queue = LentQueue(Broker(sidecar.database), sidecar.from_any_loop)
    await sidecar.stop(0)

    with pytest.raises(UnavailableError, match="stopping"):
        await queue.peek("work")
