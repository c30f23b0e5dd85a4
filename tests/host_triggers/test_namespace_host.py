"""The real host, in a process of its own, with its queues in a namespace."""

from loom_core.adapters.servicebus import ServiceBusMessageQueue
from loom_core.ports.queue import QueueMessage
from loom_core.settings import Connection
from tests.emulators.servicebus import serve
from tests.host.durable import state_of, until
from tests.host.processes import FAST, ready_host
from tests.host_triggers.test_host import APP
from tests.ports.servicebus import CONFIG, hurried


async def test_a_host_serves_its_queue_functions_from_a_namespace_and_has_no_queues_itself(tmp_path, http):
    async with hurried(), serve(CONFIG) as server:
        queue = ServiceBusMessageQueue(Connection(connection_string=server.connection_string))
        sent = [QueueMessage(body=n, message_id=f"{n}", session_id="ada") for n in range(5)]
        await queue.send("mail", sent)
        env = {"MAILBOX": "mail", "LOOM_QUEUE": "servicebus", "BUS": server.connection_string}
        with ready_host(APP, tmp_path, *FAST, env=env) as host:

            async def complete():
                notes = await state_of(http, host, "Notes", "ada")
                return notes if notes and len(notes) >= 5 else None

            assert await until(complete) == [0, 1, 2, 3, 4]
            async with http.get(f"{host.url}/admin/queues/mail") as reply:
                assert reply.status == 409
                assert f"live in 127.0.0.1:{server.port}" in (await reply.json())["detail"]
        await queue.aclose()
