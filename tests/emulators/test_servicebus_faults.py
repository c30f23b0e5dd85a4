"""Faults on demand, who may come in, and what is asked from outside."""

import asyncio
import time
from contextlib import closing

import aiohttp
import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient as AsyncClient
from azure.servicebus.exceptions import (
    MessageLockLostError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from tests.emulators.links import Credential, Together, complete, left, linked, receive_one
from tests.emulators.servicebus import serve
from tests.emulators.servicebus.admin import serve_admin
from tests.emulators.servicebus.faults import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")


together = Together()


async def run(test):
    async with serve() as server, linked(server, retry_total=3) as links:
        await test(links)
        assert (server.faults.listed(), left(server, "work")) == ([], 0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    async with together.started(run) as tasks:
        yield tasks


@together
async def test_a_busy_server_is_tried_again_and_given_up_in_the_end(links):
    links.server.faults.add("send", times=2)
    links.server.stats.reset()
    await links.send("work", ServiceBusMessage("x"))
    assert links.server.stats["send"] == 3
    links.server.faults.add("send", times=None, entity="work")
    with pytest.raises(ServiceBusServerBusyError):
        await links.send("work", ServiceBusMessage("y"))
    links.server.faults.clear()
    assert await complete(await links.receiver("work"), 1) == ["x"]


async def sent_again_after(action, links):
    links.server.faults.add("send", action)
    await links.send("work", ServiceBusMessage(action, message_id=action))
    assert (links.server.stats["send"], left(links.server, "work")) == (2, 1)
    assert await complete(await links.receiver("work"), 1) == [action]


@together
async def test_a_send_that_never_arrived_is_sent_again(links):
    await sent_again_after("drop", links)


@together
async def test_a_send_whose_answer_is_lost_is_sent_again_and_found_to_be_a_duplicate(links):
    await sent_again_after("lose", links)


@together
async def test_a_send_whose_link_ended_is_sent_again(links):
    await sent_again_after("detach", links)


@together
async def test_a_settlement_whose_answer_is_lost_was_one(links):
    await links.send("work", ServiceBusMessage("x"))
    receiver = await links.receiver("work")
    message = await receive_one(receiver)
    links.server.faults.add("settle", "lose")
    with pytest.raises(ServiceBusError):
        await receiver.complete_message(message)
    assert left(links.server, "work") == 0


@together
async def test_a_lock_can_run_out_just_before_it_is_needed(links):
    await links.send("work", ServiceBusMessage("x"))
    receiver = await links.receiver("work")
    for operation, act in (("renew", receiver.renew_message_lock), ("settle", receiver.complete_message)):
        message = await receive_one(receiver)
        links.server.faults.add(operation, "expire")
        with pytest.raises(MessageLockLostError):
            await act(message)
    assert (await receive_one(receiver)).delivery_count == 2
    links.server.expire_locks()
    assert await complete(receiver, 1) == ["x"]


@together
async def test_a_refused_attach_and_a_dropped_delivery_are_got_over(links):
    links.server.faults.add("attach", condition="com.microsoft:server-busy", entity="other")
    sender, receiver = await asyncio.gather(links.sender("other"), links.receiver("other"))
    links.server.faults.add("receive", "drop", entity="other")
    await sender.send_messages(ServiceBusMessage("x"))
    waiting = asyncio.ensure_future(receive_one(receiver))
    while links.server.faults.listed():
        await asyncio.sleep(0.01)
    links.server.expire_locks("other")
    await receiver.complete_message(await waiting)


@together
async def test_dropped_connections_come_back(links):
    await asyncio.gather(links.sender("work"), links.receiver("work"))
    assert links.server.drop_connections() >= 2
    await links.send("work", ServiceBusMessage("x"))
    assert await complete(await links.receiver("work"), 1) == ["x"]


async def test_the_same_seed_makes_the_same_faults():
    def drawn(seed):
        faults = Faults(seed)
        faults.add("send", times=None, probability=0.5)
        return [faults.take("send", "q") is not None for _ in range(64)]

    assert drawn(1) == drawn(1) != drawn(2)
    with pytest.raises(ValueError, match="one of"):
        Faults().add("sneeze")


@together
async def test_faults_clock_and_statistics_are_to_be_had_over_http(links):
    async with (
        serve_admin(links.server) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):

        async def ask(method, path, **body):
            async with http.request(method, path, json=body or None) as response:
                return response.status, await response.json()

        wanted = {"operation": "send", "action": "lose", "times": 2, "probability": 0.5, "entity": "work"}
        status, listed = await ask("POST", "/_faults", **wanted)
        assert (status, [entry.items() >= wanted.items() for entry in listed]) == (200, [True])
        assert await ask("DELETE", "/_faults") == (200, [])
        assert await ask("POST", "/_faults", seed=3) == (200, [])
        for wrong in (
            {"operation": "sneeze"},
            {"operation": "send", "times": "x"},
            {"now": "x"},
            {"what": 1},
        ):
            assert (await ask("POST", "/_faults", **wrong))[0] == 400
        assert (await ask("POST", "/_clock", advance="x"))[0] == 400

        await links.send("work", ServiceBusMessage("x"))
        receiver = await links.receiver("work")
        message = await receive_one(receiver)
        _, before = await ask("GET", "/_clock")
        _, after = await ask("POST", "/_clock", advance=61)
        assert after["offset"] == before["offset"] + 61
        with pytest.raises(MessageLockLostError):
            await receiver.complete_message(message)
        await receive_one(receiver)
        assert (await ask("POST", "/_faults", now="expire", entity="work"))[0] == 200
        assert await complete(receiver, 1) == ["x"]
        _, stats = await ask("GET", "/_stats")
        assert stats["operations"]["settle"] >= 2
        assert stats["entities"]["work"] == {"messages": 0, "locked": 0, "receivers": 1}
        assert (await ask("DELETE", "/_stats"))[1]["operations"] == {}


@together
async def test_only_who_has_a_key_or_a_fit_token_comes_in(links):
    port = links.server.port
    good = {"aud": "https://servicebus.azure.net", "exp": time.time() + 3600}

    async def with_token(**claims):
        client = AsyncClient(f"127.0.0.1:{port}", Credential(**claims), use_tls=False, retry_total=0)
        async with client, client.get_queue_sender("work") as sender:
            return sender is not None

    async def refused(attempt):
        with pytest.raises(ServiceBusAuthenticationError):
            await attempt

    async def with_key(key):
        string = links.server.connection_string.replace("SAS_KEY_VALUE", key)
        client = AsyncClient.from_connection_string(string, retry_total=0)
        async with client, client.get_queue_sender("work") as sender:
            return sender is not None

    await asyncio.gather(
        refused(with_key("wrong")),
        refused(with_token(**good | {"aud": "https://storage.azure.com"})),
        refused(with_token(**good | {"exp": time.time() - 1})),
        refused(with_token()),
    )
    assert await asyncio.gather(with_token(**good), with_key("SAS_KEY_VALUE")) == [True, True]


@together
async def test_the_sdk_without_asyncio_works_as_well(links):
    def use():
        client = ServiceBusClient.from_connection_string(links.server.connection_string)
        with closing(client), client.get_queue_sender("sync") as sender:
            sender.send_messages(ServiceBusMessage("x", session_id="s"))
            with client.get_queue_receiver("sync", session_id="s") as receiver:
                receiver.session.set_state("state")
                [message] = receiver.receive_messages(1, max_wait_time=10)
                receiver.complete_message(message)
                return str(message), receiver.session.get_state()

    assert await asyncio.to_thread(use) == ("x", b"state")
    assert left(links.server, "sync") == 0
